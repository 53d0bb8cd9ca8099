"""Module paths: which ones a pattern means, and the one path that stands for several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from graphviz_cli.graph.model import ModuleCall

_DOT = re.compile(r"(?<!\.)\.(?!\.)")
"""The dot between two parts of a path, as opposed to the dots of `0..11`."""

_NUMBERED = re.compile(r"(\D*)(\d+)(?:\.\.(\d+))?(\D*)")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SEGMENTS = 3


def matching_calls(modules: Sequence[ModuleCall], pattern: str) -> set[int]:
    """The calls whose path matches a pattern, as indices.

    `*` stands for any characters, dots included, `?` for one, `[abc]` for one of these, `2..5` for
    the numbers from 2 to 5, and `|` separates alternatives. A call that stands for several
    (`h.0..11`) matches if one of them does. The path of the outermost call, which for a script is
    the name of a variable, may be left out.
    """
    alternatives = [_Pattern(text) for text in pattern.split("|")]
    matching = set()
    for index, call in enumerate(modules):
        outermost = index
        while (parent := modules[outermost].parent) is not None:
            outermost = parent
        top = modules[outermost].path
        paths = {call.path}
        if top and outermost != index:
            paths.add(call.path.removeprefix(f"{top}."))
        if any(alternative.matches(path) for alternative in alternatives for path in paths):
            matching.add(index)
    return matching


class _Pattern:
    """One alternative of a pattern."""

    def __init__(self, text: str) -> None:
        self.bounds: list[tuple[int, int]] = []
        self.numbers = [int(number) for number in re.findall(r"\d+", text)]
        expression, position = "", 0
        for piece in re.finditer(r"\d+\.\.\d+|\*|\?|\[!?\]?[^]]*\]", text):
            expression += re.escape(text[position : piece.start()]) + self._expression(piece[0])
            position = piece.end()
        self.expression = re.compile(expression + re.escape(text[position:]), re.DOTALL)

    def _expression(self, piece: str) -> str:
        if piece == "*":
            return ".*"
        if piece == "?":
            return "."
        if piece.startswith("["):
            negated = piece.startswith("[!")
            members = re.escape(piece[2 if negated else 1 : -1]).replace(r"\-", "-")
            expression = f"[{'^' if negated else ''}{members}]"
            try:
                re.compile(expression)
            except re.error:  # no characters, or a range that ends before it begins
                return re.escape(piece)
            return expression
        first, last = map(int, piece.split(".."))
        if first > last:
            return re.escape(piece)
        self.bounds.append((first, last))
        return r"(\d+(?:\.\.\d+)?)"

    def matches(self, path: str) -> bool:
        """Whether the path, or one of the paths that it stands for, fits."""
        if self._fits(path):
            return True
        segments = _RANGE.search(path)
        if segments is None:
            return False
        first, last = int(segments[1]), int(segments[2])
        return any(
            self.matches(path[: segments.start()] + str(number) + path[segments.end() :])
            for number in self.numbers
            if first <= number <= last
        )

    def _fits(self, path: str) -> bool:
        match = self.expression.fullmatch(path)
        if match is None:
            return False
        for (first, last), found in zip(self.bounds, match.groups()):
            low, _, high = found.partition("..")
            if not first <= int(low) <= int(high or low) <= last:
                return False
        return True


def parts(path: str) -> list[str]:
    """The parts of a dotted path; `0..11` is one."""
    return _DOT.split(path)


def are_numbered(first: str, second: str) -> bool:
    """Whether two paths are the same, or differ in the number within one part only."""
    one, other = parts(first), parts(second)
    if len(one) != len(other):
        return False
    different = [(a, b) for a, b in zip(one, other) if a != b]
    return not different or (len(different) == 1 and _numbers(different[0]) is not None)


def merged_path(paths: Sequence[str]) -> str:
    """The path that stands for several: `h.0.attn` to `h.11.attn` give `h.0..11.attn`.

    Numbers with gaps are listed (`h.0..2,4`). Paths that differ in more than their numbers give
    the first and the last one (`encoder..decoder`).
    """
    if len(set(paths)) == 1:
        return paths[0]
    columns = [*zip(*map(parts, paths))]
    if len({len(parts(path)) for path in paths}) > 1:
        return f"{paths[0]}..{paths[-1]}"
    return ".".join(map(_merged_part, columns))


def _merged_part(column: Sequence[str]) -> str:
    if len(set(column)) == 1:
        return column[0]
    numbers = _numbers(column)
    if numbers is None:
        return f"{column[0]}..{column[-1]}"
    before, after, ranges = numbers
    return f"{before}{_listed(ranges)}{after}"


def _numbers(column: Iterable[str]) -> tuple[str, str, list[tuple[int, int]]] | None:
    """What stands before and after the number of every part, and the numbers as ranges."""
    matches = [_NUMBERED.fullmatch(part) for part in column]
    around = {None if match is None else (match[1], match[4]) for match in matches}
    if len(around) != 1 or None in around:
        return None
    found = [match for match in matches if match is not None]
    ranges = [(int(match[2]), int(match[3] or match[2])) for match in found]
    return found[0][1], found[0][4], ranges


def _listed(ranges: Sequence[tuple[int, int]]) -> str:
    """`0..11`, `0..2,4`, or the first and the last where the list would be long."""
    segments: list[tuple[int, int]] = []
    for first, last in ranges:
        if segments and segments[-1][1] + 1 == first:
            segments[-1] = (segments[-1][0], last)
        else:
            segments.append((first, last))
    if len(segments) > _MOST_SEGMENTS:
        first, second = segments[0][0], segments[1][0]
        steps = {b[0] - a[0] for a, b in pairwise(segments)}
        start = f"{first},{second}" if len(steps) == 1 else f"{first}"
        return f"{start}..{segments[-1][1]}"
    return ",".join(str(a) if a == b else f"{a}..{b}" for a, b in segments)
