"""Every check on a graph that has the fault, and on one that has not."""

from dataclasses import replace

import pytest

from graphviz_cli import registry
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import (
    Annotation,
    Graph,
    Operator,
    Role,
    SavedState,
    SourceLocation,
)
from graphviz_cli.graph.verdict import UNKNOWN
from tests.checks.test_verdict import severed
from tests.graphs import ADDMM, Builder

LINE = SourceLocation("model.py", 7, 5, 7, 20, "forward", "x.detach()")


def found(check: str, graph: Graph) -> list[Finding]:
    return list(registry.create("checks", check).check(graph))


def healthy() -> Graph:
    b = Builder()
    hidden = b.op("AddmmBackward0", (2, 3), b.leaf("b", 3), None, b.leaf("w", 4, 3))
    graph = b.build(b.op("MeanBackward0", (), hidden))
    return replace(graph, operators={"AddmmBackward0": ADDMM})


@pytest.mark.parametrize(
    "check",
    [
        "unused-parameter",
        "severed-gradient",
        "frozen-parameter-in-optimizer",
        "modified-saved-tensor",
        "tensor-kept-on-ctx",
        "reached-twice-under-reentrant-checkpoint",
        "non-scalar-root",
        "freed-graph",
        "zero-gradient-op",
        "saved-bytes:max=1GB",
        "node-count:max=2",
        "forbidden-op:name=Exp*",
    ],
)
def test_a_healthy_graph_has_no_findings(check: str) -> None:
    assert found(check, healthy()) == []


def test_an_unused_parameter_is_named() -> None:
    (finding,) = found("unused-parameter", severed())
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("u is never used")


def test_an_unused_input_is_nobodys_fault() -> None:
    b = Builder()
    b.leaf("x", 3, role=Role.INPUT)
    assert found("unused-parameter", b.build(b.op("SumBackward0", (), b.leaf("w", 3)))) == []


def test_a_severed_gradient_tells_the_place_and_who_is_behind_it() -> None:
    b = Builder()
    leaves = [b.leaf(name, 3) for name in "abcde"]
    cut = b.cut("detach", b.op("StackBackward0", (5, 3), *leaves), source=LINE)
    (finding,) = found("severed-gradient", b.build(b.op("MulBackward0", (5, 3), cut, b.leaf("f"))))
    assert finding.source == LINE
    assert finding.message == "a, b, c and 2 more get no gradient: it is lost at detach()."
    assert len(finding.nodes) == 6


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        ("detach", Severity.WARNING),
        ("no_grad", Severity.WARNING),
        ("item", Severity.ERROR),
        ("torch.tensor", Severity.ERROR),
        ("integer output", Severity.ERROR),
        ("SomeFunction", Severity.ERROR),
    ],
)
def test_a_cut_that_the_program_asked_for_is_less_grave(kind: str, severity: Severity) -> None:
    b = Builder()
    cut = b.cut(kind, b.op("ExpBackward0", (3,), b.leaf("w", 3)))
    graph = b.build(b.op("MulBackward0", (3,), cut, b.leaf("v", 3)))
    (finding,) = found("severed-gradient", graph)
    assert finding.severity is severity
    assert finding.hint


def test_a_leaf_behind_a_cut_that_is_no_parameter_is_told_of_too() -> None:
    b = Builder()
    cut = b.cut("item", b.op("ExpBackward0", (3,), b.leaf("x", 3, role=Role.INPUT)))
    (finding,) = found("severed-gradient", b.build(b.op("MulBackward0", (3,), cut, b.leaf("w"))))
    assert finding.message.startswith("x gets no gradient")


def test_the_parameters_of_an_unused_module_are_one_finding() -> None:
    b = Builder()
    for name in ("spare.0.weight", "spare.0.bias", "spare.1.weight", "spare.1.bias", "b"):
        b.leaf(name, 3)
    graph = b.build(b.op("SumBackward0", (), b.leaf("w", 3)))
    assert [finding.message for finding in found("unused-parameter", graph)] == [
        "b is never used: no op of the forward pass took it.",
        "spare.* (4 parameters) are never used: no op of the forward pass took them.",
    ]


def test_what_cannot_be_told_is_a_note() -> None:
    graph = severed()
    (leaf,) = (n.id for n in graph.nodes if n.label == "u")
    graph = graph.annotated(Annotation(UNKNOWN, {leaf: "it is used within F, which hides its ops"}))
    (finding,) = found("unused-parameter", graph)
    assert finding.severity is Severity.NOTE
    assert finding.message == (
        "It cannot be told whether u gets a gradient: it is used within F, which hides its ops."
    )


@pytest.mark.parametrize("check", ["unused-parameter", "severed-gradient", "non-scalar-root"])
def test_of_a_program_that_failed_nothing_is_said_that_would_need_its_end(check: str) -> None:
    graph = severed()
    assert found(check, graph)
    partial = replace(graph, provenance=replace(graph.provenance, partial=True))
    assert found(check, partial) == []


