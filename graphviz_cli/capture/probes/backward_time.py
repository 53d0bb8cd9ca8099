"""How long every backward op takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
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
    _seconds: dict[int, float] = field(default_factory=dict, init=False)
    _events: dict[int, tuple[Any, Any]] = field(default_factory=dict, init=False)
    _on_gpu: set[int] = field(default_factory=set, init=False)

    def forward(self) -> AbstractContextManager[object]:
        """Nothing is measured there."""
        return nullcontext()

    @contextmanager
    def backward(self, live: LiveBackward) -> Iterator[None]:
        """Look at the clock before and after each op, closer to it than other probes."""
        outputs = live.graph.nodes.outputs
        for node in range(len(live.nodes)):
            if any(spec.device.startswith("cuda") for spec in outputs[node]):
                self._on_gpu.add(node)
        live.observe(self._start, self._stop)
        yield

    def _start(self, node: int, gradients: Gradients) -> None:
        self._started[node] = _event() if node in self._on_gpu else perf_counter()

    def _stop(self, node: int, inputs: Gradients, outputs: Gradients) -> None:
        if node in self._on_gpu:
            self._events[node] = self._started.pop(node), _event()
        else:
            self._seconds[node] = perf_counter() - self._started.pop(node)

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """The times of all ops that ran, in seconds."""
        seconds = dict(self._seconds)
        for node, (start, end) in self._events.items():
            end.synchronize()
            seconds[node] = start.elapsed_time(end) / 1000
        if seconds:
            yield Annotation("backward-time", dict(sorted(seconds.items())), "s", Combine.SUM)


def _event() -> Any:
    """A mark in the stream in which the op runs."""
    import torch

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
