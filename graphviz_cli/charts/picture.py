"""Panels as SVG: axes, lines, marks; what the picture and the page share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from graphviz_cli.charts.axis import Scale, round_values, texts_of
from graphviz_cli.charts.panels import Panel
from graphviz_cli.charts.series import Series, not_finite, pieces, thinned, value_text
from graphviz_cli.charts.style import INKS
from graphviz_cli.drawing.format import display_width, measure_text, shortened, visible

PLOT = 110
"""Height of a panel's plot."""
TITLE = 20
FOOT = 30
"""Room above a plot for its title, and below it for the numbers of the steps."""
_BUCKETS = 400
"""A line is thinned to twice as many points."""
_DOTTED = 60
"""Up to so many points are marked one by one."""
_PAD = 6.0
_NUMBERS = 16.0
"""Room for the numbers of the steps at which the graph changed."""
_MARK = 5.0
_LETTER, _TITLE_LETTER = 5.6, 7.4
"""About the width of a letter, for what stands beside a text."""
_MOST_RUNS = 3
MOST_CHANGES = 40
"""More changes of the graph are shown as ticks in the panel of the ops only."""


@dataclass(frozen=True, slots=True)
class Across:
    """The horizontal axis that all panels share: each measured step has a slot of equal width."""

    first: int
    last: int
    every: int
    left: float
    width: float

    @property
    def slots(self) -> int:
        """How many measured steps there may be."""
        return (self.last - self.first) // self.every + 1

    @property
    def right(self) -> float:
        """Where the plots end."""
        return self.left + self.width

    def x(self, number: float) -> float:
        """The middle of a step's slot."""
        share = (number - self.first + self.every / 2) / (self.slots * self.every)
        return self.left + share * self.width

    def start(self, number: int) -> float:
        """Where a step's slot begins."""
        return self.x(number - self.every / 2)


def text(words: str, x: float, y: float, kind: str = "") -> str:
    """A text at a place; `kind` is its CSS classes."""
    classes = f' class="{kind}"' if kind else ""
    return f'<text x="{number(x)}" y="{number(y)}"{classes}>{escape(visible(words))}</text>'


