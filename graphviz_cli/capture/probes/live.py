"""A backward pass through a graph that was walked: which callbacks are told what flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from graphviz_cli.graph.model import Graph

if TYPE_CHECKING:
    from graphviz_cli.capture.names import TensorNames

Gradients: TypeAlias = Sequence[Any]
"""Tensors, or None where there is none."""

Before: TypeAlias = Callable[[int, Gradients], None]
"""Called with a node's id and the gradient of each of its outputs, just before it runs."""

After: TypeAlias = Callable[[int, Gradients, Gradients], None]
"""Called with a node's id, the gradient of each of its inputs and that of each of its outputs."""


@dataclass(frozen=True, slots=True)
class LiveBackward:
    """A graph, its nodes while they live, and what observes them.

    `nodes[id]` is autograd's node; nodes of the graph that autograd does not have (cuts, leaves
    that no gradient reaches) have ids beyond these.
    """

    graph: Graph
    nodes: Sequence[Any] = ()
    roots: Sequence[Any] = ()
    """The tensors of `graph.roots`, or autograd's gradient edges in their place."""
    names: TensorNames | None = None
    """What the user calls tensors."""
    _before: list[Before] = field(default_factory=list)
    _after: list[After] = field(default_factory=list)

    def observe(self, before: Before | None = None, after: After | None = None) -> None:
        """Call these around every op; those of who comes last are the closest to it.

        They come after the user's own hooks, may run in one of torch's threads, and must not raise
        nor keep a gradient.
        """
        if before is not None:
            self._before.append(before)
        if after is not None:
            self._after.insert(0, after)

    @property
    def before(self) -> Sequence[Before]:
        """The callbacks before an op, in the order in which they are to be called."""
        return self._before

    @property
    def after(self) -> Sequence[After]:
        """The callbacks after an op, in the order in which they are to be called."""
        return self._after
