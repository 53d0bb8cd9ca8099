"""Induced subgraph, quotient, union and pruning, on graphs of every kind."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphviz_cli.graph.model import (
    Annotation,
    Combine,
    Graph,
    NodeKind,
    Operator,
    Storage,
    held_bytes,
)
from graphviz_cli.graph.operations import induced_subgraph, quotient, union
from graphviz_cli.graph.pruning import pruned
from tests.graphs import Builder, chain, graphs, mlp, square, tied, transformer_block
from tests.transforms.laws import check_is_valid, check_sums_are_kept


@st.composite
def graphs_and_blocks(draw: st.DrawFn) -> tuple[Graph, list[int]]:
    """A graph, and a representative for every node."""
    graph = draw(graphs())
    blocks = draw(st.lists(st.integers(0, 3), min_size=len(graph.nodes), max_size=len(graph.nodes)))
    chosen = {block: draw(st.sampled_from([n for n, b in enumerate(blocks) if b == block]))
              for block in set(blocks)}  # fmt: skip
    return graph, [chosen[block] for block in blocks]


def test_an_induced_subgraph_keeps_the_edges_between_its_nodes() -> None:
    graph = mlp()
    keep = [node.id for node in graph.nodes if node.kind is NodeKind.FUNCTION]
    part = induced_subgraph(graph, reversed(keep))
    assert [node.name for node in part.nodes] == [graph.nodes[n].name for n in keep]
    names = {(graph.nodes[e.source].name, graph.nodes[e.target].name) for e in graph.edges
             if e.source in keep and e.target in keep}  # fmt: skip
    assert {(part.nodes[e.source].name, part.nodes[e.target].name) for e in part.edges} == names
    check_is_valid(part)


@given(graphs(), st.data())
@settings(deadline=None)
def test_an_induced_subgraph_holds_what_its_nodes_held(graph: Graph, data: st.DataObject) -> None:
    graph = graph.annotated(Annotation("rank", {n: n for n in range(0, len(graph.nodes), 2)}))
    keep = sorted(data.draw(st.sets(st.integers(0, len(graph.nodes) - 1))))
    part = induced_subgraph(graph, keep)
    for new, old in enumerate(keep):
        assert part.nodes[new] == replace(graph.nodes[old], id=new)
    inside = [e for e in graph.edges if e.source in keep and e.target in keep]
    assert [(keep[e.source], keep[e.target], e.input_nr, e.output_nr) for e in part.edges] == [
        (e.source, e.target, e.input_nr, e.output_nr) for e in inside
    ]
    assert {keep[n]: v for n, v in part.annotations["rank"].values.items()} == {
        n: n for n in keep if n % 2 == 0
    }
    assert [keep[root.node] for root in part.roots] == [
        root.node for root in graph.roots if root.node in keep
    ]


def test_the_whole_is_an_induced_subgraph_of_itself() -> None:
    graph = transformer_block()
    assert induced_subgraph(graph, range(len(graph.nodes))) == graph


def test_a_node_that_is_not_there_cannot_be_kept() -> None:
    with pytest.raises(IndexError):
        induced_subgraph(mlp(), [0, 99])
    with pytest.raises(IndexError):
        induced_subgraph(mlp(), [-1])


@given(graphs())
@settings(deadline=None)
def test_a_quotient_by_single_nodes_is_the_graph_itself(graph: Graph) -> None:
    assert quotient(graph, range(len(graph.nodes))) == graph


@given(graphs_and_blocks())
@settings(deadline=None)
def test_a_quotient_loses_no_op_no_edge_between_blocks_and_no_root(
    given_blocks: tuple[Graph, list[int]],
) -> None:
    graph, representatives = given_blocks
    graph = graph.annotated(
        Annotation("bytes", dict.fromkeys(range(len(graph.nodes)), 1), combine=Combine.SUM)
    )
    merged = quotient(graph, representatives)
    check_sums_are_kept(graph, merged)
    assert sum(merged.annotations["bytes"].values.values()) == len(graph.nodes)
    assert len(merged.nodes) == len(set(representatives))
    between = [e for e in graph.edges if representatives[e.source] != representatives[e.target]]
    assert len(merged.edges) == len(between)
    assert Counter((e.input_nr, e.output_nr) for e in merged.edges) == Counter(
        (e.input_nr, e.output_nr) for e in between
    )
    assert not graph.roots or merged.roots[0].node == 0
    assert list(merged.edges.sources) == sorted(merged.edges.sources)


@given(graphs_and_blocks())
@settings(deadline=None)
def test_a_merged_node_is_its_representative_with_the_saved_tensors_of_all(
    given_blocks: tuple[Graph, list[int]],
) -> None:
    graph, representatives = given_blocks
    marks = Annotation("was", {n: n for n in set(representatives)})
    merged = quotient(graph.annotated(marks), representatives)
    for node in merged.nodes:
        was = int(merged.annotations["was"].values[node.id])
        members = [n for n, r in enumerate(representatives) if r == was]
        saved = [tensor for n in members for tensor in graph.nodes[n].saved]
        assert sorted(node.saved, key=repr) == sorted(saved, key=repr)
        assert node.size == sum(graph.nodes.sizes[n] for n in members)
        usual = replace(graph.nodes[was], id=node.id, saved=node.saved, size=node.size)
        assert node == replace(usual, parameters=node.parameters)


def test_a_merged_node_can_be_described_anew() -> None:
    graph = square()
    representatives = [1 if n in (1, 2) else n for n in range(len(graph.nodes))]
    description = replace(graph.nodes[1], kind=NodeKind.MODULE, name="Net", names=("net",))
    merged = quotient(graph, representatives, {1: description})
    assert [node.kind for node in merged.nodes] == ["function", "module", "leaf"]
    assert (merged.nodes[1].name, merged.nodes[1].names) == ("Net", ("net",))
    assert merged.nodes[1].size == 2
    check_is_valid(merged)


def test_repeated_edges_stay_repeated() -> None:
    merged = quotient(square(), range(4))
    assert [(e.source, e.target, e.input_nr) for e in merged.edges][1:3] == [(1, 2, 0), (1, 2, 1)]


def test_numbers_run_breadth_first_from_the_roots_whatever_they_were_before() -> None:
    graph = transformer_block()
    count = len(graph.nodes)
    # The same graph with its last nodes first.
    numbers = [0, *range(count - 1, 0, -1)]
    order = sorted(range(count), key=numbers.__getitem__)
    shuffled = replace(
        graph,
        nodes=type(graph.nodes).of(replace(graph.nodes[n], id=k) for k, n in enumerate(order)),
        edges=type(graph.edges).of(
            replace(e, source=numbers[e.source], target=numbers[e.target]) for e in graph.edges
        ),
    )
    assert quotient(shuffled, range(count)) == graph


def test_a_representative_outside_its_own_block_is_refused() -> None:
    with pytest.raises(ValueError, match="represent itself"):
        quotient(square(), [0, 2, 3, 3])


@pytest.mark.parametrize(
    ("combine", "values", "expected"),
    [
        (Combine.SUM, {1: 2.5, 2: 4}, 6.5),
        (Combine.MAX, {1: 2.5, 2: 4}, 4),
        (Combine.MAX, {1: 2.5}, 2.5),
        (Combine.FIRST, {1: "one", 2: "two"}, "two"),
        (Combine.FIRST, {1: "one"}, "one"),
        (Combine.SUM, {1: "one", 2: "two"}, "one"),
    ],
)
def test_annotations_are_combined_as_they_ask_for(
    combine: Combine, values: dict[int, float | str], expected: float | str
) -> None:
    graph = square().annotated(Annotation("fact", values, combine=combine))
    merged = quotient(graph, [0, 2, 2, 3])
    assert dict(merged.annotations["fact"].values) == {1: expected}


@pytest.mark.parametrize("values", [{1: math.nan, 2: 1.0}, {1: 1.0, 2: math.nan}])
def test_a_norm_that_is_not_a_number_is_not_lost_in_the_maximum(values: dict[int, float]) -> None:
    graph = square().annotated(Annotation("norm", values, combine=Combine.MAX))
    assert math.isnan(float(quotient(graph, [0, 2, 2, 3]).annotations["norm"].values[1]))


def test_a_union_is_both_graphs_beside_each_other() -> None:
    first, second = mlp(), tied()
    both = union(first, second)
    count = len(first.nodes)
    assert list(both.nodes)[:count] == list(first.nodes)
    assert [node.names for node in both.nodes][count:] == [node.names for node in second.nodes]
    assert len(both.edges) == len(first.edges) + len(second.edges)
    assert [root.node for root in both.roots] == [0, count]
    assert held_bytes(both) == held_bytes(first) + held_bytes(second)
    check_is_valid(both)
    back = induced_subgraph(both, range(count))
    assert pruned(replace(back, modules=first.modules)).nodes == first.nodes


@given(graphs(), graphs())
@settings(deadline=None, max_examples=50)
def test_any_two_graphs_have_a_union(first: Graph, second: Graph) -> None:
    both = union(first, second)
    check_is_valid(both)
    assert sum(both.nodes.sizes) == sum(first.nodes.sizes) + sum(second.nodes.sizes)
    shifted = [node.module for node in both.nodes][len(first.nodes) :]
    assert shifted == [
        None if node.module is None else node.module + len(first.modules) for node in second.nodes
    ]


def test_annotations_of_both_graphs_are_joined() -> None:
    first = square().annotated(Annotation("norm", {0: 1.0}, "", Combine.MAX))
    second = square().annotated(Annotation("norm", {1: 2.0}, "", Combine.MAX))
    assert dict(union(first, second).annotations["norm"].values) == {0: 1.0, 5: 2.0}
    other = square().annotated(Annotation("norm", {1: 2.0}, "dB", Combine.MAX))
    with pytest.raises(ValueError, match="norm"):
        union(first, other)


def test_pruning_drops_what_no_node_refers_to() -> None:
    b = Builder()
    outer = b.module("a", "A")
    b.module("a.empty", "Empty", outer)
    inner = b.module("a.b", "B", outer)
    b.module("c", "C")
    y = b.op("SinBackward0", (2,), b.leaf("x", 2), module=inner, saves={"self": (2,)})
    graph = b.build(y)
    operator = Operator("sin(Tensor self) -> Tensor", ("self",), ("result",), ("grad * cos",))
    graph = replace(
        graph,
        storages=(Storage(99, True), *graph.storages),
        nodes=replace(graph.nodes, saved=replace(graph.nodes.saved, storages=array("i", [1]))),
        operators={"SinBackward0": operator, "CosBackward0": operator},
    )
    result = pruned(graph)
    assert [(call.path, call.parent) for call in result.modules] == [("a", None), ("a.b", 0)]
    assert result.nodes[0].module == 1
    assert [storage.nbytes for storage in result.storages] == [8]
    assert result.nodes[0].saved[0].storage == 0
    assert list(result.operators) == ["SinBackward0"]
    assert pruned(result) == result


def test_a_hundred_thousand_nodes_are_merged_in_a_second() -> None:
    graph = chain(100_000)
    start = time.process_time()
    merged = quotient(graph, array("i", [n - n % 10 for n in range(len(graph.nodes))]))
    induced_subgraph(graph, range(0, len(graph.nodes), 2))
    assert time.process_time() - start < 2
    assert len(merged.nodes) == 10_001


def test_an_annotation_that_is_a_nodes_own_is_not_taken_from_the_nodes_merged_into_it() -> None:
    graph = mlp().annotated(Annotation("own", {0: 1.5, 1: 2.5, 3: 3.5}, combine=Combine.OWN))
    representatives = list(range(len(graph.nodes)))
    representatives[1], representatives[3] = 0, 2
    merged = quotient(graph, representatives)
    assert merged.annotations["own"].values == {0: 1.5}
