"""How long every backward op takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from graphviz_cli.capture.probes.live import Gradients, LiveBackward
from graphviz_cli.graph.model import Annotation, Combine


@dataclass(slots=True)
class BackwardTime:
    """Seconds that each backward op takes, on a GPU as the GPU's own clock counts them.

    One run, so the first use of anything is in it; nothing is measured between two ops. What other
    probes compute is not counted.
    """

    needs_backward: ClassVar[bool] = True

    _started: dict[int, Any] = field(default_factory=dict, init=False)
    _marks: dict[int, tuple[Any, Any]] = field(default_factory=dict, init=False)
    _on_gpu: set[int] = field(default_factory=set, init=False)
    _mark: Any = field(default=None, init=False)

    def forward(self) -> AbstractContextManager[object]:
        """Nothing is measured there."""
        return nullcontext()

    @contextmanager
    def backward(self, live: LiveBackward) -> Iterator[None]:
        """Look at the clock before and after each op, closer to it than other probes."""
        from graphviz_cli.capture.probes.clock import mark

        self._mark = mark
        outputs = live.graph.nodes.outputs
        for node in range(len(live.nodes)):
            if any(spec.device.startswith("cuda") for spec in outputs[node]):
                self._on_gpu.add(node)
        live.observe(self._start, self._stop)
        yield

    def _start(self, node: int, gradients: Gradients) -> None:
        self._started[node] = self._mark(on_gpu=node in self._on_gpu)

    def _stop(self, node: int, inputs: Gradients, outputs: Gradients) -> None:
        now = self._mark(on_gpu=node in self._on_gpu)
        self._marks[node] = self._started.pop(node), now

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """The times of all ops that ran, in seconds."""
        from graphviz_cli.capture.probes.clock import seconds

        values = {node: seconds(*marks) for node, marks in sorted(self._marks.items())}
        yield Annotation("backward-time", values, "s", Combine.SUM)
