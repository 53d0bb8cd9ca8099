"""The picture and the page say what was measured, hold together, and stay small."""

from __future__ import annotations

import itertools
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from graphviz_cli.charts.html import Html
from graphviz_cli.charts.style import ChartStyle
from graphviz_cli.charts.svg import Svg
from graphviz_cli.graph.history import History
from tests.charts.histories import Run, adversarial, blowing_up, hostile, losses, training

SVG = "{http://www.w3.org/2000/svg}"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HISTORIES = {
    "training": training(100),
    "two losses": adversarial(),
    "NaN": blowing_up(),
    "hostile names": hostile(),
    "one step": losses(1.5),
    "only NaN": losses(math.nan, math.nan),
    "large": losses(-1e308, 1e308, 5e-324),
    "nothing": Run().build(),
}


def picture(history: History) -> Element:
    return fromstring(Svg().chart(history, ChartStyle()))


def page(history: History) -> str:
    return Html().chart(history, ChartStyle()).decode()


def panel(root: Element, title: str) -> Element:
    (found,) = (
        group
        for group in root.iter(f"{SVG}g")
        if any(text.text == title for text in group.findall(f"{SVG}text"))
    )
    return found


def points(root: Element, title: str) -> list[tuple[float, float]]:
    """The ends of the line of a panel's only series, in pixels."""
    lines = [
        path
        for path in panel(root, title).findall(f"{SVG}path")
        if path.get("class", "").startswith("line") and path.find(f"{SVG}title") is not None
    ]
    (line,) = lines
    numbers = list(map(float, re.findall(r"-?\d+(?:\.\d+)?", line.get("d", ""))))
    return list(zip(numbers[::2], numbers[1::2]))


def titles(root: Element) -> list[str]:
    return [title.text or "" for title in root.iter(f"{SVG}title")]


def texts(root: Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def test_the_line_goes_through_the_values() -> None:
    values = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0]
    places = points(picture(losses(*values)), "loss")
    assert len(places) == len(values)
    gaps = {round(b[0] - a[0], 0) for a, b in itertools.pairwise(places)}
    assert max(gaps) - min(gaps) <= 1
    bottom, top = places[1][1], places[5][1]
    for value, (_, y) in zip(values, places):
        assert y == pytest.approx(bottom + (value - 1.0) / 8.0 * (top - bottom), abs=0.11)


