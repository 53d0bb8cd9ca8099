"""Numbers over steps: picked from a history, thinned to what can be seen, and where they end."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from graphviz_cli.drawing.format import number_text
from graphviz_cli.graph.history import History, Step


@dataclass(frozen=True, slots=True)
class Series:
    """A measured number at some steps, in their order; values may be NaN or infinite."""

    label: str
    numbers: array[int]
    values: array[float]

    def finite(self) -> list[float]:
        """The values without NaN and infinities."""
        return list(filter(math.isfinite, self.values))


@dataclass(frozen=True, slots=True)
class Run:
    """Steps in a row whose value is NaN, or infinite."""

    kind: str
    """`NaN`, `inf` or `-inf`."""
    first: int
    last: int
    count: int


def value_text(value: float) -> str:
    """A value to three significant digits; NaN as it is usually written."""
    return "NaN" if math.isnan(value) else number_text(value)


def picked(
    history: History, label: str, measure: Callable[[Step], float | None], root: str | None = None
) -> Series:
    """What `measure` tells of the steps, or of those that started from `root`; None is left out."""
    numbers, values = array("q"), array("d")
    for step in history.steps:
        if root is None or step.root == root:
            value = measure(step)
            if value is not None:
                numbers.append(step.number)
                values.append(value)
    return Series(label, numbers, values)


def thinned(series: Series, buckets: int) -> Series:
    """The smallest and the largest value of each of so many equal stretches of steps.

    What a line through them covers is what a line through all would. A stretch without any finite
    value keeps one that is not, so that the line breaks there. A series of no more than two values
    a stretch stays as it is.
    """
    if len(series.numbers) <= 2 * buckets:
        return series
    numbers, values = array("q"), array("d")
    for start, end in _stretches(series.numbers, buckets):
        finite = [k for k in range(start, end) if math.isfinite(series.values[k])]
        kept = {start}
        if finite:
            by_value = series.values.__getitem__
            kept = {min(finite, key=by_value), max(finite, key=by_value)}
        for k in sorted(kept):
            numbers.append(series.numbers[k])
            values.append(series.values[k])
    return Series(series.label, numbers, values)


def _stretches(numbers: array[int], buckets: int) -> Iterator[tuple[int, int]]:
    """Bounds of the positions in each equal stretch of steps that has any."""
    first, span = numbers[0], numbers[-1] - numbers[0] + 1
    start, bucket = 0, 0
    for k, number in enumerate(numbers):
        own = (number - first) * buckets // span
        if own != bucket:
            if k > start:
                yield start, k
            start, bucket = k, own
    yield start, len(numbers)


def not_finite(series: Series, reach: int) -> tuple[Run, ...]:
    """Where a series is NaN or infinite; runs of a kind that are at most `reach` steps apart are
    one."""
    runs: dict[str, list[Run]] = {}
    for number, value in zip(series.numbers, series.values):
        if math.isfinite(value):
            continue
        kind = "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
        own = runs.setdefault(kind, [])
        if own and number - own[-1].last <= reach:
            own[-1] = Run(kind, own[-1].first, number, own[-1].count + 1)
        else:
            own.append(Run(kind, number, number, 1))
    return tuple(sorted((run for own in runs.values() for run in own), key=lambda run: run.first))


def pieces(series: Series) -> list[Series]:
    """The stretches of finite values: what can be drawn as a line each."""
    ends = [-1, *(k for k, v in enumerate(series.values) if not math.isfinite(v))]
    ends.append(len(series.values))
    return [
        Series(series.label, series.numbers[a + 1 : b], series.values[a + 1 : b])
        for a, b in pairwise(ends)
        if b > a + 1
    ]