def test_an_optimizer_that_holds_a_frozen_parameter_is_named() -> None:
    b = Builder()
    b.constant("body.weight", 3, role=Role.PARAMETER)
    b.constant("body.bias", 3, role=Role.PARAMETER)
    graph = b.build(b.op("SumBackward0", (), b.leaf("head", 3)))
    assert found("frozen-parameter-in-optimizer", graph) == []
    held = {node.id: "Adam" for node in graph.nodes if node.role is Role.PARAMETER}
    (finding,) = found(
        "frozen-parameter-in-optimizer", graph.annotated(Annotation("optimizer", held))
    )
    assert finding.message == "body.* (2 parameters) are frozen, but Adam holds them."
    assert len(finding.nodes) == 2


def test_a_saved_tensor_that_was_written_to_tells_both_lines() -> None:
    b = Builder()
    graph = b.build(b.op("ExpBackward0", (3,), b.leaf("w", 3), source=LINE))
    note = "result was written to in place at model.py:9"
    (finding,) = found("modified-saved-tensor", graph.annotated(Annotation("modified", {0: note})))
    assert finding.source == LINE
    assert finding.message.endswith(f"{note}.")
    assert finding.severity is Severity.ERROR


def test_a_tensor_kept_on_ctx_is_named() -> None:
    b = Builder()
    graph = b.build(b.op("MyFunctionBackward", (3,), b.leaf("w", 3), source=LINE))
    (finding,) = found(
        "tensor-kept-on-ctx", graph.annotated(Annotation("kept-on-ctx", {0: "ctx.x"}))
    )
    assert finding.message == "MyFunctionBackward keeps ctx.x, which backward() does not free."


def test_a_parameter_inside_and_outside_of_a_reentrant_checkpoint_is_found() -> None:
    graph = severed()
    ids = {node.label: node.id for node in graph.nodes}
    reason = "it is used within CheckpointFunction, which hides its ops"
    inside = Annotation(UNKNOWN, {ids["v"]: reason, ids["u"]: reason})
    (finding,) = found("reached-twice-under-reentrant-checkpoint", graph.annotated(inside))
    assert finding.nodes == (ids["v"],)


def test_a_value_that_only_a_log_line_takes_is_a_note() -> None:
    b = Builder()
    cut = b.cut("item", b.op("SumBackward0", (), b.leaf("w", 3)))
    graph = b.build(b.op("SumBackward0", (), b.leaf("v", 3)), cut)
    graph = replace(graph, roots=graph.roots[:1])
    (finding,) = found("severed-gradient", graph)
    assert finding.severity is Severity.NOTE


def test_a_root_of_several_elements_is_noted() -> None:
    b = Builder()
    (finding,) = found("non-scalar-root", b.build(b.op("MulBackward0", (2, 3), b.leaf("w", 3))))
    assert "6 elements" in finding.message


def test_a_root_whose_backward_call_was_seen_is_as_it_should_be() -> None:
    b = Builder()
    graph = b.build(b.op("MulBackward0", (2, 3), b.leaf("w", 3)))
    graph = replace(graph, provenance=replace(graph.provenance, step=1))
    assert found("non-scalar-root", graph) == []


def test_ops_that_backward_has_freed_are_found() -> None:
    b = Builder()
    b.op("ExpBackward0", (3,), b.leaf("w", 3), saves={"result": (3,)}, source=LINE)
    (held,) = b.nodes[-1].saved
    b.nodes[-1] = replace(b.nodes[-1], saved=(replace(held, state=SavedState.FREED),))
    (finding,) = found("freed-graph", b.build(1))
    assert finding.nodes == (0,)
    assert finding.source == LINE


def test_an_op_with_a_zero_derivative_names_its_input() -> None:
    b = Builder()
    graph = b.build(b.op("RoundBackward0", (3,), b.leaf("w", 3)))
    rounding = Operator(
        "round(Tensor self) -> Tensor", ("self",), ("result",), ("zeros_like(grad)",)
    )
    (finding,) = found("zero-gradient-op", replace(graph, operators={"RoundBackward0": rounding}))
    assert "gives self a gradient of zero" in finding.message


def test_a_straight_through_estimator_is_not_reported() -> None:
    b = Builder()
    w = b.leaf("w", 3)
    cut = b.cut("detach", b.op("RoundBackward0", (3,), w))
    graph = b.build(b.op("AddBackward0", (3,), w, cut))
    rounding = Operator("round", ("self",), ("result",), ("zeros_like(grad)",))
    assert found("zero-gradient-op", replace(graph, operators={"RoundBackward0": rounding})) == []


def test_budgets_tell_what_is_and_what_is_allowed() -> None:
    b = Builder()
    hidden = b.op("ExpBackward0", (1000,), b.leaf("w", 1000), saves={"result": (1000,)})
    graph = b.build(b.op("SumBackward0", (), hidden))
    (finding,) = found("saved-bytes:max=1kB", graph)
    assert finding.message == "4,000 bytes are saved for backward, 1,000 are allowed."
    assert finding.nodes == (1,)
    assert "2 backward ops" in found("node-count:max=1", graph)[0].message
    assert found("forbidden-op:name=Exp*", graph)[0].nodes == (1,)


def test_a_budget_without_a_number_is_refused() -> None:
    with pytest.raises(UsageError, match="needs 'max'"):
        registry.create("checks", "saved-bytes")
