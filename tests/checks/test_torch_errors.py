"""Torch's real errors, raised here, and what is made of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from graphviz_cli.checks.torch_errors import explain
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Annotation, Graph, SavedState, SourceLocation
from tests.graphs import Builder


def leaf() -> torch.Tensor:
    return torch.ones(3, requires_grad=True)


def constant_root() -> None:
    torch.ones(3).sum().backward()


def several_elements() -> None:
    (leaf() * 2).backward()


def twice() -> None:
    loss = leaf().exp().sum()
    loss.backward()
    loss.backward()


def output_written() -> None:
    result = leaf().exp()
    result += 1
    result.sum().backward()


def input_written() -> None:
    x = torch.ones(3)
    result = leaf() * x
    x += 1
    result.sum().backward()


def leaf_written() -> None:
    w = leaf()
    w += 1


def leaf_view_written() -> None:
    leaf()[0] = 1


def to_numpy() -> None:
    (leaf() * 2).numpy()


FAILURES = [
    constant_root,
    several_elements,
    twice,
    output_written,
    input_written,
    leaf_written,
    leaf_view_written,
    to_numpy,
]


def message_of(failure: Callable[[], None]) -> str:
    with pytest.raises(RuntimeError) as caught:
        failure()
    return str(caught.value)


def line(number: int, text: str = "") -> SourceLocation:
    return SourceLocation("net.py", number, text=text)


def explained(failure: Callable[[], None], graph: Graph | None = None, text: str = "") -> Finding:
    finding = explain(message_of(failure), graph, line(9, text))
    assert finding is not None
    return finding


@pytest.mark.parametrize("failure", FAILURES)
def test_every_error_of_torchs_has_a_cure_without_any_graph(failure: Callable[[], None]) -> None:
    finding = explained(failure)
    assert finding.severity is Severity.ERROR
    assert finding.message.endswith(".") and finding.hint.endswith(".")
    assert finding.source == line(9)
    assert finding.nodes == ()


def test_other_errors_are_left_alone() -> None:
    assert explain("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)", None, None) is None


def test_a_root_without_history_points_to_the_cut() -> None:
    b = Builder()
    cut = b.cut("detach", b.op("MulBackward0", (3,), b.leaf("w", 3)), source=line(5, "y.detach()"))
    finding = explained(constant_root, b.build(cut))
    assert finding.nodes == (0,)
    assert "lost at detach() at net.py:5" in finding.message


def test_a_root_of_several_elements_is_named_with_its_shape() -> None:
    b = Builder()
    graph = b.build(b.op("MulBackward0", (3,), b.leaf("w", 3), source=line(4)))
    finding = explained(several_elements, graph)
    assert finding.message.startswith("loss has the shape [3]")
    assert finding.message.endswith("MulBackward0 at net.py:4.")
    assert finding.nodes == (0,)


def test_a_second_backward_points_to_the_oldest_op_that_was_freed() -> None:
    b = Builder()
    op = b.op("ExpBackward0", (3,), b.leaf("w", 3), saves={"result": (3,)}, source=line(4))
    (held,) = b.nodes[op].saved
    b.nodes[op] = replace(b.nodes[op], saved=(replace(held, state=SavedState.FREED),))
    later = b.op("PowBackward0", (3,), op, saves={"self": (3,)})
    (held,) = b.nodes[later].saved
    b.nodes[later] = replace(b.nodes[later], saved=(replace(held, state=SavedState.FREED),))
    finding = explained(twice, b.build(b.op("SumBackward0", (), later)))
    assert finding.nodes == (2,)
    assert "ExpBackward0, made at net.py:4" in finding.message


def test_a_write_in_place_points_to_the_op_by_its_name_and_shape() -> None:
    b = Builder()
    other = b.op("ExpBackward0", (2,), b.leaf("v", 2))
    op = b.op("ExpBackward0", (3,), b.leaf("w", 3), source=line(4))
    graph = b.build(b.op("CatBackward0", (5,), other, op))
    finding = explained(output_written, graph)
    assert [graph.nodes[node].source for node in finding.nodes] == [line(4)]


def test_a_write_in_place_tells_both_lines_where_they_are_known() -> None:
    b = Builder()
    graph = b.build(b.op("MulBackward0", (3,), b.leaf("w", 3), source=line(4)))
    note = "other was written to in place at net.py:6"
    finding = explained(input_written, graph.annotated(Annotation("modified", {0: note})))
    assert "MulBackward0 at net.py:4 saved a tensor of the shape [3]" in finding.message
    assert finding.message.endswith(f"since then {note}.")


def test_a_leaf_that_is_written_to_is_found_by_the_name_in_the_line() -> None:
    b = Builder()
    graph = b.build(b.op("AddBackward0", (3,), b.leaf("net.b", 3), b.leaf("net.w", 3)))
    finding = explained(leaf_written, graph, "self.w += 1")
    assert [graph.nodes[node].label for node in finding.nodes] == ["net.w"]
    assert finding.message.startswith("The leaf net.w is changed in place")


def test_numpy_names_the_variable_and_its_line() -> None:
    b = Builder()
    graph = b.build(b.op("MulBackward0", (3,), b.leaf("w", 3), names=("y",), source=line(4)))
    finding = explained(to_numpy, graph, "y.numpy()")
    assert finding.nodes == (0,)
    assert finding.message.startswith("y (MulBackward0) at net.py:4 carries a gradient")


def test_a_checkpoint_that_warns_is_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint(torch.exp, torch.ones(3), use_reentrant=True)
    b = Builder()
    cut = b.cut("CheckpointFunction", b.op("ExpBackward0", (3,), b.leaf("w", 3)))
    graph = b.build(b.op("MulBackward0", (3,), cut, b.leaf("v", 3)))
    (finding,) = (f for w in caught if (f := explain(str(w.message), graph, None)) is not None)
    assert finding.severity is Severity.WARNING
    assert "use_reentrant=False" in finding.hint
    assert [graph.nodes[node].name for node in finding.nodes] == ["CheckpointFunction"]
