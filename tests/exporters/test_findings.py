"""Findings are seen whatever a graph is drawn as: at the node, and in a list."""

import json

import pytest

from graphviz_cli import registry
from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.style import THEMES, Arrangement, Style
from graphviz_cli.graph.finding import Finding, Severity, marked
from graphviz_cli.graph.model import Graph, NodeKind
from graphviz_cli.graph.serial import loads
from tests.checks.test_verdict import severed


def found() -> Graph:
    """The cut and the leaf behind it have one finding, the unused leaf another."""
    graph = severed()
    ids = {node.label: node.id for node in graph.nodes}
    (cut,) = graph.nodes.ids(NodeKind.CUT)
    return marked(
        graph,
        [
            Finding("zero-gradient-op", Severity.WARNING, "Not the gravest.", (cut,)),
            Finding("severed-gradient", Severity.ERROR, "It is <lost>.", (cut, ids["w"])),
            Finding("unused-parameter", Severity.ERROR, "u is never used.", (ids["u"],)),
        ],
    )


def exported(name: str, style: Style = Style()) -> str:  # noqa: B008 - frozen
    data: bytes = registry.create("exporters", name).export(found(), style)
    return data.decode()


@pytest.mark.parametrize("arrangement", Arrangement)
def test_the_tree_marks_the_nodes_and_ends_with_the_list(arrangement: Arrangement) -> None:
    lines = exported("tree", Style(arrangement=arrangement)).splitlines()
    for name in ("✂ detach", "w", "u"):
        assert any(name in line and "⚠" in line for line in lines[1:-2]), name
    assert sum("⚠ severed-gradient" in line for line in lines[:-2]) == 2
    assert sorted(lines[-2:]) == [
        "⚠ severed-gradient: It is <lost>.",
        "⚠ unused-parameter: u is never used.",
    ]


def test_the_ascii_tree_keeps_to_ascii() -> None:
    assert "!! unused-parameter: u is never used." in exported("tree", Style(ascii=True))


def test_a_long_list_is_cut_short() -> None:
    graph = severed()
    many = [
        Finding("x", Severity.ERROR, f"{k}.", (node,))
        for k, node in enumerate([*range(len(graph.nodes))] * 3)
    ]
    assert len(graph.nodes) < 8
    text = registry.create("exporters", "tree").export(marked(graph, many), Style()).decode()
    assert text.count("⚠ x:") == len(graph.nodes)


def test_a_picture_marks_boxes_and_chips_and_explains_the_mark() -> None:
    diagram = draw(found(), Style())
    marks = {box.title: box.finding for box in diagram.boxes}
    assert marks["detach"] and marks["gets no gradient"]
    assert not any(box.finding for box in diagram.boxes if box.root)
    assert [chip.finding for box in diagram.boxes for chip in box.chips if chip.title == "w"] == [
        True
    ]
    assert "⚠ severed-gradient: It is <lost>." in diagram.remarks
    assert any(key.text == "a check has found something" for key in diagram.legend)


@pytest.mark.parametrize("theme", THEMES)
def test_dot_frames_what_is_marked(theme: str) -> None:
    text = exported("dot", Style(theme=THEMES[theme]))
    color = THEMES[theme].finding
    (cut,) = (line for line in text.splitlines() if '"detach"' in line and "label=<" in line)
    assert f'color="{color}"' in cut
    assert "⚠ severed-gradient" in cut
    assert "severed-gradient: It is <lost>." in cut  # the tooltip says it in full


def test_mermaid_gives_what_is_marked_a_class() -> None:
    lines = exported("mermaid").splitlines()
    (marks,) = (line for line in lines if line.endswith(" finding"))
    assert any("classDef finding stroke:#C62828" in line for line in lines)
    marked_boxes = marks.split()[1].split(",")
    assert len(marked_boxes) == 3  # the cut, the op with the leaf, the list of the unused


def test_json_carries_the_findings() -> None:
    assert "finding" in loads(exported("json").encode()).annotations
    assert "unused-parameter: u is never used." in json.dumps(json.loads(exported("json")))


def test_a_graph_without_findings_has_no_mark_anywhere() -> None:
    graph = severed()
    for name in ("tree", "dot", "mermaid", "json"):
        text = registry.create("exporters", name).export(graph, Style()).decode()
        assert "⚠" not in text and "finding" not in text
