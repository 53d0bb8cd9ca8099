"""Gradients that are to be differentiated themselves, and what forbids it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.autograd.graph import get_gradient_edge

from graphviz_cli.capture import private
from graphviz_cli.capture.cut_records import Source
from graphviz_cli.capture.live import visit
from graphviz_cli.graph.traversal import Adjacency, descendants


def undifferentiable(outputs: Sequence[torch.Tensor], tensor: torch.Tensor) -> list[Source]:
    """What was computed from `tensor`, on the way to `outputs`, by Functions that go back once.

    Their gradients are values without a history (`once_differentiable`).
    """
    live = visit([output.grad_fn for output in outputs if private.is_computed(output)])
    once = [
        place
        for place, node in enumerate(live.nodes)
        if private.is_custom_function(type(node)) and private.is_once_differentiable(type(node))
    ]
    if not once:
        return []
    adjacency = Adjacency.of(len(live.nodes), live.edges.sources, live.edges.targets)
    end = live.nodes.index(get_gradient_edge(tensor).node)
    return [
        Source(live.nodes[place], 0, None)
        for place in once
        if end in descendants(adjacency, [place])
    ]
