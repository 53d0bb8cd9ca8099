"""Defaults: a flag wins over the environment, that over the file, that over our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphviz_cli.cli.config import check_environment, file_defaults
from graphviz_cli.cli.options import OPTIONS
from graphviz_cli.errors import UsageError


def write(folder: Path, table: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.graphviz-cli]\n{table}\n", encoding="utf-8")
    return folder


def test_the_nearest_file_counts_and_no_other(tmp_path):
    write(tmp_path, "depth = 1")
    inner = write(tmp_path / "inner", 'theme = "dark"')
    (inner / "deeper").mkdir()
    assert file_defaults(inner / "deeper") == {"theme": "dark"}


def test_a_project_without_our_table_sets_nothing(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["graphviz-cli"]\n')
    assert file_defaults(tmp_path) == {}


def test_one_text_will_do_where_several_are_possible(tmp_path):
    write(tmp_path, 'show = "saved"\ninput = "1x3"\ncolumns = ["shape", "saved"]')
    assert file_defaults(tmp_path) == {
        "show": ["saved"],
        "input": ["1x3"],
        "columns": ["shape", "saved"],
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("dept = 2", "Did you mean depth?"),
        ("no-repeats = true", "Did you mean repeats?"),
        ('repeats = "no"', "true or false"),
        ("seed = true", "a number"),
        ("theme = 1", "light or dark"),
        ("show = [1]", "a list of texts"),
        ("depth = [1]", "a text"),
        ("depth = ", "is no TOML"),
    ],
)
def test_a_mistake_in_the_file_names_itself(tmp_path, table, message):
    with pytest.raises(UsageError) as caught:
        file_defaults(write(tmp_path, table))
    assert message in f"{caught.value.message} {caught.value.hint}"
    assert "pyproject.toml" in caught.value.message


def test_a_table_that_is_none_is_an_error(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\ngraphviz-cli = 3\n")
    with pytest.raises(UsageError, match="is no table"):
        file_defaults(tmp_path)
    (tmp_path / "pyproject.toml").write_text("tool = 'graphviz-cli'\n")
    assert file_defaults(tmp_path) == {}


def test_a_file_that_is_no_text_is_an_error_of_one_line(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.graphviz-cli]\ndepth = '\xff'")
    with pytest.raises(UsageError, match=r"is no TOML"):
        file_defaults(tmp_path)


def test_a_variable_that_sets_nothing_is_an_error():
    check_environment({"GRAPHVIZ_CLI_DEPTH": "2", "PATH": "/bin"})
    with pytest.raises(UsageError) as caught:
        check_environment({"GRAPHVIZ_CLI_DEPHT": "2"})
    assert caught.value.hint == "Did you mean GRAPHVIZ_CLI_DEPTH?"


def test_every_option_has_its_own_key_and_variable():
    assert len({option.key for option in OPTIONS}) == len(OPTIONS)
    assert len({flag for option in OPTIONS for flag in option.flags}) == sum(
        len(option.flags) for option in OPTIONS
    )


def test_a_flag_wins_over_the_environment_and_that_over_the_file(run, saved):
    write(saved.parent, 'format = "json"')
    variable = {"GRAPHVIZ_CLI_FORMAT": "dot"}
    assert run(saved).stdout.startswith(b"{")
    assert run(saved, env=variable).stdout.startswith(b"digraph")
    assert run(saved, "-f", "json", env=variable).stdout.startswith(b"{")


def test_a_wrong_value_says_where_it_comes_from(run, saved):
    ran = run(saved, env={"GRAPHVIZ_CLI_STEP": "zero"})
    assert ran.returncode == 2
    assert b"It comes from GRAPHVIZ_CLI_STEP." in ran.stderr
    write(saved.parent, 'depth = "deep"')
    ran = run(saved)
    assert ran.returncode == 2
    assert b"It comes from [tool.graphviz-cli] in pyproject.toml." in ran.stderr


def test_a_flag_that_is_on_in_the_file_can_be_turned_off(run, saved):
    write(saved.parent, "repeats = false")
    off = run(saved, "-f", "dot").stdout
    on = run(saved, "-f", "dot", "--repeats").stdout
    assert len(on) < len(off)
