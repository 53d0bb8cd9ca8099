"""The verdict per leaf, on hand-built graphs."""

import time
from dataclasses import replace

from graphviz_cli.checks.severed_gradient import SeveredGradient
from graphviz_cli.graph.fates import fates
from graphviz_cli.graph.model import Annotation, Graph, NodeKind, Role
from graphviz_cli.graph.verdict import (
    UNKNOWN,
    UNRECORDED,
    USED,
    Status,
    Verdict,
    reached_nodes,
    verdicts,
)
from graphviz_cli.reports.explanation import explain, named
from graphviz_cli.reports.text import fate_text
from tests.graphs import Builder


def by_name(graph: Graph) -> dict[str, Verdict]:
    return {graph.nodes[leaf].label: verdict for leaf, verdict in verdicts(graph).items()}


def severed() -> Graph:
    """loss = (w * x).detach() * v, with u never used."""
    b = Builder()
    w, v, _ = b.leaf("w", 3), b.leaf("v", 3), b.leaf("u", 3)
    hidden = b.op("MulBackward0", (3,), w)
    cut = b.cut("detach", hidden)
    return b.build(b.op("MulBackward0", (3,), cut, v))


def test_a_leaf_that_the_root_reaches_gets_a_gradient() -> None:
    assert by_name(severed())["v"] == Verdict(Status.REACHED)


def test_a_leaf_behind_a_cut_names_the_cut() -> None:
    graph = severed()
    cut = graph.nodes.ids(NodeKind.CUT)[0]
    assert by_name(graph)["w"] == Verdict(Status.CUT, (cut,), is_severed=True)


def test_a_leaf_without_consumer_is_unused() -> None:
    assert by_name(severed())["u"] == Verdict(Status.UNUSED)


def test_a_leaf_that_is_reached_beside_a_cut_is_reached() -> None:
    b = Builder()
    w = b.leaf("w", 3)
    hidden = b.op("MulBackward0", (3,), w)
    graph = b.build(b.op("MulBackward0", (3,), b.cut("detach", hidden), hidden))
    assert by_name(graph)["w"].status is Status.REACHED


def test_the_cut_nearest_to_the_leaf_is_the_one_that_is_named() -> None:
    b = Builder()
    w = b.leaf("w", 3)
    first = b.cut("detach", b.op("MulBackward0", (3,), w))
    v = b.leaf("v", 3)
    second = b.cut("no_grad", b.op("AddBackward0", (3,), first, v))
    graph = b.build(b.op("MulBackward0", (3,), second, b.leaf("u", 3)))
    answer = by_name(graph)
    assert [graph.nodes[cut].name for cut in answer["w"].cuts] == ["detach"]
    assert [graph.nodes[cut].name for cut in answer["v"].cuts] == ["no_grad"]


def test_a_used_leaf_whose_result_is_dropped_tells_the_line() -> None:
    graph = severed()
    unused = next(i for i in graph.nodes.ids(NodeKind.LEAF) if graph.nodes[i].label == "u")
    graph = graph.annotated(Annotation(USED, {unused: "model.py:7"}))
    assert by_name(graph)["u"] == Verdict(Status.DROPPED, reason="model.py:7")


def test_nothing_is_called_unused_where_cuts_were_not_recorded() -> None:
    graph = severed()
    provenance = replace(graph.provenance, notes=(UNRECORDED,))
    assert by_name(replace(graph, provenance=provenance))["u"].status is Status.UNKNOWN


def test_what_cannot_be_seen_is_unknown_rather_than_unused() -> None:
    graph = severed()
    unused = next(i for i in graph.nodes.ids(NodeKind.LEAF) if graph.nodes[i].label == "u")
    graph = graph.annotated(Annotation(UNKNOWN, {unused: "it lives in a compiled region"}))
    assert by_name(graph)["u"].status is Status.UNKNOWN


def test_a_frozen_parameter_is_frozen_whatever_is_in_the_way() -> None:
    b = Builder()
    cut = b.cut("no_grad", b.constant("w", 3, role=Role.PARAMETER))
    assert by_name(b.build(b.op("MulBackward0", (3,), cut, b.leaf("v", 3))))["w"] == Verdict(
        Status.FROZEN
    )


def test_a_cut_behind_a_cut_is_still_in_the_root() -> None:
    b = Builder()
    first = b.cut("detach", b.op("ExpBackward0", (3,), b.leaf("w", 3)))
    second = b.cut("item", first)
    graph = b.build(b.op("MulBackward0", (3,), second, b.leaf("v", 3)))
    verdict = by_name(graph)["w"]
    assert verdict.is_severed
    assert [graph.nodes[cut].name for cut in verdict.cuts] == ["detach"]


def test_two_thousand_cuts_above_one_leaf_take_linear_time() -> None:
    b = Builder()
    h = b.op("ExpBackward0", (3,), b.leaf("w", 3))
    ops = [h := b.op("ExpBackward0", (3,), h) for _ in range(2_000)]
    cuts = [b.cut("detach", op) for op in ops]
    graph = b.build(b.op("StackBackward0", (3,), *cuts, b.leaf("v", 3)))
    start = time.perf_counter()
    verdict = by_name(graph)["w"]
    assert time.perf_counter() - start < 5  # measured: 0.01 s; quadratic: minutes
    assert verdict.is_severed and len(verdict.cuts) == 8


def test_a_value_that_goes_on_to_numpy_is_said_to_be_out_of_sight() -> None:
    b = Builder()
    w = b.leaf("w", 3)
    detached = b.cut("detach", b.op("MulBackward0", (3,), w))
    left = b.cut("numpy", detached)
    graph = b.build(b.op("MulBackward0", (3,), b.leaf("v", 3)), left)
    graph = replace(graph, roots=graph.roots[:1])
    verdict = by_name(graph)["w"]
    assert [graph.nodes[cut].name for cut in verdict.cuts] == ["detach"]
    assert not verdict.is_severed
    assert verdict.reason == "what Python makes of the value after numpy cannot be seen"
    (fate,) = [fate for fate in fates(graph) if fate.pattern == "w"]
    assert fate_text(fate, graph) == f"cut: the gradient is lost at detach(), and {verdict.reason}"
    (finding,) = SeveredGradient().check(graph)
    assert finding.message.endswith(f"it ends at detach(), and {verdict.reason}.")
    (explanation,) = explain(graph, named(graph, "w"))
    assert f"From there on, {verdict.reason}." in explanation.lines[0]


def test_a_parameter_that_only_a_compiled_region_takes_is_unknown() -> None:
    b = Builder()
    w, v = b.leaf("w", 3), b.leaf("v", 3)
    graph = b.build(b.op("MulBackward0", (3,), b.op("CompiledFunctionBackward", (3,), w, v), v))
    assert by_name(graph)["w"] == Verdict(
        Status.UNKNOWN, reason="it is used within CompiledFunctionBackward, which hides its ops"
    )
    assert by_name(graph)["v"] == Verdict(Status.REACHED)


def test_a_constant_is_reached_by_no_gradient() -> None:
    b = Builder()
    graph = b.build(b.op("MulBackward0", (3,), b.leaf("w", 3), b.constant("x", 3)))
    (constant,) = graph.nodes.ids(NodeKind.CONSTANT)
    assert constant not in reached_nodes(graph)
    (explanation,) = explain(graph, [constant])
    assert explanation.lines == ("x requires no gradient, so it gets none.",)
