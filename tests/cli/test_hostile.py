"""Whatever is given to a command, what is wrong with it is told in one line, with a way on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

COMMANDS = {
    "draw": ("{}",),
    "check": ("check", "{}"),
    "why": ("why", "{}", "w"),
    "watch": ("watch", "{}"),
    "explain": ("explain", "w", "--in", "{}"),
}

TARGETS = {
    # What is given: what is told of it.
    "": "The TARGET is empty.",
    "missing.py": "There is no file missing.py.",
    "folder": "folder is a folder without a __main__.py.",
    "nothing_of_that_name": "There is no module nothing_of_that_name, and no such file.",
    "train.py:": "No name follows the colon in 'train.py:'.",
    ":Net": "':Net' names no file.",
    "cut.json": "ends too early",
    "future.json": "is of version 9",
    "run.json": "is a run that `watch` has measured, and no graph.",
    "latin.json": "This is no JSON: byte",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "train.py").write_text(
        "import torch\nw = torch.ones(2, requires_grad=True)\n(w * w).sum().backward()\n"
    )
    (tmp_path / "cut.json").write_text('{"schema": 1, "nodes": [')
    (tmp_path / "future.json").write_text('{"schema": 9}')
    (tmp_path / "run.json").write_text('{"kind": "history", "schema": 1}')
    (tmp_path / "latin.json").write_bytes(b'{"schema": "\xe9"}')
    return tmp_path


def told(ran, status: int) -> tuple[str, str]:
    """The message and the hint of the only error; the rest of stderr is the user's traceback."""
    lines = ran.stderr.decode().splitlines()
    assert ran.returncode == status, ran.stderr.decode()
    assert ran.stdout == b""
    (place,) = [k for k, line in enumerate(lines) if line.startswith("error: ")]
    assert not any("graphviz_cli/" in line or "Internal error" in line for line in lines)
    assert all(line.startswith("  ") for line in lines[place + 1 :]), lines
    return lines[place].removeprefix("error: "), " ".join(lines[place + 1 :]).strip()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("given", TARGETS)
def test_a_target_that_is_none_is_told_by_every_command(run, folder, command, given) -> None:
    message, hint = told(run(*(word.format(given) for word in COMMANDS[command])), 2)
    if command == "watch" and given.endswith(".json"):
        assert message == f"{given} is a saved graph, and nothing runs in it."
    else:
        assert TARGETS[given] in message
    assert hint


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_names_the_help_of_the_command(run, folder, command) -> None:
    ran = run(*(word.format("train.py") for word in COMMANDS[command]), "--stpe", "3")
    message, hint = told(ran, 2)
    assert message.startswith("No such option '--stpe'.")
    own = "" if command == "draw" else f" {command}"
    assert hint == f"graphviz-cli{own} --help shows all options."


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("a.py", "b"), "Arguments of a script come after --: graphviz-cli a.py -- b"),
        (
            ("check", "a.py", "b"),
            "Arguments of a script come after --: graphviz-cli check a.py -- b",
        ),
        (
            ("watch", "a.py", "b"),
            "Arguments of a script come after --: graphviz-cli watch a.py -- b",
        ),
        (("chekc", "a.py"), "Did you mean graphviz-cli check a.py?"),
        (("wtach", "a.py"), "Did you mean graphviz-cli watch a.py?"),
        (
            ("explain", "w", "a.py"),
            "A graph to look into follows --in: graphviz-cli explain w --in a.py",
        ),
    ],
)
def test_a_word_too_many_is_told_with_what_it_may_have_been_meant_for(run, words, hint) -> None:
    message, way = told(run(*words), 2)
    assert re.fullmatch(r"There is one (TARGET|NAME) at a time, and '\S+' is too many\.", message)
    assert way == hint


@pytest.mark.parametrize("command", COMMANDS)
def test_a_variable_that_sets_nothing_is_told_by_every_command(run, folder, command) -> None:
    words = (word.format("train.py") for word in COMMANDS[command])
    message, hint = told(run(*words, env={"GRAPHVIZ_CLI_DEPHT": "2"}), 2)
    assert message == "The variable GRAPHVIZ_CLI_DEPHT sets no option."
    assert hint == "Did you mean GRAPHVIZ_CLI_DEPTH?"


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (("check", "train.py", "-c", "nonsense"), "Known: unused-parameter,"),
        (("explain", "gradeint"), "Did you mean gradient"),
        (("why", "train.py", "ww"), "Did you mean w?"),
        (("explain", "head", "--in", "train.py"), "The text tree shows all names"),
        (("train.py", "--columns", "output-min"), "--probe output measures it."),
        (("train.py", "--columns", "forward-time"), "--probe forward-time measures it."),
        (("train.py", "--heat", "gradient", "-f", "dot"), "--backward measures it."),
    ],
)
def test_a_name_that_there_is_not_comes_with_those_there_are(run, folder, words, known) -> None:
    assert known in told(run(*words), 2)[1]


def test_a_module_that_is_not_installed_raises_the_question_where(run, tmp_path) -> None:
    (tmp_path / "train.py").write_text("import no_such_module.inner\n")
    _, hint = told(run("train.py"), 3)
    assert hint.startswith("graphviz-cli ran it with /")
    assert hint.endswith(": is no_such_module installed for that?")
