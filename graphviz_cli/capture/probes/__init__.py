"""What is measured while the user's program runs, and while its gradients flow."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.graph.model import Annotation


class Probe(Protocol):
    """Observes a run and turns what it saw into annotations of the graph.

    An object serves for one run. Nothing that it observes may be changed or kept: of a tensor only
    what is computed from it, on its own device and without waiting for that.
    """

    needs_backward: ClassVar[bool]
    """It measures the backward pass, so that one must be run."""

    def forward(self) -> AbstractContextManager[object]:
        """Observe the user's program while the block runs."""

    def backward(self, live: LiveBackward) -> AbstractContextManager[object]:
        """Observe a backward pass while the block runs; the callbacks are given to `live`."""

    def annotations(self, live: LiveBackward) -> Iterable[Annotation]:
        """What was seen, once all of it is over."""
