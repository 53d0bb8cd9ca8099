"""Where a sequence repeats itself: stretches made of the same few items over and over."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

_LONG = 8
"""Periods of a stretch that may be replaced by one token."""


class Stretch(NamedTuple):
    """A stretch in which every item equals the one `period` places later, as long as it can be."""

    start: int
    length: int
    period: int

    @property
    def repeats(self) -> bool:
        """Whether it has at least two periods."""
        return self.length >= 2 * self.period


def repetitions(tokens: Sequence[int]) -> list[Stretch]:
    """Stretches of at least two periods, by start; they may overlap and lie within each other.

    The next place where the same k tokens stand tells the period of what repeats there if k is
    about as long as that period; so k is doubled until no k tokens stand twice. Stretches that make
    up most of the sequence would never let that end: they are replaced by one token each as soon
    as they are found.
    """
    found: dict[tuple[int, int], Stretch] = {}
    current = list(tokens)
    places = [*range(len(tokens) + 1)]  # where each of the current tokens stands in the sequence
    width, ranks = 1, current
    while 2 * width <= len(current):
        distances, any_twice = _distances(ranks)
        if not any_twice:
            break
        stretches = _stretches(current, distances)
        for start, _, period in stretches:
            first = places[start]
            stretch = _extended(tokens, first, _shortest(tokens[first : places[start + period]]))
            found[stretch.start, stretch.period] = stretch
        # What is left of a short one at its borders could hide a longer period around it.
        long = [s for s in stretches if s.length >= min(_LONG * s.period, len(current) / 2)]
        chosen = _apart(long)
        if 2 * sum(length - 1 for _, length, _ in chosen) >= len(current):
            current, places = _shortened(current, places, chosen)
            width, ranks = 1, current
        else:
            numbers: dict[Hashable, int] = {}
            pairs = zip(ranks, ranks[width:])
            ranks = [numbers.setdefault(pair, len(numbers)) for pair in pairs]
            width *= 2
    return sorted(stretch for stretch in found.values() if stretch.repeats)


def _distances(ranks: Sequence[int]) -> tuple[list[int], bool]:
    """How far it is from every place to the next equal one, 0 where there is none."""
    distances = [0] * len(ranks)
    last: dict[int, int] = {}
    for position, rank in enumerate(ranks):
        before = last.get(rank)
        if before is not None:
            distances[before] = position - before
        last[rank] = position
    return distances, len(last) < len(ranks)


def _stretches(tokens: Sequence[int], distances: Sequence[int]) -> list[Stretch]:
    last: dict[int, Stretch] = {}
    found = []
    for position, period in enumerate(distances):
        if not period:
            continue
        before = last.get(period)
        if before is not None and position < before.start + before.length - period:
            continue  # within what was looked at already
        stretch = last[period] = _extended(tokens, position, period)
        if stretch.repeats:
            found.append(stretch)
    return found


def _extended(tokens: Sequence[int], position: int, period: int) -> Stretch:
    """The longest stretch of a period around a place."""
    first = position
    while first > 0 and tokens[first - 1] == tokens[first - 1 + period]:
        first -= 1
    end = position + period
    while end < len(tokens) and tokens[end] == tokens[end - period]:
        end += 1
    return Stretch(first, end - first, period)


def _shortest(period: Sequence[int]) -> int:
    """The length of the shortest sequence of which this one is a repetition, perhaps its own.

    Knuth, Morris, Pratt, Fast pattern matching in strings (1977).
    """
    borders = [0] * len(period)
    border = 0
    for place in range(1, len(period)):
        while border and period[place] != period[border]:
            border = borders[border - 1]
        border += period[place] == period[border]
        borders[place] = border
    shortest = len(period) - border
    return shortest if len(period) % shortest == 0 else len(period)


def _apart(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Stretches that do not overlap, by start; the longest ones, then the ones that come first."""
    chosen = []
    taken: set[int] = set()
    for stretch in sorted(stretches, key=lambda s: (-s.length, s.start)):
        # No chosen one is shorter, so one that overlaps this covers its first or its last place.
        last = stretch.start + stretch.length - 1
        if stretch.start not in taken and last not in taken:
            taken.update(range(stretch.start, last + 1))
            chosen.append(stretch)
    return sorted(chosen)


def _shortened(
    tokens: Sequence[int], places: Sequence[int], stretches: Sequence[Stretch]
) -> tuple[list[int], list[int]]:
    """Every stretch as one token, the same for equal ones."""
    unused = max(tokens) + 1
    numbers: dict[Hashable, int] = {}
    shorter: list[int] = []
    shorter_places: list[int] = []
    done = 0
    for start, length, period in stretches:
        shorter += tokens[done:start]
        shorter_places += places[done:start]
        key = (length, *tokens[start : start + period])
        shorter.append(unused + numbers.setdefault(key, len(numbers)))
        shorter_places.append(places[start])
        done = start + length
    return [*shorter, *tokens[done:]], [*shorter_places, *places[done:]]
