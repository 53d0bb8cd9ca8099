"""Cuts of one expression become one, and every edge of theirs stays."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphviz_cli.graph.model import (
    Annotation,
    Combine,
    Graph,
    Node,
    NodeKind,
    Role,
    SourceLocation,
)
from graphviz_cli.graph.traversal import Adjacency, topological_order
from graphviz_cli.transforms.gather import Gather
from graphviz_cli.transforms.repeats import Repeats
from tests.graphs import Builder, graphs, spec
from tests.transforms.laws import check_is_valid, check_sums_are_kept

ARGMAX = SourceLocation("moe.py", 7, 9, 7, 22, "forward", "scores.argmax(-1)")
OTHER = SourceLocation("moe.py", 8, 9, 8, 22, "forward", "scores.argmin(-1)")


def gathered(graph: Graph, gather: Gather | None = None) -> Graph:
    gather = gather or Gather()
    result = gather.apply(graph)
    check_is_valid(result)
    check_sums_are_kept(graph, result)
    assert gather.apply(result) is result
    return result


def cuts(graph: Graph) -> list[Node]:
    return [graph.nodes[cut] for cut in graph.nodes.ids(NodeKind.CUT)]


def counts(graph: Graph) -> list[int]:
    known = graph.annotations.get("cuts")
    values = {} if known is None else known.values
    return sorted(int(values.get(cut.id, 1)) for cut in cuts(graph))


def experts(count: int, *, scores_each: bool = False, module: bool = False) -> Graph:
    """A loop that asks for every expert which one is the best, perhaps of scores of its own."""
    b = Builder()
    call = b.module("moe", "Experts") if module else None
    scores = b.op("SoftmaxBackward0", (4, 8), b.leaf("gate", 4, 8), module=call)
    x = b.leaf("x", 4, role=Role.INPUT)
    for number in range(count):
        own = b.op("SelectBackward0", (4,), scores, module=call) if scores_each else scores
        cut = b.cut("integer output", own, call, source=ARGMAX)
        weight = b.op("MulBackward0", (4,), scores, cut, module=call)
        x = b.op("AddmmBackward0", (4,), x, weight, b.leaf(f"w{number}", 4), module=call)
    return b.build(b.op("SumBackward0", (), x))


@st.composite
def mazes(draw: st.DrawFn) -> Graph:
    """Ops with names of their own among cuts of few kinds, expressions and modules."""
    b = Builder()
    calls = [None, b.module("a", "A"), b.module("b", "B")]
    nodes = [b.leaf("x", 4, role=Role.INPUT), b.leaf("w", 4)]
    for number in range(draw(st.integers(2, 25))):
        module = draw(st.sampled_from(calls))
        recent = st.sampled_from(nodes[-6:])
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["detach", "no_grad"]))
            source = draw(st.sampled_from([ARGMAX, ARGMAX, OTHER, None]))
            cut = b.cut(kind, draw(recent), module, source=source)
            if draw(st.booleans()):
                b.edges.append(replace(b.edges[-1], input_nr=1, target=draw(recent)))
            if b.edges[-1].target == cut:
                b.edges.pop()
            nodes.append(cut)
        else:
            inputs = draw(st.lists(recent, min_size=1, max_size=3))
            nodes.append(b.op(f"Op{number}Backward0", (4,), *inputs, module=module))
    return b.build(b.op("StackBackward0", (4,), *nodes[2:]), *nodes[-1:])


def is_acyclic(graph: Graph) -> bool:
    position = {node: k for k, node in enumerate(topological_order(Adjacency(graph)))}
    return all(position[edge.source] < position[edge.target] for edge in graph.edges)


def place(graph: Graph, node: int) -> object:
    facts = graph.nodes[node]
    if facts.kind is NodeKind.CUT:
        return facts.name, facts.source, facts.module
    return facts.name, facts.names


@given(mazes() | graphs(), st.sampled_from(["any", "same"]))
@settings(deadline=None, max_examples=300)
def test_nothing_but_cuts_is_merged_and_no_edge_is_lost(graph: Graph, inputs: str) -> None:
    result = gathered(graph, Gather(inputs))  # type: ignore[arg-type]
    assert Counter(n.kind for n in result.nodes if n.kind is not NodeKind.CUT) == Counter(
        n.kind for n in graph.nodes if n.kind is not NodeKind.CUT
    )
    places = [
        Counter(
            (place(given_graph, e.source), place(given_graph, e.target), e.input_nr, e.output_nr)
            for e in given_graph.edges
        )
        for given_graph in (graph, result)
    ]
    assert places[0] == places[1]
    assert sum(counts(result)) == len(cuts(graph))
    assert {place(graph, cut.id) for cut in cuts(graph)} == {
        place(result, cut.id) for cut in cuts(result)
    }


@given(mazes())
@settings(deadline=None, max_examples=300)
def test_a_graph_without_circles_gets_none(graph: Graph) -> None:
    assert is_acyclic(graph)
    assert is_acyclic(gathered(graph))


@pytest.mark.parametrize("inputs", ["any", "same"])
def test_an_expression_in_a_loop_is_one_cut_with_all_its_joins(inputs: str) -> None:
    graph = gathered(experts(50, module=True), Gather(inputs))  # type: ignore[arg-type]
    (cut,) = cuts(graph)
    assert (cut.name, cut.source, cut.outputs) == ("integer output", ARGMAX, (spec(4, 8),))
    assert counts(graph) == [50]
    joined = [edge for edge in graph.edges if edge.target == cut.id]
    assert len({edge.source for edge in joined}) == 50
    assert {graph.nodes[edge.source].name for edge in joined} == {"MulBackward0"}


def test_only_cuts_of_the_same_tensors_are_merged_if_that_is_asked_for() -> None:
    graph = experts(5, scores_each=True)
    assert Gather("same").apply(graph) is graph
    assert counts(gathered(graph)) == [5]


def test_the_steps_of_a_loop_are_equal_once_their_cut_is_one() -> None:
    graph = experts(8)
    assert not any(call.repeats > 1 for call in Repeats().apply(graph).modules)
    after = Repeats().apply(gathered(graph, Gather("same")))
    assert [call.repeats for call in after.modules] == [8]
    assert counts(after) == [8]


def test_cuts_of_another_kind_expression_or_call_stay_apart() -> None:
    b = Builder()
    x = b.leaf("x", 4)
    module = b.module("a", "A")
    made = [
        b.cut("detach", x, source=ARGMAX),
        b.cut("no_grad", x, source=ARGMAX),
        b.cut("detach", x, source=OTHER),
        b.cut("detach", x, module, source=ARGMAX),
    ]
    graph = b.build(b.op("StackBackward0", (4,), x, *made))
    assert Gather().apply(graph) is graph


def test_cuts_without_an_expression_stay_apart() -> None:
    b = Builder()
    x = b.leaf("x", 4)
    graph = b.build(b.op("StackBackward0", (4,), x, b.cut("detach", x), b.cut("detach", x)))
    assert Gather().apply(graph) is graph


def test_a_cut_that_comes_after_another_one_stays_apart() -> None:
    b = Builder()
    state = b.leaf("x", 4)
    for _ in range(10):
        state = b.op("TanhBackward0", (4,), b.cut("detach", state, source=ARGMAX))
    graph = b.build(state)
    assert Gather().apply(graph) is graph


def test_a_cut_that_is_a_root_stays() -> None:
    b = Builder()
    x = b.leaf("x", 4)
    first, second = (b.cut("detach", x, source=ARGMAX) for _ in range(2))
    graph = b.build(first, b.op("MulBackward0", (4,), x, second))
    assert Gather().apply(graph) is graph


def test_cuts_behind_merged_ones_are_merged_too() -> None:
    b = Builder()
    x, scores = b.leaf("x", 4), []
    for layer in range(3):
        score = b.op("SoftmaxBackward0", (4,), x)
        call = b.module(f"h.{layer}", "Block")
        for _ in range(2):
            cut = b.cut("integer output", score, call, source=ARGMAX)
            x = b.op("IndexBackward0", (4,), x, cut)
        scores.append(score)
    chosen = [b.cut("integer output", score, source=OTHER) for score in scores]
    graph = gathered(b.build(b.op("StackBackward0", (4,), x, *chosen)))
    assert counts(graph) == [2, 2, 2, 3]


def test_what_is_not_true_of_all_is_not_said_of_the_merged_cut() -> None:
    b = Builder()
    x, y = b.leaf("x", 4), b.leaf("y", 5)
    first = b.cut("detach", x, source=ARGMAX, names=("a",))
    second = b.cut("detach", y, source=ARGMAX, names=("b",))
    graph = gathered(b.build(b.op("StackBackward0", (4,), x, y, first, second)))
    (cut,) = cuts(graph)
    assert (cut.outputs, cut.names) == ((), ())


def test_cuts_in_repeated_blocks_count_for_every_repetition() -> None:
    b = Builder()
    block = b.module("h.0..11", "Block", repeats=12)
    x = b.leaf("x", 4)
    made = [b.cut("detach", x, block, source=ARGMAX) for _ in range(2)]
    graph = b.build(b.op("StackBackward0", (4,), x, *made))
    assert counts(gathered(graph)) == [24]
    known = Annotation("cuts", {cut.id: 60 for cut in cuts(graph)}, combine=Combine.SUM)
    assert counts(gathered(graph.annotated(known))) == [120]


def test_a_graph_with_a_long_chain_below_its_cuts_is_nothing_special() -> None:
    b = Builder()
    x = b.leaf("x", 4)
    for _ in range(20_000):
        x = b.op("SinBackward0", (4,), x)
    made = [b.cut("detach", x, source=ARGMAX) for _ in range(3)]
    graph = Gather().apply(b.build(b.op("StackBackward0", (4,), x, *made)))
    assert counts(graph) == [3]
