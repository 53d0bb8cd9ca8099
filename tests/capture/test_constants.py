"""Tensors that require no gradient, beside those that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphviz_cli.capture.names import TensorNames
from graphviz_cli.graph.model import Graph, NodeKind, Role
from graphviz_cli.graph.verdict import Status, reached_nodes, verdicts
from tests.capture.severed import graph_of


def leaf(*shape: int) -> Tensor:
    return torch.ones(shape or (3,), requires_grad=True)


def graph_with(variables: dict[str, Any], program: Callable[[], Tensor], **options: bool) -> Graph:
    return graph_of(program, names=lambda: TensorNames([variables]), **options)


def constants(graph: Graph) -> list[tuple[str, str]]:
    """Each constant with the input that it went into (`x`, `MulBackward0:1`)."""
    return [
        (graph.nodes[edge.target].label, f"{graph.nodes.names[edge.source]}:{edge.input_nr}")
        for edge in graph.edges
        if graph.nodes.kinds[edge.target] is NodeKind.CONSTANT
    ]


c, w = torch.full((3,), 2.0), leaf()
image, kernel = torch.rand(1, 2, 4, 4), leaf(3, 2, 2, 2)

TAKEN: list[tuple[Callable[[], Tensor], list[tuple[str, str]]]] = [
    (lambda: c * w, [("c", "MulBackward0:0")]),
    (lambda: w * c, [("c", "MulBackward0:1")]),
    (lambda: w + c, [("c", "AddBackward0:1")]),
    (lambda: torch.add(c, w), [("c", "AddBackward0:0")]),
    (lambda: torch.sub(input=c, other=w), [("c", "SubBackward0:0")]),
    (lambda: torch.sub(w, other=c), [("c", "SubBackward0:1")]),
    (lambda: c - w, [("c", "SubBackward0:0")]),
    (lambda: w / c, [("c", "DivBackward0:1")]),
    (lambda: (w * 2).add_(c), [("c", "AddBackward0:1")]),
    (lambda: w.exp().__iadd__(c), [("c", "AddBackward0:1")]),
    (lambda: torch.cat([w, c, w]), [("c", "CatBackward0:1")]),
    (lambda: torch.stack((w, c)), [("c", "StackBackward0:1")]),
    (lambda: torch.where(w > 0, w, c), [("c", "WhereBackward0:1")]),
    (lambda: functional.mse_loss(w, c), [("c", "MseLossBackward0:1")]),
    (lambda: functional.conv2d(image, kernel), [("image", "ConvolutionBackward0:0")]),
    (lambda: w * c + c, [("c", "AddBackward0:1"), ("c", "MulBackward0:1")]),
    (lambda: w * 2.0 + torch.ones(3), []),
]


@pytest.mark.parametrize(("program", "expected"), TAKEN)
def test_a_named_constant_stands_at_the_input_that_took_it(program, expected):
    graph = graph_with({"c": c, "w": w, "image": image, "kernel": kernel}, program)
    assert constants(graph) == expected
    without = graph_with({"c": c, "w": w}, program, cuts=False)
    assert not constants(without)


def test_a_slot_of_a_constant_is_one_that_autograd_has_no_node_for():
    x, y = torch.rand(4, 3), torch.rand(4, 1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    variables = {"model": model, "x": x, "y": y}
    roots: list[Tensor] = []

    def program() -> Tensor:
        roots.append(functional.mse_loss(model(x), y))
        return roots[0]

    graph = graph_with(variables, program)
    assert constants(graph) == [("y", "MseLossBackward0:1"), ("x", "AddmmBackward0:1")]
    node = roots[0].grad_fn
    for edge in graph.edges:
        if graph.nodes.kinds[edge.target] is NodeKind.CONSTANT and edge.source == 0:
            assert node.next_functions[edge.input_nr] == (None, 0)


def test_a_frozen_parameter_and_a_buffer_belong_to_their_module():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
            self.register_buffer("shift", torch.ones(3))
            self.register_buffer("mask", torch.ones(3, dtype=torch.bool))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.frozen + self.shift).masked_fill(self.mask, 0.0)

    model = nn.Sequential(Scaled())
    graph = graph_with({"model": model}, lambda: model(w * 1.0))
    found = {
        graph.nodes[node].label: (
            graph.nodes[node].role,
            graph.modules[graph.nodes.modules[node]].path,
        )
        for node in graph.nodes.ids(NodeKind.CONSTANT)
    }
    assert found == {
        "model.0.frozen": (Role.PARAMETER, "model.0"),
        "model.0.shift": (Role.BUFFER, "model.0"),
    }
    assert constants(graph) == [
        ("model.0.shift", "AddBackward0:1"),
        ("model.0.frozen", "MulBackward0:1"),
    ]


def test_the_statistics_of_a_batch_norm_are_not_drawn():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    x = torch.rand(4, 3)
    graph = graph_with({"model": model, "x": x}, lambda: model(x))
    assert constants(graph) == [("x", "AddmmBackward0:1")]


def test_no_gradient_reaches_a_constant():
    graph = graph_with({"c": c, "w": w}, lambda: w * c)
    (constant,) = graph.nodes.ids(NodeKind.CONSTANT)
    assert constant not in reached_nodes(graph)
    assert {graph.nodes[n].label: v.status for n, v in verdicts(graph).items()} == {
        "w": Status.REACHED
    }


def test_a_value_that_lost_its_gradient_is_a_cut_and_no_constant():
    y = (w * 2).detach()
    late: dict[str, Any] = {"w": w, "y": y}

    def program() -> Tensor:
        late["z"] = z = (w * 2).detach()
        return w * z + y

    graph = graph_with(late, program)
    assert [graph.nodes.names[cut] for cut in graph.nodes.ids(NodeKind.CUT)] == ["detach"]
    assert constants(graph) == [("y", "AddBackward0:1")]


def test_a_tensor_that_requires_a_gradient_by_now_is_none():
    late = torch.ones(3)

    def program() -> Tensor:
        y = w * late
        late.requires_grad_()
        return y + late

    assert constants(graph_with({"late": late, "w": w}, program)) == []
