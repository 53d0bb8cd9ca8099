"""The gradient norms of all leaves over the steps, a row each, in the house's heat colours."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from graphviz_cli.charts.axis import Scale, scale_of
from graphviz_cli.charts.leaves import LeafNorms
from graphviz_cli.charts.picture import FOOT, TITLE, Across, hover, number, steps_axis, text
from graphviz_cli.charts.series import value_text
from graphviz_cli.drawing.format import counted, number_text, shortened, visible
from graphviz_cli.drawing.heat import CIVIDIS, NOT_FINITE
from graphviz_cli.graph.history import ABSENT, History

NAME = 28
"""Letters of a leaf's name that there is room for."""
_MOST_ROWS = 200
_MOST_CELLS = 12_000
_MOST_COLUMNS = 436
_HEIGHT = 600
_LOWEST, _HIGHEST = 3, 16
"""Height of a row in pixels."""
_LETTER = 5.2
"""About the width of a letter in the legend."""
_KEY = 12
_LABEL = 11
"""Height of a row's name."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Norms in a grid: a row for each leaf or for several in a row, a column for some steps.

    A cell is the largest norm of its steps and leaves, NaN or infinite if one of them is, and None
    where there was no gradient.
    """

    names: Sequence[str]
    cells: Sequence[Sequence[float | None]]
    together: int
    """So many leaves share a row."""

    @property
    def row(self) -> int:
        """The height of a row."""
        return max(_LOWEST, min(_HIGHEST, _HEIGHT // len(self.names)))

    @property
    def height(self) -> int:
        """That of the whole panel."""
        return TITLE + self.row * len(self.names) + FOOT


def heat_map(history: History, leaves: Sequence[LeafNorms], slots: int) -> HeatMap:
    """Gather the norms of leaves in as many cells as can be seen."""
    together = -(-len(leaves) // _MOST_ROWS)
    groups = [leaves[k : k + together] for k in range(0, len(leaves), together)]
    columns = min(slots, _MOST_COLUMNS, max(_MOST_CELLS // len(groups), 1))
    first = history.steps[0].number
    # The first step of each column, and of none.
    starts = [first - (-slots * c // columns) * history.every for c in range(columns + 1)]
    names, cells = [], []
    for group in groups:
        more = f" and {len(group) - 1:,} more" if len(group) > 1 else ""
        names.append((visible(group[0].name) or "(no name)") + more)
        rows = [_row(history, leaf, starts) for leaf in group]
        cells.append(
            [_largest([cell for cell in column if cell is not None]) for column in zip(*rows)]
        )
    return HeatMap(names, cells, together)


def _row(history: History, leaf: LeafNorms, starts: Sequence[int]) -> list[float | None]:
    steps, positions = history.steps, leaf.positions
    bounds = [
        bisect_left(positions, s, key=lambda position: steps[position].number) for s in starts
    ]
    return [
        _largest([norm for norm in leaf.norms[a:b] if norm != ABSENT]) for a, b in pairwise(bounds)
    ]


def _largest(norms: list[float]) -> float | None:
    """The largest, or one that is not finite."""
    if not norms:
        return None
    return next((norm for norm in norms if not math.isfinite(norm)), max(norms))


def draw_heat_map(heat: HeatMap, across: Across, top: float) -> Iterator[str]:
    """The SVG of the panel, `heat.height` high."""
    plot, height = top + TITLE, heat.row * len(heat.names)
    known = [cell for row in heat.cells for cell in row if cell is not None]
    positive = [cell for cell in known if math.isfinite(cell) and cell > 0]
    scale = scale_of(positive)
    title = "gradient norm of each leaf"
    if heat.together > 1:
        title += f" (the largest of {counted(heat.together, 'leaf', 'leaves')} a row)"
    yield f'<g class="panel">{text(title, across.left, top + 13, "title")}'
    yield from _legend(known, scale, across, top + 13)
    columns = len(heat.cells[0])
    yield f'<g shape-rendering="crispEdges" fill="none" transform="translate({number(across.left)} '
    yield f'{number(plot + heat.row / 2)}) scale({across.width / columns:.6g} {heat.row})">'
    for color, runs in sorted(_runs(heat, scale).items()):
        paint = 'class="zero"' if color == _ZERO else f'stroke="{color}"'
        yield f'<path {paint} d="{"".join(runs)}"/>'
    yield "</g>"
    yield f'<rect class="frame outline" x="{number(across.left)}" y="{number(plot)}" '
    yield f'width="{number(across.width)}" height="{height}"/>'
    every = -(-_LABEL // heat.row)
    for k, name in enumerate(heat.names):
        y = plot + k * heat.row
        yield f'<rect class="hit" x="{number(across.left)}" y="{number(y)}" '
        yield f'width="{number(across.width)}" height="{heat.row}">'
        yield f"{hover(_told(name, heat.cells[k]))}</rect>"
        if k % every == 0:
            label = shortened(name, NAME)
            yield text(label, across.left - 6, y + heat.row / 2 + 3.5, "dim end")
    yield from steps_axis(across, plot + height)
    yield "</g>"


_ZERO = "zero"


def _runs(heat: HeatMap, scale: Scale | None) -> dict[str, list[str]]:
    """By colour, the cells in a row that have it, as parts of a path."""
    runs: dict[str, list[str]] = {}
    for y, row in enumerate(heat.cells):
        colors = [_color(cell, scale) for cell in row]
        start = 0
        for x in range(1, len(colors) + 1):
            if x == len(colors) or colors[x] != colors[start]:
                color = colors[start]
                if color is not None:
                    runs.setdefault(color, []).append(f"M{start},{y}h{x - start}")
                start = x
    return runs


def _color(cell: float | None, scale: Scale | None) -> str | None:
    if cell is None:
        return None
    if not math.isfinite(cell):
        return NOT_FINITE.fill
    if cell == 0 or scale is None:
        return _ZERO
    share = scale.share(cell) if scale.low < scale.high else 1.0
    return CIVIDIS[round(share * (len(CIVIDIS) - 1))]


def _told(name: str, row: Sequence[float | None]) -> str:
    known = [cell for cell in row if cell is not None]
    finite = [cell for cell in known if math.isfinite(cell)]
    if not known:
        return f"{name}: no gradient"
    span = f"{number_text(min(finite))} to {number_text(max(finite))}" if finite else "not finite"
    return f"{name}: {span}, last {value_text(known[-1])}"


def _legend(known: Sequence[float], scale: Scale | None, across: Across, y: float) -> Iterator[str]:
    """The colours from the least to the largest norm, right-aligned, and those of none of these."""
    x = across.right
    if scale is not None:
        colors = CIVIDIS if scale.low < scale.high else CIVIDIS[-1:]
        high, low = number_text(scale.high), number_text(scale.low) if len(colors) > 1 else ""
        yield text(high, x, y, "dim end")
        x -= len(high) * _LETTER + 4 + _KEY * len(colors)
        for k, color in enumerate(colors):
            yield _key(x + _KEY * k, y, f'fill="{color}"')
        low = f"log {low}" if scale.is_log else low
        yield text(low, x - 4, y, "dim end")
        x -= len(low) * _LETTER + 18
    extra = []
    if 0.0 in known:
        extra.append(("0", 'class="zero"'))
    if any(not math.isfinite(cell) for cell in known):
        extra.append(("NaN or inf", f'fill="{NOT_FINITE.fill}"'))
    for label, paint in extra:
        yield text(label, x, y, "dim end")
        x -= len(label) * _LETTER + 4 + _KEY
        yield _key(x, y, paint)
        x -= 12


def _key(x: float, y: float, paint: str) -> str:
    """A colour of the legend."""
    return f'<rect x="{number(x)}" y="{number(y - 9)}" width="{_KEY}" height="10" {paint}/>'
