"""Flowcharts that stay within mermaid's limits, and that the real mermaid understands."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.format import shortened, visible
from graphviz_cli.drawing.style import THEMES, Direction, Style
from graphviz_cli.errors import RendererError
from graphviz_cli.exporters.mermaid import Mermaid, label_text, mermaid_text
from graphviz_cli.graph.model import Graph
from tests import graphs
from tests.graphs import HOSTILE_NAMES, hostile_text

FOLDER = Path(__file__).parent.parent / "judges"

Read = Callable[[str], dict[str, Any]]

needs_mermaid = pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules" / "mermaid").exists(),
    reason="mermaid is not installed: `npm install --prefix tests/judges` (needs Node.js)",
)


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    """What mermaid makes of a flowchart; one Node.js process answers for all."""
    command = ["node", str(FOLDER / "read.mjs")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None

        def ask(text: str) -> dict[str, Any]:
            print(json.dumps(text), file=node.stdin, flush=True)
            answer = json.loads(node.stdout.readline())
            assert "error" not in answer, f"{answer['error']}\n{text}"
            return answer

        yield ask
        node.stdin.close()


def shown(label: str) -> str:
    """What a label shows: mermaid keeps entities in a form of its own until it draws."""
    label = re.sub(r"(<[^>]*>)+", "\n", label).rstrip("\n")
    assert "&" not in label
    return re.sub(r"ﬂ°°(\d+)¶ß", lambda entity: chr(int(entity[1])), label)


def wide(layers: int) -> Graph:
    """Modules of three ops each, all of which lead to the loss."""
    b = graphs.Builder()
    top = b.module("", "Wide")
    x = b.leaf("x", 4, 4, role=None)
    made = []
    for number in range(layers):
        call = b.module(f"layer{number}", "Layer", top)
        h = b.op("SinBackward0", (4, 4), x, module=call)
        h = b.op("CosBackward0", (4, 4), h, module=call)
        x = b.op("TanhBackward0", (4, 4), h, module=call)
        made.append(x)
    return b.build(b.op("StackBackward0", (layers, 4, 4), *made), title="Wide")


def test_the_flowchart_of_a_small_graph_is_as_written_by_hand() -> None:
    b = graphs.Builder()
    fc = b.module("fc", "Linear", b.module("", "Net"))
    x = b.leaf("x", 2, 3, role=None)
    y = b.op("MmBackward0", (2, 3), x, b.leaf("fc.weight", 3, 3, module=fc), module=fc)
    y = b.op("MulBackward0", (2, 3), y, y)
    text = Mermaid().export(b.build(y, title="Net", names=("y",)), Style()).decode()
    assert text == (
        "---\n"
        'title: "Net · 4 nodes, 4 edges · 9 params"\n'
        "---\n"
        "flowchart TB\n"
        '  n0(["x<br/><small>2×3 · leaf</small>"]):::input\n'
        '  n2{{"Mul<br/><small>root y · 2×3</small>"}}:::root\n'
        '  subgraph c0["fc · Linear"]\n'
        '    n1["Mm<br/><small>2×3</small><br/><small>weight 3×3</small>"]:::op\n'
        "  end\n"
        "  n0 --> n1\n"
        "  n1 --> n2\n"
        "  n1 --> n2\n"
        "  classDef op fill:#F1F3F6,stroke:#8C96A3,color:#1C2129\n"
        "  classDef input fill:#CDEDE2,stroke:#00664F,color:#1C2129\n"
        "  classDef root fill:#FCE6AE,stroke:#1C2129,color:#1C2129,stroke-width:3px\n"
        "  classDef panel fill:#F7F8FA,stroke:#C2C9D3,color:#1C2129\n"
        "  class c0 panel\n"
    )


def test_a_fence_makes_it_markdown() -> None:
    text = Mermaid(fence=True).export(graphs.mlp(), Style()).decode()
    assert text.startswith("```mermaid\n---\n")
    assert text.endswith("\n```\n")


def test_the_same_graph_gives_the_same_bytes() -> None:
    first, second = (Mermaid().export(graphs.transformer_block(), Style()) for _ in range(2))
    assert first == second


@given(hostile_text)
def test_a_label_decodes_to_the_text_and_holds_nothing_that_markup_could_be(text: str) -> None:
    label = label_text(text)
    decoded = re.sub(r"#(\d+);", lambda entity: chr(int(entity[1])), label)
    assert decoded == visible(text)
    assert not re.search(r'["<>&\\`*%:~^{}\[\]|$@!+-]', re.sub(r"#\d+;", "", label))


def test_a_graph_above_the_limits_is_folded_further() -> None:
    text = Mermaid().export(wide(200), Style()).decode()
    assert len(text) <= 50_000
    assert text.count("-->") < 500
    assert "folded into" in text


def test_a_graph_that_cannot_be_folded_enough_is_refused() -> None:
    b = graphs.Builder()
    inputs = [b.leaf(f"x{number}", 2, role=None) for number in range(600)]
    graph = b.build(b.op("StackBackward0", (600, 2), *inputs))
    with pytest.raises(RendererError, match="600 arrows; mermaid draws up to 499") as raised:
        Mermaid().export(graph, Style())
    assert raised.value.hint is not None


@needs_mermaid
@settings(max_examples=50, deadline=None)
@given(graphs.graphs(), st.sets(st.sampled_from(["saved", "source", "dtype"])))
def test_mermaid_understands_every_label_of_any_graph(
    read: Read, graph: Graph, show: set[str]
) -> None:
    style = Style(show=frozenset(show))
    diagram = draw(graph, style)
    answer = read(mermaid_text(diagram, style))
    assert len(answer["labels"]) == len(diagram.boxes)
    for number, box in enumerate(diagram.boxes):
        lines = shown(answer["labels"][f"n{number}"]).split("\n")
        assert lines[0].removesuffix(f" ×{box.repeats}").endswith(box.title)
        expected = [line for line in (box.note, *box.lines) if line]
        assert lines[1 : 1 + len(expected)] == [shortened(line, 60) for line in expected]
    for number, cluster in enumerate(diagram.clusters):
        title = " · ".join(filter(None, (cluster.title, cluster.note)))
        assert shown(answer["groups"][f"c{number}"]) == title
    names = {box.id: f"n{number}" for number, box in enumerate(diagram.boxes)}
    drawn = {(names[a.source], names[a.target]) for a in diagram.arrows}
    assert {(start, end) for start, end, *_ in answer["edges"]} == drawn


@needs_mermaid
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_mermaid_understands_a_hostile_name_everywhere(read: Read, name: str) -> None:
    b = graphs.Builder()
    call = b.module(name, name)
    leaf = b.leaf(name, 2, module=call)
    graph = b.build(b.op(name, (2,), leaf, module=call, names=(name,)), title=name, names=(name,))
    answer = read(Mermaid().export(graph, Style()).decode())
    assert shortened(visible(name), 40) in shown(answer["labels"]["n0"])


@needs_mermaid
@pytest.mark.parametrize("theme", THEMES)
def test_mermaid_understands_every_kind_of_thing(read: Read, theme: str) -> None:
    for direction in Direction:
        style = Style(theme=THEMES[theme], direction=direction, heat="saved")
        for graph in (graphs.transformer_block(repeats=3), graphs.folded(), graphs.unreached()):
            assert read(Mermaid().export(graph, style).decode())["edges"]


@needs_mermaid
def test_mermaid_sees_a_cut_as_broken_and_blocked(read: Read) -> None:
    graph = graphs.cut()
    answer = read(Mermaid().export(graph, Style()).decode())
    ids = {box.id: f"n{number}" for number, box in enumerate(draw(graph, Style()).boxes)}
    edges = {(start, end): (type, stroke) for start, end, type, stroke, _ in answer["edges"]}
    assert edges[ids["Mul"], ids["detach"]] == ("arrow_point", "dotted")
    assert edges[ids["detach"], ids["Sub"]] == ("arrow_cross", "dotted")
    assert edges[ids["Mul"], ids["Sub"]] == ("arrow_point", "normal")
    assert answer["classes"][ids["detach"]] == ["cut"]
