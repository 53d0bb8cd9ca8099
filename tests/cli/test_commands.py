"""Help, completion, and the commands that draw nothing."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from graphviz_cli import __version__, registry
from graphviz_cli.cli.help import help_text
from graphviz_cli.cli.options import OPTIONS
from graphviz_cli.drawing.style import THEMES, Arrangement, Direction

from .conftest import environment


def test_help_fits_80_columns_and_is_the_same_wherever_it_is_asked_for(run):
    wanted = help_text()
    assert max(map(len, wanted.splitlines())) <= 80
    for arguments in (["--help"], ["-h"], ["net.py", "--help"], ["--depth", "2", "-h"]):
        ran = run(*arguments)
        assert ran.returncode == 0 and ran.stdout.decode().rstrip() == wanted.rstrip()


def test_help_names_every_option_exporter_theme_and_command(run):
    text = help_text()
    for option in OPTIONS:
        assert option.hidden or all(flag in text for flag in option.flags)
    for name in (*registry.BUILT_IN["exporters"], *THEMES):
        assert re.search(rf"\b{name}\b", text), name
    listed = run("--help").stdout
    for command in (b"list", b"doctor"):
        assert command in listed


def test_choices_are_those_of_the_styles():
    choices = {option.name: option.choices for option in OPTIONS}
    assert choices["theme"] == ("auto", *THEMES)
    assert choices["by"] == tuple(Arrangement)
    assert {name.upper() for name in choices["direction"]} == set(Direction.__members__)


def test_the_version_is_printed(run):
    for flag in ("--version", "-V"):
        assert run(flag).stdout == f"graphviz-cli {__version__}\n".encode()


def test_list_names_every_plug_in_with_its_title_and_options(run):
    text = run("list").stdout.decode()
    for kind, table in registry.BUILT_IN.items():
        assert f"{kind}:" in text
        for name in table:
            title, _ = registry.describe(registry.plugin_type(kind, name))
            assert re.search(rf"^  {name} +{re.escape(title)}", text, re.MULTILINE)
    one = run("list", "exporters").stdout.decode()
    assert one in text and "transforms:" not in one
    assert "png:dpi=144" in one


def test_what_list_shows_of_options_is_understood(run):
    text = run("list", "exporters").stdout.decode()
    shown = re.findall(r"^ +(\w+:\S+=\S+)$", text, re.MULTILINE)
    assert shown
    for request in shown:
        registry.create("exporters", request)


def test_doctor_tells_what_each_format_uses(run):
    ran = run("doctor")
    text = ran.stdout.decode()
    for name in (*registry.BUILT_IN["exporters"], "torch", "fonts"):
        assert re.search(rf"^[\w, -]*\b{name}\b", text, re.MULTILINE), name
    assert ran.returncode == (5 if "no Graphviz" in text else 0)


def test_doctor_fails_with_what_to_install_where_there_is_no_graphviz(tmp_path):
    program = (
        "import sys\nsys.modules['pygraphviz'] = None\n"
        "from graphviz_cli.__main__ import main\nsys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "doctor"],
        env=environment(PATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 5
    assert "svg, pdf, png" in ran.stdout and "no Graphviz was found" in ran.stdout
    assert "pip install 'graphviz-cli[render]'" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'TARGET'."),
        (["--dpeth", "2", "net.py"], "Did you mean"),
        (["net.py", "train.py"], "graphviz-cli net.py -- train.py"),
        (["net.json", "--depth", "-1"], "-1"),
        (["net.json", "--depth", "deep"], "auto or all"),
        (["net.json", "--show", "saved,colour"], "'colour' is not one of"),
        (["net.json", "--theme", "pink"], "torchviz"),
        (["net.json", "--timeout", "0"], "--timeout"),
        (["net.json", "--step", "0"], "--step"),
        (["net.json", "-f", "jpeg"], "Known: tree"),
        (["net.json", "-f", "png:dip=3"], "has no option 'dip'"),
        (["net.json", "-o"], "requires an argument"),
        (["list", "nothing"], "nothing"),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_would_be_right(run, arguments, message):
    ran = run(*arguments)
    assert ran.returncode == 2 and ran.stdout == b""
    text = ran.stderr.decode()
    assert text.startswith("error: ") and message in text


def test_a_word_is_a_command_only_where_it_stands_first(run, saved):
    saved.rename(saved.parent / "list.json")
    (saved.parent / "list").write_bytes((saved.parent / "list.json").read_bytes())
    assert b"exporters:" in run("list").stdout
    assert run("-f", "dot", "list").stdout.startswith(b"digraph")
    assert run("./list", "-f", "dot").stdout.startswith(b"digraph")


def completions(run, *words):
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    ran = run(env={"_GRAPHVIZ_CLI_COMPLETE": "bash_complete", **asked})
    return ran.stdout.decode().split()


def test_a_shell_completes_commands_files_options_and_their_values(run):
    script = run(env={"_GRAPHVIZ_CLI_COMPLETE": "bash_source"}).stdout.decode()
    assert "complete" in script and "graphviz-cli" in script
    first = completions(run, "graphviz-cli", "")
    assert {"plain,list", "plain,doctor", "file,"} <= set(first)
    assert completions(run, "graphviz-cli", "--dep") == ["plain,--depth"]
    assert completions(run, "graphviz-cli", "net.py", "--theme", "li") == ["plain,light"]
    assert completions(run, "graphviz-cli", "net.py", "-f", "s") == ["plain,svg"]
    assert completions(run, "graphviz-cli", "list", "th") == ["plain,themes"]
