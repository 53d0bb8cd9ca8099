"""Judges of a captured graph that share no code with the walk.

The first is another walk over the live graph, the second runs the captured graph: every node is
called, in an order of our own, with what the captured edges bring it, and what arrives at the
leaves must be what `torch.autograd.grad` finds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphviz_cli.graph.model import Graph, NodeKind


@dataclass(frozen=True)
class Bare:
    """A live graph as a plain walk finds it."""

    nodes: list[Any]
    edges: list[tuple[int, int, int, int]]
    """Source, target, input_nr, output_nr, ascending by source."""

    @property
    def leaves(self) -> dict[int, torch.Tensor]:
        """The tensors of the AccumulateGrad nodes."""
        return {i: n.variable for i, n in enumerate(self.nodes) if hasattr(n, "variable")}


def bare_walk(tensors: Sequence[torch.Tensor]) -> Bare:
    """Number the nodes breadth-first from the tensors on, and list the edges.

    A tensor that is a leaf itself is no place to begin at.

    A deep graph must have been captured before: that guards its end (capture/teardown.py).
    """
    order: list[Any] = []
    numbers: dict[Any, int] = {}
    waiting: deque[Any] = deque()

    def number(node: Any) -> int:
        if node not in numbers:
            numbers[node] = len(order)
            order.append(node)
            waiting.append(node)
        return numbers[node]

    for tensor in tensors:
        if tensor.grad_fn is not None:
            number(tensor.grad_fn)
    edges = []
    while waiting:
        node = waiting.popleft()
        for input_nr, (child, output_nr) in enumerate(node.next_functions):
            if child is not None:
                edges.append((numbers[node], number(child), input_nr, output_nr))
    return Bare(order, edges)


def assert_same_as_bare_walk(graph: Graph, tensors: Sequence[torch.Tensor]) -> None:
    """The nodes, the edges with both indices, the leaves and the roots are those of a plain walk.

    Leaves without edges are not looked at: no walk reaches them.
    """
    bare = bare_walk(tensors)
    reached = len(bare.nodes)
    edges = [(e.source, e.target, e.input_nr, e.output_nr) for e in graph.edges]
    assert edges == bare.edges
    names = [node.name().removeprefix("torch::autograd::") for node in bare.nodes]
    assert list(graph.nodes.names)[:reached] == names
    leaves = [i for i in graph.nodes.ids(NodeKind.LEAF) if i < reached]
    assert leaves == sorted(bare.leaves)
    for leaf, tensor in bare.leaves.items():
        (spec,) = graph.nodes[leaf].outputs
        assert spec.shape == tuple(tensor.shape)
        assert spec.dtype == str(tensor.dtype).removeprefix("torch.")
    by_node = {node: number for number, node in enumerate(bare.nodes)}
    by_tensor = {id(tensor): number for number, tensor in bare.leaves.items()}
    for root, tensor in zip(graph.roots, tensors, strict=True):
        assert root.output_nr == tensor.output_nr
        if tensor.grad_fn is not None:
            assert root.node == by_node[tensor.grad_fn]
        else:
            assert root.node == by_tensor.get(id(tensor), root.node)
            assert graph.nodes.kinds[root.node] is NodeKind.LEAF
    touched = {*graph.edges.sources, *graph.edges.targets}
    assert all(i not in touched for i in range(reached, len(graph.nodes)))
    assert len(graph.nodes.ids(NodeKind.FUNCTION)) == reached - len(leaves)


def assert_runs_like_autograd(graph: Graph, tensors: Sequence[torch.Tensor]) -> int:
    """Running the captured graph gives the gradients that autograd gives; counts those compared.

    The tensors must be those that the graph was captured from, in the same order, their graph not
    yet freed. Nothing is freed, and no `.grad` is touched.
    """
    bare = bare_walk(tensors)
    seeds = [_seed(tensor) for tensor in tensors]
    ours = _run(graph, bare.nodes, seeds)
    leaves = bare.leaves
    if not leaves:  # the roots are leaves by themselves
        return 0
    expected = torch.autograd.grad(
        tensors, list(leaves.values()), seeds, retain_graph=True, allow_unused=True
    )
    for (leaf, _), theirs in zip(leaves.items(), expected):
        mine = ours.get(leaf)
        assert (mine is None) == (theirs is None), graph.nodes[leaf]
        if mine is not None:
            # Sums may be taken in another order.
            torch.testing.assert_close(
                _dense(mine), _dense(theirs), rtol=1e-4, atol=1e-5, equal_nan=True
            )
    return sum(gradient is not None for gradient in expected)


def _seed(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.layout is not torch.strided:
        return torch.ones_like(tensor)
    generator = torch.Generator(device=tensor.device).manual_seed(7)
    options = {"dtype": tensor.dtype, "device": tensor.device, "generator": generator}
    return torch.randn(tensor.shape, **options)


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def _run(graph: Graph, live: Sequence[Any], seeds: Sequence[torch.Tensor]) -> dict[int, Any]:
    """What arrives at each leaf when the captured graph is run from its roots on."""
    count = len(live)
    out_edges: list[list[Any]] = [[] for _ in range(count)]
    missing = [0] * count
    for edge in graph.edges:
        out_edges[edge.source].append(edge)
        missing[edge.target] += 1
    arrived: list[dict[int, torch.Tensor]] = [{} for _ in range(count)]
    for root, seed in zip(graph.roots, seeds):
        if root.node < count:  # else a leaf by itself, which no walk reaches
            _add(arrived[root.node], root.output_nr, seed)
    # Last in, first out, which is not the engine's order.
    ready = [node for node in range(count) if not missing[node]]
    result = {}
    while ready:
        node = ready.pop()
        gradients: Sequence[torch.Tensor | None] = ()
        if graph.nodes.kinds[node] is NodeKind.LEAF:
            result[node] = arrived[node].get(0)
        elif arrived[node]:
            gradients = _call(live[node], arrived[node])
        for edge in out_edges[node]:
            if edge.input_nr < len(gradients) and gradients[edge.input_nr] is not None:
                wanted = live[edge.target]._input_metadata[edge.output_nr]
                gradient = _fitted(gradients[edge.input_nr], wanted)
                _add(arrived[edge.target], edge.output_nr, gradient)
            missing[edge.target] -= 1
            if not missing[edge.target]:
                ready.append(edge.target)
        arrived[node] = {}
    return result


def _add(slots: dict[int, torch.Tensor], output_nr: int, gradient: torch.Tensor) -> None:
    slots[output_nr] = slots[output_nr] + gradient if output_nr in slots else gradient


def _call(node: Any, arrived: dict[int, torch.Tensor]) -> Sequence[torch.Tensor | None]:
    """What a node makes of the gradients of its outputs."""
    metadata = node._input_metadata
    gradients = [arrived.get(output_nr) for output_nr in range(len(metadata))]
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        # The engine fills in zeros for a Python backward.
        filled = [
            torch.zeros(m.shape, dtype=m.dtype, device=m.device) if g is None else g
            for g, m in zip(gradients, metadata)
        ]
        results = node.apply(*filled)
    else:
        results = node(*gradients)
    return results if isinstance(results, tuple) else (results,)


def _fitted(gradient: Any, wanted: Any) -> torch.Tensor:
    """The gradient in the shape and type of what it is the gradient of, as the engine does it."""
    if tuple(gradient.shape) != tuple(wanted.shape):
        gradient = gradient.sum_to_size(tuple(wanted.shape))
    if gradient.dtype != wanted.dtype:
        if gradient.is_complex() and not wanted.dtype.is_complex:
            gradient = gradient.real
        gradient = gradient.to(wanted.dtype)
    return gradient
