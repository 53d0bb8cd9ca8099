"""The tensors that a gradient ends in, and those that none reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphviz_cli.capture.names import LeafName, TensorNames
from graphviz_cli.capture.specs import spec_of
from graphviz_cli.graph.model import NodeKind, Role, TensorSpec

LEAF_NAME = "AccumulateGrad"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A node that stands for a tensor of the user's."""

    id: int
    tensor: torch.Tensor
    spec: TensorSpec
    called: LeafName
    kind: NodeKind

    @property
    def name(self) -> str:
        """Autograd's name for the node; a tensor that requires no gradient goes by its class."""
        return LEAF_NAME if self.kind is NodeKind.LEAF else type(self.tensor).__name__

    @property
    def parameters(self) -> int:
        """How many elements of parameters it holds."""
        return (self.spec.numel or 0) if self.called.role is Role.PARAMETER else 0


def reached_leaves(
    nodes: Sequence[Any], ids: Iterable[int], names: TensorNames
) -> tuple[Leaf, ...]:
    """The leaves of a graph; `ids` are the AccumulateGrads among its nodes."""
    leaves = []
    for leaf_id in ids:
        tensor = nodes[leaf_id].variable
        leaves.append(Leaf(leaf_id, tensor, spec_of(tensor), names.of(tensor), NodeKind.LEAF))
    return tuple(leaves)


def unreached_leaves(
    tensors: Iterable[torch.Tensor], reached: Iterable[Leaf], names: TensorNames, first_id: int
) -> tuple[Leaf, ...]:
    """Those of `tensors` that are no leaf of the graph, numbered from `first_id` by their names.

    One that requires no gradient is a constant. Tensors that were computed from others are none.
    """
    seen = {id(leaf.tensor) for leaf in reached}
    missing = []
    for tensor in tensors:
        if id(tensor) not in seen and tensor.is_leaf:
            seen.add(id(tensor))
            missing.append((names.of(tensor), tensor))
    missing.sort(key=lambda pair: pair[0].names)
    return tuple(
        Leaf(
            first_id + position,
            tensor,
            spec_of(tensor),
            called,
            NodeKind.LEAF if tensor.requires_grad else NodeKind.CONSTANT,
        )
        for position, (called, tensor) in enumerate(missing)
    )
