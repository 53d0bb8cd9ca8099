"""The gradients themselves, where they have a few elements only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from graphviz_cli.capture.probes.live import Gradients, LiveBackward
from graphviz_cli.graph.model import Annotation, Combine

VALUES = "gradient-values"
"""Annotation: the gradient that a node receives, and that it sends over each edge, as text."""

TENSOR_VALUES = "values"
"""Annotation: the elements of a leaf or of an op's result, as text."""


@dataclass(slots=True)
class GradientValues:
    """The numbers of every gradient, leaf and result that has at most `most` elements.

    For small graphs, as in a lecture: `--backward --show values` puts them on the arrows. They are
    copied while the backward pass runs; of larger tensors nothing is kept. A result is known where
    it is a root, or was saved by an op.
    """

    needs_backward: ClassVar[bool] = True

    most: int = 8

    _received: dict[int, list[Any]] = field(default_factory=dict, init=False)
    _sent: dict[int, list[Any]] = field(default_factory=dict, init=False)
    _tensors: dict[int, Any] = field(default_factory=dict, init=False)

    def forward(self) -> AbstractContextManager[object]:
        """Nothing is measured there."""
        return nullcontext()

    @contextmanager
    def backward(self, live: LiveBackward) -> Iterator[None]:
        """Copy every small gradient before and after each op."""
        from graphviz_cli.capture.probes.few import known_tensors

        for node, tensor in known_tensors(live):
            if node not in self._tensors:
                self._tensors[node] = self._copied(tensor)
        live.observe(self._receive, self._send)
        yield

    def _receive(self, node: int, gradients: Gradients) -> None:
        self._received[node] = [self._copied(gradient) for gradient in gradients]

    def _send(self, node: int, inputs: Gradients, outputs: Gradients) -> None:
        if inputs:
            self._sent[node] = [self._copied(gradient) for gradient in inputs]

    def _copied(self, tensor: Any) -> Any:
        from graphviz_cli.capture.probes.few import copied

        return None if tensor is None else copied(tensor, self.most)

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """What nodes and edges carried, and the leaves' own elements."""
        from graphviz_cli.capture.probes.few import text

        received = {
            node: ", ".join(text(copy) for copy in copies if copy is not None)
            for node, copies in sorted(self._received.items())
            if any(copy is not None for copy in copies)
        }
        sent = {
            node: tuple(None if copy is None else text(copy) for copy in copies)
            for node, copies in sorted(self._sent.items())
            if any(copy is not None for copy in copies)
        }
        if received or sent:
            yield Annotation(VALUES, received, combine=Combine.OWN, inputs=_of_edges(live, sent))
        tensors = {
            node: text(copy) for node, copy in sorted(self._tensors.items()) if copy is not None
        }
        if tensors:
            yield Annotation(TENSOR_VALUES, tensors, combine=Combine.OWN)


def _of_edges(
    live: LiveBackward, sent: dict[int, tuple[str | None, ...]]
) -> dict[int, tuple[float | int | str | None, ...]]:
    """Only what was sent along an edge: an op may compute a gradient that nobody takes."""
    edges = live.graph.edges
    taken = set(zip(edges.sources, edges.input_nrs))
    kept: dict[int, tuple[float | int | str | None, ...]] = {}
    for node, texts in sent.items():
        row: Sequence[str | None] = [
            value if (node, input_nr) in taken else None for input_nr, value in enumerate(texts)
        ]
        if any(value is not None for value in row):
            kept[node] = tuple(row)
    return kept
