"""Sequence numbers of nodes laid out so that what holds for a range of them is one slice."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from graphviz_cli.graph.model import NONE

_SPREAD = 8
"""How many numbers of nodes that are not asked for may lie between two that are, on average."""


class NumberLine:
    """The line on which `numbers` lie; negative ones and those from `limit` on lie nowhere.

    Its last place, `length`, is covered by no range. It stands for the numbers that lie nowhere,
    and for those that occur twice, being of two threads, so that no range tells about them.
    """

    def __init__(self, numbers: Sequence[int], limit: int) -> None:
        known = [number for number in numbers if 0 <= number < limit]
        distinct = set(known)
        self._low = min(distinct, default=0)
        self.length = max(distinct, default=self._low - 1) + 1 - self._low
        self._index: dict[int, int] = {}
        """Where each number is, if most places of the line would be for none."""
        if self.length > _SPREAD * len(known):
            self._index = {number: place for place, number in enumerate(sorted(distinct))}
            self.length = len(distinct)
        self._keys = list(self._index)
        self.positions = self.places(numbers)
        """Where each of the numbers is."""
        if len(distinct) < len(known):
            counts = Counter(self.positions)
            self.positions = [p if counts[p] == 1 else self.length for p in self.positions]

    def places(self, numbers: Iterable[int]) -> list[int]:
        """Where each of some numbers is; `length` for one that lies nowhere."""
        low, length = self._low, self.length
        if self._index:
            return [self._index.get(number, length) for number in numbers]
        end = low + length
        return [number - low if low <= number < end else length for number in numbers]

    def last_place(self, start: int, end: int) -> int:
        """Where the last of the numbers in `[start, end)` is; `length` if there is none."""
        found = self._is_taken.rfind(1, self._slot(start), self._slot(end))
        return self.length if found < 0 else found

    def painted(
        self, starts: Iterable[int], ends: Iterable[int], values: Iterable[int]
    ) -> array[int]:
        """For each place the value of the last range `[start, end)` that covers it, else NONE."""
        low, length, slot = self._low, self.length, self._slot
        is_sparse = bool(self._index)
        line = array("i", [NONE]) * (length + 1)
        for start, end, value in zip(starts, ends, values):
            first = start - low
            if end - start == 1 and 0 <= first < length and not is_sparse:
                line[first] = value
            elif end > low:
                first, last = slot(start), slot(end)
                line[first:last] = array("i", [value]) * (last - first)
        return line

    def _slot(self, number: int) -> int:
        """Where on the line a number would have to be put in."""
        if self._index:
            return bisect_left(self._keys, number)
        return min(max(number - self._low, 0), self.length)

    @cached_property
    def _is_taken(self) -> bytearray:
        taken = bytearray(self.length)
        for position in self.positions:
            if position < self.length:
                taken[position] = True
        return taken
