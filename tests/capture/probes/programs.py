"""Tiny programs, measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from graphviz_cli import registry
from graphviz_cli.capture.engine_run import BackwardPlan, measured
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.graph.model import Graph, NodeKind


def probes(*names: str) -> list[Any]:
    return [registry.create("probes", name) for name in names]


def measure(
    variables: Mapping[str, Any],
    *roots: str,
    names: Sequence[str] = ("gradient", "gradient-values"),
    **plan: Any,
) -> Graph:
    """The graph of some of the variables, measured by probes."""
    tensors = [RootTensor(root, variables[root]) for root in roots]
    graph = walk(tensors, names=TensorNames([variables]))
    graph, failure = measured(graph, tensors, probes(*names), BackwardPlan(**plan))
    if failure is not None:
        raise failure
    return graph


def leaf(graph: Graph, name: str) -> int:
    """The id of a leaf by one of its names."""
    return next(n for n in graph.nodes.ids(NodeKind.LEAF) if name in graph.nodes.user_names[n])


def op(graph: Graph, name: str) -> int:
    """The id of the only op of this name."""
    (found,) = (n for n in range(len(graph.nodes)) if graph.nodes.names[n] == name)
    return found


def received(graph: Graph, node: int) -> str:
    """The gradient that a node received, as text."""
    return str(graph.annotations["gradient-values"].values[node])


def sent(graph: Graph, node: int) -> tuple[Any, ...]:
    """The gradients that a node sent over its edges, as texts."""
    return graph.annotations["gradient-values"].inputs[node]


def leaf_gradients(graph: Graph, at: Callable[[int], torch.Tensor]) -> None:
    """Compare every number of the leaves with those of the gradients that `at` gives."""
    facts = graph.annotations
    for node in graph.nodes.ids(NodeKind.LEAF):
        if node not in facts["gradient"].values:
            continue
        gradient = at(node)
        if gradient.layout is not torch.strided:
            gradient = gradient.to_dense()
        flat = torch.view_as_real(gradient) if gradient.is_complex() else gradient
        norm = torch.linalg.vector_norm(flat.double())
        torch.testing.assert_close(
            torch.tensor(facts["gradient"].values[node]).double(), norm, rtol=1e-5, atol=1e-30
        )
        for name, value in (("min", flat.min()), ("max", flat.max())):
            assert facts[f"gradient-{name}"].values[node] == value.item()
        zeros = (gradient == 0).double().mean().item()
        assert abs(float(facts["gradient-zeros"].values[node]) - zeros) < 1e-12
