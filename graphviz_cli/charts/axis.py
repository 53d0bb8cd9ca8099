"""Scales and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

_DECADES = 100.0
"""Positive values that span more are drawn over a logarithmic axis."""
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of values as shares from 0 to 1; linear or logarithmic."""

    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one, the middle if they are equal."""
        if not self.low < self.high:
            return 0.5
        if self.is_log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(value)
            return (value - low) / (high - low)
        # Halves first: the difference of two large numbers may be infinite.
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)

    def value(self, share: float) -> float:
        """The value at a share: the inverse of `share`."""
        if self.is_log:
            return math.exp(math.log(self.low) * (1 - share) + math.log(self.high) * share)
        return self.low * (1 - share) + self.high * share

    def ticks(self, most: int) -> list[float]:
        """At most so many round values within the range; the value itself where there is one."""
        if not self.low < self.high:
            return [self.low]
        if self.is_log:
            return self._log_ticks(most)
        return round_values(self.low, self.high, most)

    def _log_ticks(self, most: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        every = max(1, math.ceil((last - first + 1) / most))
        return [
            float(f"1e{exponent}")
            for exponent in range(first, last + 1)
            if exponent % every == 0 and self.low <= float(f"1e{exponent}") <= self.high
        ]


def scale_of(values: Iterable[float], *, is_amount: bool = False) -> Scale | None:
    """The scale of some finite values; None for none.

    It is logarithmic if they are positive and span more than two decades. Else that of amounts,
    such as bytes, begins at 0.
    """
    known = list(values)
    if not known:
        return None
    low, high = min(known), max(known)
    is_log = low > 0 and high / low > _DECADES
    return Scale(min(low, 0.0) if is_amount and not is_log else low, high, is_log)


def round_values(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """At most so many multiples of 1, 2 or 5 times a power of ten, from `low` to `high`."""
    span = high / 2 - low / 2
    if not span > 0:
        return [low]
    exponent = math.floor(math.log10(span / most * 2))
    powers = range(max(exponent, 0) if whole else exponent, max(exponent, 0) + 2)
    for power, factor in product(powers, (1, 2, 5)):
        # By way of the decimal text, so that 0.3 is 0.3 and not three times 0.1.
        step = float(f"{factor}e{power}")
        if step:
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < most:
                values = (float(f"{k * factor}e{power}") for k in range(first, last + 1))
                return [value for value in values if low <= value <= high]
    return [low]


def texts_of(values: Sequence[float], unit: str) -> list[str]:
    """Labels of the ticks of one axis: `1`, `0.5`, `5 MB`, `20 ms`.

    Three significant digits, or as many as tell neighbours apart.
    """
    largest = max(map(abs, values), default=0.0)
    sizes = _SIZES.get(unit, ((1.0, ""),))
    size, name = next((row for row in sizes if largest >= row[0]), sizes[-1])
    for digits in range(3, _MOST_DIGITS):
        texts = [_number(value / size, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return [f"{text} {name}".rstrip() for text in texts]


_SIZES = {
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
}


def _number(value: float, digits: int) -> str:
    if 1000 <= abs(value) < 1e6 and value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
