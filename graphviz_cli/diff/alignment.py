"""Which items of two sequences belong together: their longest common subsequence."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

Token = tuple[int, ...]

_PATIENCE = 10_000_000
"""Comparisons in all: some two seconds."""


class Aligner:
    """Aligns sequences until its patience is at an end.

    Myers, An O(ND) difference algorithm and its variations (1986): quick where few items differ,
    however often the others repeat. The answer for two sequences in reverse is the reverse.
    """

    def __init__(self, patience: int = _PATIENCE) -> None:
        self._patience = patience

    @property
    def gave_up(self) -> bool:
        """Whether some items were left apart because the search would have taken too long."""
        return self._patience < 0

    def aligned(self, old: Sequence[Token], new: Sequence[Token]) -> list[tuple[int, int]]:
        """Places of equal tokens in both sequences, ascending in both."""
        shorter = min(len(old), len(new))
        start = 0
        while start < shorter and old[start] == new[start]:
            start += 1
        end = 0
        while end < shorter - start and old[-1 - end] == new[-1 - end]:
            end += 1
        pairs = [(place, place) for place in range(start)]
        if start + end < shorter:
            # What only one of them has can belong to nothing.
            common = {*old[start : len(old) - end]} & {*new[start : len(new) - end]}
            places = [k for k in range(start, len(old) - end) if old[k] in common]
            others = [k for k in range(start, len(new) - end) if new[k] in common]
            first, second = [old[k] for k in places], [new[k] for k in others]
            # Of several longest ones the same is found from either side.
            if (len(first), first) <= (len(second), second):
                pairs += [(places[i], others[j]) for i, j in self._common(first, second)]
            else:
                pairs += [(places[i], others[j]) for j, i in self._common(second, first)]
        pairs += [(len(old) - k, len(new) - k) for k in range(end, 0, -1)]
        return pairs

    def _common(self, first: Sequence[Token], second: Sequence[Token]) -> list[tuple[int, int]]:
        """The longest common subsequence, or nothing where that takes too long."""
        n, m = len(first), len(second)
        # How far along `first` each diagonal was followed; diagonal k holds the places (x, x - k).
        reach = array("i", [-1]) * (2 * (n + m) + 3)
        middle = n + m + 1
        reach[middle + 1] = 0
        rounds: list[array[int]] = []
        while True:
            edits = len(rounds)
            rounds.append(reach[middle - edits - 1 : middle + edits + 2])
            # Beyond these diagonals there is nothing.
            low, high = edits - 2 * max(0, edits - m), edits - 2 * max(0, edits - n)
            for k in range(-low, high + 1, 2):
                before, after = reach[middle + k - 1], reach[middle + k + 1]
                x = after if before < after else before + 1
                place = x
                while x < n and x - k < m and first[x] == second[x - k]:
                    x += 1
                reach[middle + k] = x
                self._patience -= x - place + 1
                if x >= n and x - k >= m:
                    return _traced(rounds, n, m)
                if self._patience < 0:
                    return []


def _traced(rounds: Sequence[array[int]], n: int, m: int) -> list[tuple[int, int]]:
    """The equal places on the way to the end, from what each round of the search began with."""
    pairs = []
    x, y = n, m
    for edits in range(len(rounds) - 1, -1, -1):
        reach, k = rounds[edits], x - y
        middle = edits + 1
        before, after = reach[middle + k - 1], reach[middle + k + 1]
        is_down = before < after
        start = after if is_down else before + 1
        while x > start:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = (x, y - 1) if is_down else (x - 1, y)
    return pairs[::-1]
