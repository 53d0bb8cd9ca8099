"""Every algorithm agrees with networkx, and none minds a million nodes."""

from __future__ import annotations

import time
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.graph.model import NONE, Edge, EdgeTable, Graph, Node, NodeKind, NodeTable
from graphviz_cli.graph.traversal import (
    UNREACHED,
    Adjacency,
    ancestors,
    descendants,
    immediate_dominators,
    shortest_path,
    topological_order,
)

Pairs = list[tuple[int, int]]


@st.composite
def arrows(draw: st.DrawFn, *, acyclic: bool = False) -> tuple[int, Pairs]:
    """A number of nodes and edges between them, repeated ones and loops included."""
    count = draw(st.integers(1, 14))
    ends = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(ends, ends), max_size=30))
    if acyclic:
        names = draw(st.permutations(range(count)))
        pairs = [(names[a], names[b]) for a, b in pairs if a < b]
    return count, sorted(pairs, key=lambda pair: pair[0])


def adjacency_of(count: int, pairs: Pairs) -> Adjacency:
    return Adjacency.of(count, [a for a, _ in pairs], [b for _, b in pairs])


def networkx_of(count: int, pairs: Pairs) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(pairs)
    return graph


@given(arrows())
def test_the_rows_hold_every_edge_in_both_directions(drawn: tuple[int, Pairs]) -> None:
    count, pairs = drawn
    nodes = NodeTable.of(Node(i, NodeKind.FUNCTION, "MulBackward0") for i in range(count))
    graph = Graph(nodes, EdgeTable.of(Edge(a, b) for a, b in pairs))
    adjacency = Adjacency(graph)
    edges = list(graph.edges)
    for node in range(count):
        assert list(adjacency.successors_of(node)) == [e.target for e in edges if e.source == node]
        assert list(adjacency.predecessors_of(node)) == [
            e.source for e in edges if e.target == node
        ]
    for position, edge in enumerate(adjacency.predecessor_edges):
        assert adjacency.predecessors[position] == edges[edge].source


@given(arrows())
def test_reversing_twice_gives_the_same_edges(drawn: tuple[int, Pairs]) -> None:
    adjacency = adjacency_of(*drawn)
    again = adjacency.reversed().reversed()
    for name in Adjacency.__slots__:
        assert getattr(again, name) == getattr(adjacency, name)


@given(arrows())
def test_the_edge_numbers_of_a_reversed_graph_fit_its_own_rows(drawn: tuple[int, Pairs]) -> None:
    count, pairs = drawn
    backward = adjacency_of(count, pairs).reversed()
    sources = [node for node in range(count) for _ in backward.successors_of(node)]
    for position, edge in enumerate(backward.predecessor_edges):
        assert backward.predecessors[position] == sources[edge]


@given(arrows(acyclic=True))
def test_every_node_comes_after_its_predecessors(drawn: tuple[int, Pairs]) -> None:
    count, pairs = drawn
    order = topological_order(adjacency_of(count, pairs))
    assert sorted(order) == list(range(count))
    assert all(order.index(a) < order.index(b) for a, b in pairs)


@given(arrows())
def test_a_cycle_stays_together_in_ascending_order(drawn: tuple[int, Pairs]) -> None:
    count, pairs = drawn
    order = topological_order(adjacency_of(count, pairs))
    assert sorted(order) == list(range(count))
    for component in nx.strongly_connected_components(networkx_of(count, pairs)):
        first = order.index(min(component))
        assert order[first : first + len(component)] == sorted(component)
    positions = {node: position for position, node in enumerate(order)}
    condensed = nx.condensation(networkx_of(count, pairs))
    home = condensed.graph["mapping"]
    assert all(positions[a] < positions[b] for a, b in pairs if home[a] != home[b])