def number(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


def hover(words: str) -> str:
    """What is shown where the pointer rests on a part."""
    return f"<title>{escape(visible(words))}</title>"


def draw_panel(panel: Panel, across: Across, top: float, changes: Sequence[int]) -> Iterator[str]:
    """The SVG of a panel whose title begins at `top`: `TITLE + PLOT + FOOT` high."""
    plot = top + TITLE
    scale = panel.scale
    room = _NUMBERS if panel.is_stepped and changes else _PAD
    area = None if scale is None else _Area(scale, across, plot + room, plot + PLOT - _PAD)
    yield f'<g class="panel"><rect class="frame" x="{number(across.left)}" y="{number(plot)}" '
    yield f'width="{number(across.width)}" height="{PLOT}" rx="4"/>'
    yield from _head(panel, across, top + 13, scale)
    if area is not None:
        yield from _rows(area, panel.unit)
    yield from steps_axis(across, plot + PLOT)
    yield from _changes(changes, across, plot, is_told=panel.is_stepped)
    # The first on top: where another agrees with it there is nothing to tell.
    for series, ink in reversed([*zip(panel.series, INKS)]):
        if area is not None:
            yield from _line(panel, series, ink, area)
        yield from _not_finite(series, across, plot)
    yield "</g>"


def steps_axis(across: Across, y: float) -> Iterator[str]:
    """The numbers of steps below a plot that ends at `y`."""
    for value in round_values(across.first, across.last, 10, whole=True):
        x = number(across.x(value))
        yield f'<path class="grid" d="M{x},{number(y)}v4"/>'
        label = f"{value:,.0f}"
        is_last = float(x) + len(label) * _LETTER / 2 > across.right
        place, anchor = (across.right, "end") if is_last else (float(x), "middle")
        yield text(label, place, y + 14, f"dim {anchor}")


def _head(panel: Panel, across: Across, y: float, scale: Scale | None) -> Iterator[str]:
    """The title, what the lines are, and the least, the largest and the last value."""
    title = shortened(visible(panel.title), 60)
    yield text(title, across.left, y, "title")
    x = across.left + display_width(title) * _TITLE_LETTER + 12
    is_told = len(panel.series) > 1 or panel.unit == "s"
    for series, ink in zip(panel.series, INKS) if is_told else ():
        label = shortened(visible(series.label), 30)
        thin = " thin" if series is not panel.series[0] and not panel.unit else ""
        yield f'<path class="line {ink}{thin}" d="M{number(x)},{number(y - 3.5)}h16"/>'
        yield text(label, x + 20, y, "dim")
        x += 20 + display_width(label) * _LETTER + 14
    facts = ["log axis"] if scale is not None and scale.is_log else []
    first = panel.series[0]
    finite = first.finite()
    if len(panel.series) == 1 or not panel.unit:
        if finite and min(finite) < max(finite):
            facts += [f"min {_shown(min(finite), panel)}", f"max {_shown(max(finite), panel)}"]
        facts += [f"last {_shown(value, panel)}" for value in first.values[-1:]]
    yield text(" · ".join(facts), across.right, y, "dim end")


def _shown(value: float, panel: Panel) -> str:
    if panel.unit == "ops":
        return f"{value:,.0f}"
    return measure_text(value, panel.unit) if math.isfinite(value) else value_text(value)


def _rows(area: _Area, unit: str) -> Iterator[str]:
    ticks = area.scale.ticks(4)
    left, right = area.across.left, area.across.right
    for tick, label in zip(ticks, texts_of(ticks, unit)):
        y = area.y(tick)
        yield f'<path class="grid" d="M{number(left)},{number(y)}H{number(right)}"/>'
        yield text(label, left - 6, y + 3.5, "dim end")


@dataclass(frozen=True, slots=True)
class _Area:
    """Where values are drawn."""

    scale: Scale
    across: Across
    top: float
    bottom: float

    def y(self, value: float) -> float:
        return self.bottom - self.scale.share(value) * (self.bottom - self.top)

    def place(self, step: int, value: float) -> tuple[float, float]:
        return self.across.x(step), self.y(value)


def _line(panel: Panel, series: Series, ink: str, area: _Area) -> Iterator[str]:
    is_few = len(series.numbers) <= _DOTTED
    parts = []
    for piece in pieces(thinned(series, _BUCKETS)):
        places = [area.place(*pair) for pair in zip(piece.numbers, piece.values)]
        (x, y), *rest = places
        parts.append(f"M{number(x)},{number(y)}")
        if not rest:
            # A line without length is not drawn.
            parts.append("h.1")
        elif panel.is_stepped and len(series.numbers) <= 2 * _BUCKETS:
            parts += [f"H{number(x)}V{number(y)}" for x, y in rest]
        else:
            parts.append("L" + " ".join(f"{number(x)},{number(y)}" for x, y in rest))
    finite = series.finite()
    if not finite:
        return
    thin = " thin" if series is not panel.series[0] and not panel.unit else ""
    span = f"{_shown(min(finite), panel)} to {_shown(max(finite), panel)}"
    label = f"{panel.title}, {series.label}" if series.label else panel.title
    yield f'<path class="line {ink}{thin}" d="{"".join(parts)}">'
    yield f"{hover(f'{label}: {span}')}</path>"
    for step, value in zip(series.numbers, series.values) if is_few else ():
        if math.isfinite(value):
            x, y = area.place(step, value)
            yield f'<circle class="dot {ink}" cx="{number(x)}" cy="{number(y)}" r="2.2">'
            yield f"{hover(f'step {step:,}: {_shown(value, panel)}')}</circle>"


def _not_finite(series: Series, across: Across, plot: float) -> Iterator[str]:
    """A red mark where a value is NaN or infinite: on top for infinity, else at the bottom."""
    reach = max(across.every, (across.last - across.first) // _BUCKETS)
    for k, run in enumerate(not_finite(series, reach)):
        x = across.start(run.first)
        width = max(across.start(run.last + across.every) - x, 2)
        y = plot + 1 if run.kind == "inf" else plot + PLOT - _MARK - 1
        where = f"step {run.first:,}" if run.count == 1 else f"steps {run.first:,} to {run.last:,}"
        yield f'<rect class="bad" x="{number(x)}" y="{number(y)}" width="{number(width)}" '
        yield f'height="{number(_MARK)}">{hover(f"{run.kind} at {where}")}</rect>'
        if k < _MOST_RUNS:
            above = y + 14 if run.kind == "inf" else y - 3
            is_right = x > across.right - 80
            kind = "bad end" if is_right else "bad"
            yield text(f"{run.kind} at {where}", x + width if is_right else x, above, kind)


def _changes(
    changes: Sequence[int], across: Across, plot: float, *, is_told: bool
) -> Iterator[str]:
    """Where the graph changed; in the panel that tells it with the numbers of the steps."""
    if len(changes) > MOST_CHANGES:
        if is_told:
            places = dict.fromkeys(number(across.start(step)) for step in changes)
            ticks = "".join(f"M{x},{number(plot + PLOT)}v-6" for x in places)
            yield f'<path class="change" d="{ticks}">{hover(f"{len(changes):,} changes")}</path>'
        return
    free = across.left
    for step in changes:
        x = across.start(step)
        yield f'<path class="change" d="M{number(x)},{number(plot)}v{PLOT}">'
        yield f"{hover(f'step {step:,}: the graph changed')}</path>"
        label = f"{step:,}"
        if is_told and x >= free and x + 4 + len(label) * _LETTER < across.right:
            yield text(label, x + 3, plot + 11, "dim")
            free = x + 6 + len(label) * _LETTER
