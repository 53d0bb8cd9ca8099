"""A panel as lines of text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from graphviz_cli.charts.axis import Scale, round_values, texts_of
from graphviz_cli.charts.canvas import BRAILLE, POINTS, Canvas, Pen
from graphviz_cli.charts.panels import Panel
from graphviz_cli.charts.series import Run, Series, not_finite, pieces, thinned
from graphviz_cli.drawing.format import display_width

MARGIN = 10
"""Columns of a terminal left of a plot, its axis included."""
_TICK_GAPS = 3
_FLAT = 3
"""Rows where all values are equal."""


class Tone(StrEnum):
    """What a piece of text is; a terminal has a colour for each: its own, for light and dark."""

    DIM = "2"
    BOLD = "1"
    CURVE = "36"
    SECOND = "33"
    BAD = "1;31"
    WARNING = "1;33"


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters that are not words."""

    pen: Pen
    step: str
    """A single step, where there are few."""
    second: str
    """A value of the second series."""
    bad: tuple[tuple[str, str], ...]
    """What stands for `NaN`, `inf` and `-inf`."""
    change: str
    tick: str
    bar: str
    corner: str
    floor: str
    below: str
    separator: str
    more: str


UNICODE = Signs(
    BRAILLE, "●", "╌", (("NaN", "✗"), ("inf", "∞"), ("-inf", "∞")),
    "▲", "┤", "│", "└", "─", "┬", "·", "…",
)  # fmt: skip
ASCII = Signs(
    POINTS, "o", "-", (("NaN", "x"), ("inf", "#"), ("-inf", "#")),
    "^", "+", "|", "+", "-", "+", "|", "...",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ground:
    """Where plots are drawn: the same for all of a run, so that steps stand below each other."""

    signs: Signs
    columns: int
    """Characters across."""
    first: int
    last: int
    every: int
    color: bool

    def paint(self, text: str, tone: Tone) -> str:
        """The text in a colour, if there are any."""
        return f"\x1b[{tone}m{text}\x1b[0m" if self.color and text.strip() else text

    def column(self, number: int, width: int) -> int:
        """Where a step stands on a grid of so many dots."""
        if self.first == self.last:
            return 0
        return round((number - self.first) * (width - 1) / (self.last - self.first))


def plot(panel: Panel, ground: Ground, rows: int, changes: Sequence[int]) -> Iterator[str]:
    """The lines of a panel: so many rows of a curve with labels, the axis of the steps and marks.

    Points of few steps are marked. Where a value is NaN or infinite there is a sign instead of a
    point, at the top for infinity and else at the bottom.
    """
    signs = ground.signs
    scale = panel.scale
    if scale is None or scale.low == scale.high:
        rows = _FLAT
    cells = _cells(panel, ground, rows, scale)
    labels = _labels(scale, panel.unit, rows)
    for label, row in zip(labels, cells):
        mark = signs.tick if label else signs.bar
        yield f"{label:>{MARGIN - 2}} {mark}{''.join(row)}".rstrip()
    yield from _floor(ground, changes)


@dataclass(frozen=True, slots=True)
class Key:
    """What a sign means, or something else that has to be known to read a panel."""

    text: str
    painted: int = 0
    """So many characters of it are the sign."""
    tone: Tone = Tone.DIM


def legend(panel: Panel, ground: Ground) -> list[Key]:
    """What has to be known to read a panel: its scale, its series, its signs."""
    signs = ground.signs
    scale = panel.scale
    keys = [Key("log axis")] if scale is not None and scale.is_log else []
    keys += [Key(f"{signs.second * 2} {other.label}", 2, Tone.SECOND) for other in panel.series[1:]]
    kinds = {run.kind for series in panel.series for run in _runs(series, ground)}
    return keys + [Key(f"{sign} {kind}", 1, Tone.BAD) for kind, sign in signs.bad if kind in kinds]


def _cells(panel: Panel, ground: Ground, rows: int, scale: Scale | None) -> list[list[str]]:
    pen, columns = ground.signs.pen, ground.columns
    canvas = Canvas(pen, columns, rows)
    first, *others = panel.series

    width, height = columns * pen.across, rows * pen.down

    def row(value: float) -> int:
        return _row(scale, value, height)

    for piece in pieces(thinned(first, width)):
        dots = [
            (ground.column(number, width), row(value))
            for number, value in zip(piece.numbers, piece.values)
        ]
        for start, end in zip([dots[0], *dots], dots):
            canvas.line(start, end)
    cells = [[ground.paint(c, Tone.CURVE) for c in line] for line in canvas.lines()]
    before = dict(zip(first.numbers, first.values))
    for series in others:
        for number, value in zip(series.numbers, series.values):
            old = before.get(number, math.nan)
            if math.isfinite(value):
                x, y = ground.column(number, width) // pen.across, row(value) // pen.down
                # Where they agree there is nothing to tell.
                if not (math.isfinite(old) and row(old) // pen.down == y):
                    cells[y][x] = ground.paint(ground.signs.second, Tone.SECOND)
    if len(first.numbers) <= columns // 4:
        for number, value in zip(first.numbers, first.values):
            if math.isfinite(value):
                y = row(value) // pen.down
                x = ground.column(number, width) // pen.across
                cells[y][x] = ground.paint(ground.signs.step, Tone.CURVE)
    for series in panel.series:
        _mark_not_finite(series, ground, cells)
    return cells


def _mark_not_finite(series: Series, ground: Ground, cells: list[list[str]]) -> None:
    signs = dict(ground.signs.bad)
    for run in _runs(series, ground):
        start, end = (ground.column(n, ground.columns) for n in (run.first, run.last))
        for x in range(start, end + 1):
            cells[0 if run.kind == "inf" else -1][x] = ground.paint(signs[run.kind], Tone.BAD)


def _runs(series: Series, ground: Ground) -> tuple[Run, ...]:
    return not_finite(series, ground.every)


def _row(scale: Scale | None, value: float, rows: int) -> int:
    """The row of a value, from the top."""
    return round((1 - scale.share(value)) * (rows - 1)) if scale else 0


def _labels(scale: Scale | None, unit: str, rows: int) -> list[str]:
    """The value at some rows, the first and the last included; at one where all are equal."""
    labels = [""] * rows
    if scale is None:
        return labels
    shares = [k / _TICK_GAPS for k in range(_TICK_GAPS + 1)]
    values = [scale.low, *map(scale.value, shares[1:-1]), scale.high]
    if scale.low == scale.high:
        values = [scale.low]
    for value, text in zip(values, texts_of(values, unit)):
        labels[_row(scale, value, rows)] = text
    return labels


def _floor(ground: Ground, changes: Sequence[int]) -> Iterator[str]:
    """The axis of the steps, their numbers, and where the graph changed."""
    signs, columns = ground.signs, ground.columns
    most = max(2, columns // 8)
    ticks = [int(n) for n in round_values(ground.first, ground.last, most, whole=True)]
    line = [signs.floor] * columns
    texts = Row(columns)
    for number in dict.fromkeys((ground.first, ground.last, *ticks)):
        x = ground.column(number, columns)
        if texts.put(f"{number:,}", x):
            line[x] = signs.below
    yield " " * (MARGIN - 1) + signs.corner + "".join(line)
    yield f"{'step':>{MARGIN - 2}}  {texts}".rstrip()
    if changes:
        marks = Row(columns)
        for number in changes:
            marks.mark(signs.change, ground.column(number, columns))
        numbers = f"{len(changes):,} times"
        if len(changes) <= 3:
            numbers = "at " + ", ".join(f"{number:,}" for number in changes)
        text = f"graph changed {numbers}"
        marks.beside(text)
        yield " " * MARGIN + str(marks)


class Row:
    """A line of fixed width on which texts are put where there is room."""

    def __init__(self, columns: int) -> None:
        self._cells = [" "] * columns

    def put(self, text: str, center: int) -> bool:
        """Write a text around a column, moved in at the ends; not if it would touch another."""
        width, columns = len(text), len(self._cells)
        start = min(max(center - width // 2, 0), columns - width)
        around = self._cells[max(start - 2, 0) : start + width + 2]
        if width > columns or any(cell != " " for cell in around):
            return False
        self._cells[start : start + width] = text
        return True

    def mark(self, sign: str, column: int) -> None:
        """Write a sign, whatever stands there."""
        self._cells[column] = sign

    def beside(self, text: str) -> None:
        """Write a text right of everything, or else left of it, or else nowhere."""
        used = [k for k, cell in enumerate(self._cells) if cell != " "]
        width = display_width(text)
        for start in (used[-1] + 2, used[0] - 2 - width):
            if start >= 0 and start + width <= len(self._cells):
                self._cells[start : start + width] = text
                return

    def __str__(self) -> str:
        return "".join(self._cells).rstrip()