@given(arrows(), st.data())
def test_descendants_and_ancestors_are_those_of_networkx(
    drawn: tuple[int, Pairs], data: st.DataObject
) -> None:
    count, pairs = drawn
    starts = data.draw(st.sets(st.integers(0, count - 1), max_size=3))
    adjacency, peer = adjacency_of(count, pairs), networkx_of(count, pairs)
    assert descendants(adjacency, starts) == starts.union(
        *(nx.descendants(peer, s) for s in starts)
    )
    assert ancestors(adjacency, starts) == starts.union(*(nx.ancestors(peer, s) for s in starts))


@given(arrows(), st.data())
def test_the_shortest_path_has_the_length_that_networkx_finds(
    drawn: tuple[int, Pairs], data: st.DataObject
) -> None:
    count, pairs = drawn
    source, target = (data.draw(st.integers(0, count - 1)) for _ in range(2))
    path = shortest_path(adjacency_of(count, pairs), source, target)
    peer = networkx_of(count, pairs)
    if path is None:
        assert not nx.has_path(peer, source, target)
    else:
        assert (path[0], path[-1]) == (source, target)
        assert all(step in pairs for step in pairwise(path))
        assert len(path) - 1 == nx.shortest_path_length(peer, source, target)


def test_among_equally_short_paths_the_first_edge_decides() -> None:
    assert shortest_path(adjacency_of(4, [(0, 2), (0, 1), (1, 3), (2, 3)]), 0, 3) == [0, 2, 3]


@given(arrows(), st.data())
def test_immediate_dominators_are_those_of_networkx(
    drawn: tuple[int, Pairs], data: st.DataObject
) -> None:
    count, pairs = drawn
    starts = data.draw(st.lists(st.integers(0, count - 1), max_size=3))
    found = immediate_dominators(adjacency_of(count, pairs), starts)
    peer = networkx_of(count, pairs)
    peer.add_node(NONE)
    peer.add_edges_from((NONE, start) for start in starts)
    expected = nx.immediate_dominators(peer, NONE)
    assert found == [expected.get(node, UNREACHED) for node in range(count)]


def _chain(count: int) -> Pairs:
    return [(k, k + 1) for k in range(count - 1)]


def _residual(count: int) -> Pairs:
    """x + f(x) again and again."""
    blocks = [((k, k + 1), (k, k + 2), (k + 1, k + 2)) for k in range(0, count - 2, 2)]
    return [pair for block in blocks for pair in block]


def _ladder(count: int) -> Pairs:
    """Two chains with rungs: what a loss summed over the steps of a recurrent net looks like."""
    rungs = [((k, k + 1), (k, k + 2), (k + 1, k + 3)) for k in range(0, count - 3, 2)]
    return [pair for rung in rungs for pair in rung]


@pytest.mark.parametrize("shape", [_chain, _residual, _ladder])
def test_dominators_of_a_deep_graph_take_near_linear_time(shape) -> None:
    def seconds(count: int) -> float:
        adjacency = adjacency_of(count, shape(count))
        begin = time.process_time()
        immediate_dominators(adjacency, [0])
        ends = [n for n in range(count) if not adjacency.successors_of(n)]
        immediate_dominators(adjacency.reversed(), ends)
        return time.process_time() - begin

    # A quadratic algorithm would need 64 times as long for 8 times the nodes.
    assert seconds(160_000) < 20 * max(seconds(20_000), 0.01)


def test_a_chain_of_a_million_nodes_is_nothing_special() -> None:
    count = 1_000_000
    adjacency = adjacency_of(count, _chain(count))
    assert topological_order(adjacency) == list(range(count))
    assert immediate_dominators(adjacency, [0]) == [NONE, *range(count - 1)]
    assert len(descendants(adjacency, [0])) == count
    assert shortest_path(adjacency, 0, count - 1) == list(range(count))


def test_a_cycle_of_a_hundred_thousand_nodes_needs_no_recursion() -> None:
    count = 100_000
    adjacency = adjacency_of(count, [*_chain(count), (count - 1, 0)])
    assert topological_order(adjacency) == list(range(count))
