"""A part of a graph, with its border."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Graph, NodeKind
from graphviz_cli.transforms.focus import Focus
from graphviz_cli.transforms.fold import Fold
from graphviz_cli.transforms.repeats import Repeats
from tests.graphs import graphs, mlp, tied, transformer_block
from tests.transforms.laws import check_is_valid
from tests.transforms.programs import programs, stack


def border(graph: Graph) -> dict[str, str]:
    values = graph.annotations["border"].values
    return {graph.nodes[node].label: str(text) for node, text in values.items()}


def test_a_block_is_shown_with_what_it_reads_and_what_reads_it() -> None:
    graph = Focus("h.2").apply(stack(5))
    check_is_valid(graph)
    assert border(graph) == {"h.1": "feeds this part", "h.3": "uses this part"}
    inside = [n for n in graph.nodes if n.id not in graph.annotations["border"].values]
    assert sorted(n.name for n in inside if n.kind is NodeKind.FUNCTION) == [
        "AddBackward0",
        "AddmmBackward0",
        "NativeLayerNormBackward0",
        "ReluBackward0",
    ]
    assert {n.label for n in inside if n.kind is NodeKind.LEAF} == {
        "h.2.norm.weight",
        "h.2.fc.weight",
        "h.2.fc.bias",
    }


def test_calls_at_the_border_are_one_node_each_with_all_that_is_in_them() -> None:
    graph = Focus("h.2").apply(stack(5))
    block = next(node for node in graph.nodes if node.label == "h.1")
    assert (block.kind, block.name, block.size, block.parameters) == (
        NodeKind.MODULE,
        "Block",
        4,
        80,
    )


def test_ops_of_the_call_around_are_shown_as_they_are() -> None:
    graph = Focus("h.0.attn").apply(transformer_block(repeats=1))
    kinds = {node.label: node.kind for node in graph.nodes}
    assert border(graph) == {"h.0.ln1": "feeds this part", "AddBackward0": "uses this part"}
    assert kinds["h.0.ln1"] is NodeKind.MODULE
    assert kinds["AddBackward0"] is NodeKind.FUNCTION


def test_the_calls_that_match_are_the_outermost_ones() -> None:
    graph = Focus("h.0.attn").apply(transformer_block())
    part = next(call for call in graph.modules if call.path == "h.0.attn")
    assert part.parent is None
    assert not any(call.path in ("", "h.0") for call in graph.modules)
    one = Fold(depth=0).apply(graph)
    assert {node.label for node in one.nodes} == {"h.0.attn", "h.0.ln1", "AddBackward0"}


def test_an_input_at_the_border_stays_a_leaf() -> None:
    graph = Focus("fc1").apply(mlp())
    assert border(graph)["x"] == "feeds this part"


def test_a_tied_weight_shows_its_other_use() -> None:
    graph = Focus("wte").apply(tied())
    assert border(graph)["lm_head"] == "uses this part"


def test_several_calls_are_shown_together_and_can_be_merged() -> None:
    graph = Repeats().apply(Focus("h.1..3").apply(stack(6)))
    check_is_valid(graph)
    assert [(call.path, call.repeats) for call in graph.modules if call.repeats > 1] == [
        ("h.1..3", 3)
    ]
    assert border(graph) == {"h.0": "feeds this part", "h.4": "uses this part"}


def test_a_root_in_the_part_stays_one_and_others_are_gone() -> None:
    assert Focus("h.2").apply(stack(5)).roots == ()
    whole = Focus("*").apply(stack(2))
    assert [root.name for root in whole.roots] == ["loss"]


def test_the_title_says_which_part_it_is() -> None:
    assert Focus("h.2").apply(stack(5)).provenance.title == "Model h.2"


def test_a_pattern_that_matches_nothing_is_told_with_what_is_near() -> None:
    with pytest.raises(UsageError, match=r"No module matches 'h.2.nrom'\.") as error:
        Focus("h.2.nrom").apply(stack(5))
    assert error.value.hint is not None
    assert "h.2.norm" in error.value.hint
    with pytest.raises(UsageError) as error:
        Focus("zzz").apply(stack(5))
    assert error.value.hint == "Its modules: emb, h.0, h.0.norm, ..."


@given(graphs() | programs())
@settings(deadline=None, max_examples=100)
def test_any_part_of_any_graph_is_a_valid_graph(graph: Graph) -> None:
    for index in range(len(graph.modules)):
        pattern = f"h.{index}" if index else "*"
        try:
            part = Focus(pattern).apply(graph)
        except UsageError:
            continue
        check_is_valid(part)
        assert len(part.nodes) <= len(graph.nodes)
        inside = set(range(len(part.nodes))) - set(part.annotations["border"].values)
        assert inside
        touched = {n for e in part.edges if {e.source, e.target} & inside
                   for n in (e.source, e.target)}  # fmt: skip
        assert set(part.annotations["border"].values) <= touched
