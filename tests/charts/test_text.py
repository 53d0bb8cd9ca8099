"""The text shows where values lie, in characters that may be used and in the width there is."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest

from graphviz_cli.charts.style import ChartStyle
from graphviz_cli.charts.text import Text
from graphviz_cli.drawing.format import display_width
from graphviz_cli.graph.history import History
from tests.charts.histories import Run, adversarial, blowing_up, hostile, losses, training

HISTORIES = {
    "training": training(300),
    "two losses": adversarial(),
    "NaN": blowing_up(),
    "hostile names": hostile(),
    "one step": losses(1.5),
    "two steps": losses(2.0, 1.0),
    "only NaN": losses(math.nan, math.nan),
    "large": losses(-1e308, 1e308, 5e-324),
    "nothing": Run().build(),
    "no loss": losses(None, None),
}


def text(history: History, *, ascii: bool = False, width: int | None = None) -> str:
    style = ChartStyle(color=False, ascii=ascii, width=width)
    return Text().chart(history, style).decode()


def rows(history: History, *, ascii: bool = False) -> list[str]:
    """What stands right of the axis of the loss, row by row."""
    block = text(history, ascii=ascii).split("\n\n")[1].splitlines()
    axis = re.compile(r"^.{9}[|+┤│](?!\+-|┬)(.*)$")
    return [found[1] for line in block[1:] if (found := axis.match(line))]


def test_the_largest_value_is_in_the_top_row_and_the_smallest_in_the_bottom_row() -> None:
    for ascii, glyph in ((True, "o"), (False, "●")):
        top, *_, bottom = rows(losses(1.0, 5.0, 0.0, 3.0, 2.0), ascii=ascii)
        width = 70
        assert abs(top.index(glyph) - width * 0.25) <= 1
        assert abs(bottom.index(glyph) - width * 0.5) <= 1
        assert (top.count(glyph), bottom.count(glyph)) == (1, 1)


def test_the_labels_are_the_values_of_their_rows() -> None:
    shown = text(losses(*[float(k) for k in range(31)]))
    labels = re.findall(r"^ *(\S+) ┤", shown.split("\n\n")[1], re.MULTILINE)
    assert labels == ["30", "20", "10", "0"]


def test_values_over_more_than_two_decades_get_a_log_axis_that_says_so() -> None:
    assert "log axis" in text(losses(1000.0, 10.0, 1.0))
    assert "log axis" not in text(losses(50.0, 10.0, 1.0))
    assert "log axis" not in text(losses(1000.0, 10.0, -1.0))
    marked = [k for k, row in enumerate(rows(losses(1000.0, 100.0, 10.0, 1.0))) if "●" in row]
    assert {b - a for a, b in pairwise(marked)} == {3}


def test_a_value_that_is_not_finite_has_a_sign() -> None:
    top, *_, bottom = rows(losses(1.0, 2.0, math.inf, 2.0, math.nan))
    assert top.index("∞") == 34 or top.index("∞") == 35
    assert bottom.index("✗") == 69
    assert "✗ NaN" in text(losses(1.0, math.nan))
    assert "✗" not in text(losses(1.0, 2.0))


def test_a_constant_is_a_line_at_its_value() -> None:
    lines = rows(losses(*[0.5] * 100))
    (drawn,) = [row for row in lines if row.strip()]
    assert len(drawn) == 70
    assert len(set(drawn)) == 1
    assert re.search(r"^ *0\.5 ┤\S", text(losses(*[0.5] * 100)), re.MULTILINE)


def test_a_change_of_the_graph_is_marked_under_its_step() -> None:
    history = training(100)
    (marks,) = {line for line in text(history).splitlines() if "graph changed at 17" in line}
    assert abs(marks.index("▲") - 10 - 70 * 16 / 99) <= 1


def test_the_norm_after_clipping_is_a_second_series() -> None:
    assert "╌╌ at the optimizer's step" in text(training(100))
    assert text(training(100)).count("╌") > 4
    assert "╌" not in text(losses(1.0, 2.0))


def test_every_root_has_charts_of_its_own_and_the_rest_is_counted() -> None:
    shown = text(adversarial())
    for title in ("loss: errD", "loss: errG", "gradient norm: errD", "gradient norm: errG"):
        assert shown.count(title) == 1
    assert "18 more roots not shown." in text(hostile())


def test_the_leaves_with_the_largest_and_the_smallest_median_are_listed() -> None:
    shown = text(training(50, leaves=20)).split("gradient norms of leaves")[1].split("\n\n")[0]
    assert "(12 more leaves)" in shown
    names = re.findall(r"layers\.(\d+)", shown)
    assert names == ["0", "0", "1", "1", "8", "8", "9", "9"]
    medians = [float(line.split()[1]) for line in shown.splitlines()[1:] if "layers" in line]
    assert medians == sorted(medians, reverse=True)


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("width", [None, 32, 60, 100, 200])
def test_no_line_is_wider_than_it_may_be(name: str, width: int | None) -> None:
    for ascii in (False, True):
        for line in text(HISTORIES[name], ascii=ascii, width=width).splitlines():
            assert display_width(line) <= (width or 80), line


@pytest.mark.parametrize("name", HISTORIES)
def test_ascii_is_ascii(name: str) -> None:
    assert text(HISTORIES[name], ascii=True).isascii()


@pytest.mark.parametrize("name", HISTORIES)
def test_colours_add_nothing_but_colours(name: str) -> None:
    colored = Text().chart(HISTORIES[name], ChartStyle(color=True)).decode()
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == text(HISTORIES[name])
    assert "\x1b[" in colored


def test_equal_histories_give_equal_text() -> None:
    assert text(training(200)) == text(training(200))
