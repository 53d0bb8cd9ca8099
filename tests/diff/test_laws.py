"""What holds of the differences between any two graphs, and how long it takes to find them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import graphs
import pytest
from graphs import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from graphviz_cli.diff.changes import changes
from graphviz_cli.graph.model import NONE, Graph, NodeKind, NodeTable, SourceLocation

SMALL = [
    graphs.mlp, graphs.transformer_block, graphs.tied, graphs.unrolled, graphs.cut,
    graphs.unreached, graphs.square, graphs.folded, graphs.views, graphs.hostile,
]  # fmt: skip


@pytest.mark.parametrize("make", SMALL)
def test_equal_graphs_give_no_line(make: Callable[[], Graph]) -> None:
    found = changes(make(), make())
    assert found.lines() == ()
    assert not (found.added or found.lost or found.changed or found.roots)


@pytest.mark.parametrize("one", SMALL)
@pytest.mark.parametrize("other", SMALL)
def test_laws_hold_between_all_sample_graphs(
    one: Callable[[], Graph], other: Callable[[], Graph]
) -> None:
    laws(one(), other())


@settings(deadline=None)
@given(graphs.graphs(), graphs.graphs())
def test_laws_hold_between_any_two_graphs(old: Graph, new: Graph) -> None:
    laws(old, new)
    assert changes(old, old).lines() == ()


@settings(deadline=None)
@given(graphs.graphs(), st.data())
def test_another_op_in_one_place_is_all_that_is_found(graph: Graph, data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(graph.nodes.ids(NodeKind.FUNCTION)))
    nodes = [
        replace(node, name="OtherBackward0") if node.id == op else node for node in graph.nodes
    ]
    found = changes(graph, replace(graph, nodes=NodeTable.of(nodes)))
    assert (found.lost, found.added, found.changed) == ((op,), (op,), ())
    assert (found.gained, found.ended) == ((), ())


def laws(old: Graph, new: Graph) -> None:
    forth, back = changes(old, new), changes(new, old)
    assert (forth.added, forth.lost) == (back.lost, back.added)
    assert (forth.gained, forth.ended) == (back.ended, back.gained)
    assert {(c.old, c.new) for c in forth.changed} == {(c.new, c.old) for c in back.changed}
    assert len(new.nodes) == len(old.nodes) + len(forth.added) - len(forth.lost)
    for one, other in enumerate(forth.matching.new_of):
        assert other == NONE or forth.matching.old_of[other] == one
    for limit in (1, 12, 10_000):
        lines = forth.lines(limit)
        assert len(lines) <= limit
        assert all(len(line.splitlines()) == 1 and line[0] in "+-~…" for line in lines)
    if forth.added or forth.lost or forth.changed:
        assert forth.lines()


def long(names: str, *, extra: int = NONE) -> Graph:
    b = Builder()
    w = b.leaf("w", 8, 8)
    h = w
    for place, name in enumerate(names):
        if place == extra:
            h = b.op("ExpBackward0", (8, 8), h, source=SourceLocation("train.py", 7))
        h = b.op(f"{name}Backward0", (8, 8), h, w, source=SourceLocation("train.py", ord(name)))
    return b.build(h)


def test_one_op_among_very_many_equal_ones_is_found_in_a_few_seconds() -> None:
    old, new = long("ab" * 25_000), long("ab" * 25_000, extra=20_001)
    start = time.perf_counter()
    assert changes(old, new).lines() == ("+ ExpBackward0 8×8 (train.py:7)",)
    assert time.perf_counter() - start < 5


def test_two_graphs_without_much_in_common_are_counted_in_a_few_seconds() -> None:
    choice = random.Random(5)
    old, new = (long("".join(choice.choices("abcdefgh", k=20_000))) for _ in range(2))
    start = time.perf_counter()
    lines = changes(old, new).lines()
    assert time.perf_counter() - start < 15
    assert "~ ops are counted, not matched: too many differ" in lines
