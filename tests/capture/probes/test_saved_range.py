"""Between which numbers saved tensors lie, by tiny programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.graph.model import Graph

from .programs import measure, op, probes


def ranges(graph: Graph) -> dict[str, str]:
    """What stands at the ops, by their names."""
    annotation = graph.annotations.get("saved-range")
    values = {} if annotation is None else annotation.values
    return {graph.nodes.names[node]: str(text) for node, text in values.items()}


def saved(value: torch.Tensor, *names: str) -> dict[str, str]:
    return ranges(measure({"z": value}, "z", names=("saved-range", *names)))


def test_ranges_of_all_that_an_op_saved_have_three_digits() -> None:
    x = torch.tensor([0.0, 2.0], requires_grad=True)
    assert saved(x.sqrt()) == {"SqrtBackward0": "result: 0 to 1.41"}
    y = torch.tensor([-1234.5678, 3.0], requires_grad=True)
    assert saved(x * y) == {"MulBackward0": "other: -1.23e+03 to 3, self: 0 to 2"}


def test_integers_are_written_in_full_and_lists_are_counted() -> None:
    table = torch.zeros(60_000, 2, requires_grad=True)
    found = saved(torch.nn.functional.embedding(torch.tensor([7, 50_256]), table))
    assert found == {"EmbeddingBackward0": "indices: 7 to 50256"}
    rows = table[torch.tensor([4, 9])]
    assert saved(rows) == {"IndexBackward0": "indices[0]: 4 to 9"}


def test_nan_and_infinities_are_told() -> None:
    x = torch.ones(2, requires_grad=True)
    assert saved(x * torch.tensor([-math.inf, 3])) == {"MulBackward0": "other: -inf to 3"}
    assert saved(x * torch.tensor([math.nan, 3])) == {"MulBackward0": "other: NaN to NaN"}
    assert saved(x * torch.tensor([math.nan, math.inf])) == {"MulBackward0": "other: NaN to inf"}


def test_what_the_pass_frees_is_told_as_it_was_before() -> None:
    x = torch.tensor([1.0, 3.0], requires_grad=True)
    z = (x * x).sum()
    graph = measure({"z": z}, "z", names=("gradient", "saved-range"), keep_graph=False)
    assert ranges(graph) == {"MulBackward0": "other: 1 to 3, self: 1 to 3"}


def test_what_was_freed_before_or_written_to_since_is_left_out() -> None:
    x = torch.tensor([1.0, 3.0], requires_grad=True)
    y, scale = x.exp(), torch.tensor([2.0, 4.0])
    z = y * scale
    y.zero_()
    assert saved(z) == {"MulBackward0": "other: 2 to 4"}
    scale.zero_()
    assert saved(z) == {}
    w = (x * x).sum()
    w.backward()
    assert saved(w) == {}


def test_what_a_custom_function_saved_is_told_and_nothing_is_unpacked() -> None:
    unpacked: list[torch.Tensor] = []

    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:
            return gradient, None

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        unpacked.append(tensor)
        return tensor

    x = torch.tensor([1.0, 3.0], requires_grad=True)
    z = Scale.apply(x, torch.tensor([5, 6]))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        z = z.sin()
    z = checkpoint(torch.exp, z, use_reentrant=False)
    assert saved(z) == {"ScaleBackward": "saved_tensors[0]: 1 to 3, saved_tensors[1]: 5 to 6"}
    assert unpacked == []


def test_a_tensor_that_many_ops_saved_is_looked_at_once() -> None:
    from graphviz_cli.capture.probes.ranges import saved_ranges

    x, mask = torch.ones(3, requires_grad=True), torch.tensor([0.0, 1.0, 2.0])
    first, second = x * mask, x * mask[:2].sum()
    nodes = [first.grad_fn, (x * mask).grad_fn, second.grad_fn]
    found = [numbers for rows in saved_ranges(nodes).values() for _, numbers in rows]
    assert found[0] is found[1] and found[1] is not found[2]


def test_complex_and_meta_tensors_and_a_program_that_runs_no_pass(tmp_path: Path) -> None:
    x = torch.tensor([1 + 2j, -3j], requires_grad=True)
    assert saved(x * x) == {"MulBackward0": "other: -3 to 2, self: -3 to 2"}
    assert saved(torch.ones(2, device="meta", requires_grad=True).exp()) == {}
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nx = torch.ones(2, requires_grad=True)\n(x / 4).exp().backward(x)"
    )
    graph = capture(parse_target(str(file)), Request(probes=tuple(probes("saved-range")))).graph
    assert ranges(graph) == {
        "DivBackward0": "other: 4 to 4",
        "ExpBackward0": "result: 1.28 to 1.28",
    }
    assert graph.provenance.vectors == () and op(graph, "ExpBackward0") == 0
