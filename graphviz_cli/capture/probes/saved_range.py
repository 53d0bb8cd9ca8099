"""Between which numbers the tensors lie that ops have saved for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.graph.model import Annotation, Combine

RANGE = "saved-range"
"""Annotation: the least and the largest element of each tensor that an op has saved, as text."""


@dataclass(slots=True)
class SavedRange:
    """The least and the largest element of what each op has saved for the backward pass.

    As text (`self: 0 to 2, result: 0 to 1.41`), NaN and infinities included. Left out is what a
    hook of the program has packed, and what was written to since it was saved.
    """

    needs_backward: ClassVar[bool] = False

    _ranges: Any = field(default=None, init=False)

    def forward(self) -> AbstractContextManager[object]:
        """Nothing is measured there."""
        return nullcontext()

    @contextmanager
    def backward(self, live: LiveBackward) -> Iterator[None]:
        """Look at what is saved before the pass frees it."""
        from graphviz_cli.capture.probes.ranges import saved_ranges

        self._ranges = saved_ranges(live.nodes)
        yield

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """What was held when the backward pass began; without one, what is held now."""
        from graphviz_cli.capture.probes.ranges import saved_ranges, texts

        ranges = saved_ranges(live.nodes) if self._ranges is None else self._ranges
        written = iter(texts([numbers for saved in ranges.values() for _, numbers in saved]))
        values: dict[int, float | int | str] = {
            node: ", ".join(f"{name}: {next(written)}" for name, _ in saved)
            for node, saved in ranges.items()
        }
        if values:
            yield Annotation(RANGE, values, combine=Combine.OWN)