def test_values_over_more_than_two_decades_are_drawn_by_their_logarithm() -> None:
    root = picture(losses(1000.0, 100.0, 10.0, 1.0))
    heights = [y for _, y in points(root, "loss")]
    steps = [b - a for a, b in itertools.pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert any("log axis" in text for text in texts(panel(root, "loss")))


def test_a_long_run_keeps_its_extremes_and_stays_small() -> None:
    values = [1.0] * 100_000
    values[31_415], values[70_000] = 2.0, 0.5
    data = Svg().chart(losses(*values), ChartStyle())
    assert len(data) < 300_000
    heights = [y for _, y in points(fromstring(data), "loss")]
    assert len(heights) <= 800
    assert heights.count(min(heights)) == heights.count(max(heights)) == 1
    usual = max(set(heights), key=heights.count)
    assert max(heights) - usual == pytest.approx((usual - min(heights)) / 2, abs=0.2)


def test_many_leaves_over_many_steps_stay_small() -> None:
    assert len(Svg().chart(training(400, leaves=400), ChartStyle())) < 300_000


def test_a_nan_breaks_the_line_and_is_marked_as_such() -> None:
    root = picture(losses(1.0, 2.0, math.nan, 2.0, 1.0))
    assert "NaN at step 3" in texts(root)
    (line,) = (p for p in panel(root, "loss").findall(f"{SVG}path") if "line" in p.get("class", ""))
    assert line.get("d", "").count("M") == 2


def test_an_infinity_is_marked_at_the_top() -> None:
    root = panel(picture(losses(1.0, math.inf, math.nan)), "loss")
    marks = [rect for rect in root.findall(f"{SVG}rect") if rect.get("class") == "bad"]
    infinite, nan = (float(mark.get("y", "")) for mark in marks)
    assert infinite < nan


def test_changes_of_the_graph_are_lines_with_the_step() -> None:
    root = picture(training(100))
    assert "step 17: the graph changed" in titles(root)
    assert "17" in texts(panel(root, "ops in the graph"))
    assert not any("the graph changed" in title for title in titles(picture(adversarial())))


def test_the_heat_map_has_a_row_for_each_leaf_and_tells_its_norms() -> None:
    run = Run()
    run.structure(3, ["large", "small", "none", "zero"])
    for k in range(4):
        run.step(norms=[10.0 + k, 0.1, None, 0.0])
    told = titles(panel(picture(run.build()), "gradient norm of each leaf"))
    assert told == [
        "large: 10 to 13, last 13",
        "small: 0.1 to 0.1, last 0.1",
        "none: no gradient",
        "zero: 0 to 0, last 0",
    ]


@pytest.mark.parametrize("name", HISTORIES)
def test_equal_histories_give_equal_bytes_that_hold_nothing_foreign(name: str) -> None:
    for chart in (Svg(), Html()):
        data = chart.chart(HISTORIES[name], ChartStyle())
        assert data == chart.chart(HISTORIES[name], ChartStyle())
        rest = data.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in rest.replace("http-equiv", "")
        assert "nan," not in rest


@pytest.mark.parametrize("name", HISTORIES)
def test_the_picture_is_xml_without_scripts(name: str) -> None:
    root = picture(HISTORIES[name])
    assert not list(root.iter(f"{SVG}script"))
    height = float(root.get("height", ""))
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.get("y", "")) < height


def test_ascii_is_ascii() -> None:
    for chart in (Svg(), Html()):
        assert chart.chart(hostile(), ChartStyle(ascii=True)).isascii()


def test_light_and_dark_are_both_there() -> None:
    rules = picture(losses(1.0)).find(f"{SVG}style")
    assert rules is not None and rules.text is not None
    light, dark = rules.text.split("@media screen and (prefers-color-scheme:dark)")
    assert ".paper{fill:#FFFFFF}" in light
    assert ".paper{fill:#14171C}" in dark


class Tags(HTMLParser):
    """Counts the elements of a page, and gathers its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_hostile_names_are_text_in_the_page() -> None:
    tags = Tags()
    tags.feed(page(hostile()))
    assert tags.tags.count("script") == 2
    assert "</script>" in tags.text
    assert "<b>bold</b>" in tags.text
    assert tags.tags.count("b") == tags.tags.count("li")


def test_the_page_forbids_all_but_its_own_style_and_script() -> None:
    content = page(losses(1.0, 2.0))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', content)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert not re.search(r' style="| on[a-z]+="', content)


def test_the_page_tells_findings_differences_and_leaves() -> None:
    content = page(training(100))
    assert "step 17: the graph changed" in content
    assert "+ Tanh (net.py:12)\n+ Mul (net.py:13)</pre>" in content
    assert content.count("<tr><td>model.layers.") == 5


def test_the_table_counts_the_steps_of_a_leaf_that_are_not_finite() -> None:
    row = page(blowing_up()).split("<tr><td>b</td>")[1].split("</tr>")[0]
    cells = re.findall(r">([^<]*)</td>", row)
    assert cells == ["2", "2", "2", "NaN", "100", "44"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_runs_the_page(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    for name in ("training", "hostile names", "nothing"):
        place = tmp_path / "page.html"
        place.write_text(page(HISTORIES[name]))
        done = subprocess.run(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
             f"--user-data-dir={tmp_path / 'profile'}", place.as_uri()],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert ("press the arrow keys" in done.stdout.split("<script")[0]) == (name != "nothing")
        assert ("<th><button>" in done.stdout) == (name != "nothing")
