"""What is written for Graphviz, and that Graphviz reads back exactly that."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphviz_cli.drawing.diagram import Box
from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.format import shortened, visible
from graphviz_cli.drawing.style import THEMES, Direction, Style
from graphviz_cli.exporters.dot import Dot, dot_text, html_text, quoted_text
from graphviz_cli.graph.model import Annotation, Graph, Role
from tests import graphs
from tests.graphs import HOSTILE_NAMES, hostile_text

needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz is not installed: no `dot` on the PATH"
)


def read_back(text: str) -> dict[str, Any]:
    """What Graphviz makes of a DOT text."""
    done = subprocess.run(
        ["dot", "-Tjson"], input=text.encode(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{done.stderr.decode()}\n{text}"
    # Only complaints about fonts are no fault of the text.
    complaints = [line for line in done.stderr.decode().splitlines() if "ont" not in line]
    assert complaints == [], text
    return json.loads(done.stdout)


def texts_of(drawn: dict[str, Any]) -> list[str]:
    """What stands in the label of a node, a cluster or the graph, piece by piece."""
    return [item["text"] for item in drawn.get("_ldraw_", []) if item["op"] == "T"]


def words_of(box: Box) -> str:
    """What a box should say, without the spaces between its pieces."""
    words = [f"{box.variable} = " if box.variable else "", "✂ " if box.look == "cut" else ""]
    words += [box.title, f" ×{box.repeats}" if box.repeats > 1 else "", box.note, *box.lines]
    for row in box.rows:
        words += [row.title, row.detail, row.amount]
    for chip in box.chips:
        words += [chip.title, chip.detail, "◆" if chip.shared else ""]
    return "".join(words).replace(" ", "")


@needs_dot
@settings(max_examples=40, deadline=None)
@given(st.lists(hostile_text.filter(bool), min_size=1, max_size=20))
def test_graphviz_reads_back_any_text(names: list[str]) -> None:
    nodes = [
        f"n{k} [shape=plain, tooltip={quoted_text(name)}, label=<<table><tr><td>"
        f'<b>{html_text(name)}</b></td><td href="" title="{html_text(name)}">x</td></tr></table>>]'
        for k, name in enumerate(names)
    ]
    drawn = read_back("digraph { " + "; ".join(nodes) + " }")
    for node, name in zip(drawn["objects"], names):
        assert texts_of(node) == [visible(name), "x"]


@needs_dot
@settings(max_examples=60, deadline=None)
@given(graphs.graphs(), st.sets(st.sampled_from(["saved", "source", "dtype", "formula"])))
def test_graphviz_reads_back_every_label_of_any_graph(graph: Graph, show: set[str]) -> None:
    style = Style(show=frozenset(show))
    diagram = draw(graph, style)
    drawn = read_back(dot_text(diagram, style))
    objects = {item["id"]: item for item in drawn.get("objects", []) if "id" in item}
    for box in diagram.boxes:
        assert "".join(texts_of(objects[box.id])).replace(" ", "") == words_of(box)
    for cluster in diagram.clusters:
        said = "".join(texts_of(objects[cluster.id])).replace(" ", "")
        assert said == (cluster.title + cluster.note).replace(" ", "")
    names = {item["_gvid"]: item["name"] for item in drawn.get("objects", [])}
    arrows = sorted((names[e["tail"]], names[e["head"]]) for e in drawn.get("edges", []))
    expected = [
        (arrow.source, arrow.target)
        for arrow in diagram.arrows
        for _ in range(2 if arrow.count == 2 else 1)
    ]
    assert arrows == sorted(expected)
    assert "".join(texts_of(drawn)).replace(" ", "").startswith(diagram.title.replace(" ", ""))


@needs_dot
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("direction", Direction)
def test_every_theme_and_direction_is_valid(theme: str, direction: Direction) -> None:
    style = Style(theme=THEMES[theme], direction=direction, heat="saved")
    for graph in (graphs.transformer_block(repeats=3), graphs.cut(), graphs.unreached()):
        drawn = read_back(Dot().export(graph, style).decode())
        assert drawn["rankdir"] == direction
        assert drawn["bgcolor"] == THEMES[theme].background


@needs_dot
@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if name])
def test_a_hostile_name_reaches_the_picture_and_its_tooltips(name: str) -> None:
    """As SVG shows it, which decodes entities once more than the JSON does."""
    from xml.etree.ElementTree import fromstring

    b = graphs.Builder()
    weight = b.leaf(name, 2)
    graph = b.build(b.op("MulBackward0", (2,), weight, module=b.module(name, name), names=(name,)))
    done = subprocess.run(
        ["dot", "-Tsvg"],
        input=Dot().export(graph, Style()),
        capture_output=True,
        timeout=60,
        check=True,
    )
    svg = fromstring(done.stdout)
    # Where spaces follow each other, SVG gets ones that do not break.
    lines = [
        line
        for item in svg.iter()
        for key, value in item.items()
        if key.endswith("}title")
        for line in value.replace("\xa0", " ").split("\n")
    ]
    assert shortened(f"variable {visible(name)}", 200) in lines
    texts = [(item.text or "").replace("\xa0", " ") for item in svg.iter()]
    assert any(shortened(visible(name), 40) in text for text in texts)


def test_the_same_graph_gives_the_same_bytes() -> None:
    first, second = (Dot().export(graphs.transformer_block(), Style()) for _ in range(2))
    assert first == second


def test_ids_are_readable_and_survive_a_layer_more() -> None:
    def ids(layers: int) -> list[str]:
        b = graphs.Builder()
        top = b.module("", "Net")
        x = b.leaf("x", 4, 4, role=None)
        for number in range(layers):
            x = graphs.linear(b, f"layer{number}", x, (4, 4, 4), top)
        graph = b.build(b.op("SumBackward0", (), x))
        return [box.id for box in draw(graph, Style()).boxes]

    assert ids(2) == [
        "x",
        "layer0.T",
        "layer0.Addmm",
        "layer1.T",
        "layer1.Addmm",
        "Sum",
    ]
    assert set(ids(2)) < set(ids(3))


def test_a_name_of_any_alphabet_gives_an_id_of_ascii_letters() -> None:
    text = Dot().export(graphs.hostile(), Style()).decode()
    ids = [line.split('"')[1] for line in text.splitlines() if line.strip().startswith('"')]
    assert len(ids) > 30
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in ids)


def test_a_big_flat_graph_is_laid_out_in_a_hurry() -> None:
    assert "nslimit" not in Dot().export(graphs.chain(100), Style()).decode()
    assert "nslimit=1" in Dot().export(graphs.chain(1000), Style()).decode()


def test_more_than_two_edges_between_two_ops_are_one_arrow_with_their_number() -> None:
    b = graphs.Builder()
    x = b.op("ExpBackward0", (3,), b.leaf("x", 3))
    text = Dot().export(b.build(b.op("StackBackward0", (5, 3), *[x] * 5)), Style()).decode()
    assert text.count('"Exp" -> "Stack"') == 1
    assert 'xlabel="×5"' in text


def test_heat_fills_the_boxes_and_turns_their_text() -> None:
    graph = graphs.square().annotated(Annotation("norm", {0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0}))
    text = Dot().export(graph, Style(heat="norm")).decode()
    node = next(line for line in text.splitlines() if line.strip().startswith('"Sum"'))
    assert 'bgcolor="#00204C"' in node
    assert 'color="#FFFFFF"' in node


def test_thousands_of_nested_panels_are_no_recursion() -> None:
    b = graphs.Builder()
    call = None
    for depth in range(3000):
        call = b.module(f"m{depth}", "M", call)
    text = Dot().export(b.build(b.op("SinBackward0", (2,), b.leaf("w", 2), module=call)), Style())
    assert text.count(b"subgraph") == 3000


@needs_dot
def test_no_arrow_crosses_the_name_of_a_narrow_panel() -> None:
    b = graphs.Builder()
    h = b.op("SinBackward0", (4, 8, 16), b.leaf("x", 4, 8, 16, role=Role.INPUT))
    norm = b.module("norm_1", "LayerNorm")
    h = b.op("NativeLayerNormBackward0", (4, 8, 16), h, module=norm)
    drawn = read_back(Dot().export(b.build(h), Style()).decode())
    panel = next(item for item in drawn["objects"] if "norm_1" in texts_of(item))
    middle, width = float(panel["lp"].split(",")[0]), 72 * float(panel["lwidth"])
    arrow = next(edge for edge in drawn["edges"] if drawn["objects"][edge["head"]]["id"] != "Sin")
    points = re.findall(r"([\d.]+),[\d.]+", arrow["pos"])
    assert middle + width / 2 < min(map(float, points))
