"""How much memory every op keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.graph.model import NONE, Annotation, Combine


@dataclass(slots=True)
class SavedBytes:
    """Bytes that each op keeps for backward, every piece of memory counted once.

    It counts for the op that saved it first, so that the numbers add up to what the whole graph
    keeps. Parameters, buffers and inputs, which live anyway, do not count.
    """

    needs_backward: ClassVar[bool] = False

    def forward(self) -> AbstractContextManager[object]:
        """Nothing is measured there: the graph knows it."""
        return nullcontext()

    def backward(self, live: LiveBackward) -> AbstractContextManager[object]:
        """Nothing is measured there either."""
        return nullcontext()

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """The bytes of all ops that keep some."""
        graph = live.graph
        saved, numbers = graph.nodes.saved, graph.nodes.sequence_nrs
        seen: set[int] = {NONE}
        values: dict[int, float | int | str] = {}
        for node in sorted(range(len(graph.nodes)), key=numbers.__getitem__):
            count = 0
            for storage in saved.storages[saved.offsets[node] : saved.offsets[node + 1]]:
                if storage not in seen:
                    seen.add(storage)
                    if graph.storages[storage].owned:
                        count += graph.storages[storage].nbytes
            if count:
                values[node] = count
        yield Annotation("saved-bytes", dict(sorted(values.items())), "bytes", Combine.SUM)
