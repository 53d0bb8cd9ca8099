"""Colours: --color > NO_COLOR > FORCE_COLOR or CLICOLOR_FORCE > CLICOLOR=0 > the terminal."""

import pytest

from graphviz_cli.cli.color import wants_color

TERMINAL = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("choice", "environment", "is_terminal", "wanted"),
    [
        ("auto", TERMINAL, True, True),
        ("auto", TERMINAL, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", TERMINAL | {"CLICOLOR": "0"}, True, False),
        ("auto", TERMINAL | {"CLICOLOR": "1"}, False, False),
        ("auto", {"CLICOLOR": "0", "FORCE_COLOR": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ("auto", {"FORCE_COLOR": "0"}, False, False),
        ("auto", TERMINAL | {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("auto", TERMINAL | {"NO_COLOR": ""}, True, True),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", TERMINAL | {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_the_first_thing_that_decides_wins(choice, environment, is_terminal, wanted):
    assert wants_color(choice, environment, is_terminal=is_terminal) is wanted
