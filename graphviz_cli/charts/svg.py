"""The curves of a run as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.charts.findings import findings
from graphviz_cli.charts.heading import facts_of, title_of
from graphviz_cli.charts.heatmap import NAME, HeatMap, draw_heat_map, heat_map
from graphviz_cli.charts.leaves import leaf_norms
from graphviz_cli.charts.panels import curves, resources, shown_roots
from graphviz_cli.charts.picture import (
    FOOT,
    PLOT,
    TITLE,
    Across,
    draw_panel,
    hover,
    number,
    text,
)
from graphviz_cli.charts.style import ChartStyle, picture_rules
from graphviz_cli.charts.turns import changed_at
from graphviz_cli.drawing.format import shortened, visible
from graphviz_cli.graph.finding import Severity
from graphviz_cli.graph.history import History

_WIDTH = 960
_MARGIN = 16.0
_LEFT = 72.0
_LETTER = 5.4
_LINE = 16.0
_HEAD, _GAP = 58.0, 4.0
"""Where the panels begin, below a heading and without one."""
_LONGEST = 165
"""Letters that there is room for in a line of the heading."""
_MOST_FINDINGS = 4


@dataclass(frozen=True, slots=True)
class Svg:
    """The curves of loss, gradients, memory, ops and time as a picture, one below the other.

    It is light or dark as the viewer is, and shows numbers where the pointer rests. Long runs are
    thinned to the smallest and the largest value of every stretch.
    """

    suffix: ClassVar[str] = ".svg"
    binary: ClassVar[bool] = False

    def chart(self, history: History, style: ChartStyle) -> bytes:
        """UTF-8; what is no ASCII as character references if the style asks for it."""
        picture = draw_picture(history, picture_rules())
        document = f'<?xml version="1.0" encoding="UTF-8"?>\n{picture}\n'
        return document.encode("ascii" if style.ascii else "utf-8", "xmlcharrefreplace")


def across_of(history: History) -> Across:
    """The horizontal axis of the picture of a history with steps."""
    names = [visible(name) for structure in history.structures for name in structure.leaves]
    longest = min(max(map(len, names), default=0), NAME)
    left = max(_LEFT, longest * _LETTER + _MARGIN + 6)
    first, last = history.steps[0].number, history.steps[-1].number
    return Across(first, last, history.every, left, _WIDTH - left - _MARGIN)


def draw_picture(history: History, rules: str | None = None) -> str:
    """The SVG element: with its own `<style>` and heading if it is given rules, or bare."""
    parts = [] if rules is None else list(_heading(history))
    y = _GAP if rules is None else _HEAD + _LINE * (len(parts) - 2)
    if history.steps:
        for panel, tall in _panels(history, y):
            parts += panel
            y += tall
    else:
        parts.append(text("No backward call was measured.", _MARGIN, y + _LINE, "dim"))
        y += _LINE
    _, rest = shown_roots(history)
    if rest:
        parts.append(text(rest, _MARGIN, y + 8, "dim"))
        y += _LINE
    height = number(y + _MARGIN)
    style = f"<style>{rules}</style>" if rules else ""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" width="{_WIDTH}" '
            f'height="{height}" viewBox="0 0 {_WIDTH} {height}">',
            f"{hover(title_of(history))}{style}",
            f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
            *parts,
            "</svg>",
        )
    )


def _heading(history: History) -> Iterator[str]:
    """The title, the facts, and what is wrong, a line each."""
    yield text(shortened(title_of(history), 90), _MARGIN, 26, "head")
    yield text(shortened(" · ".join(facts_of(history)), _LONGEST), _MARGIN, 43, "dim")
    bad = [finding for finding in findings(history) if finding.severity is not Severity.NOTE]
    for k, finding in enumerate(bad[:_MOST_FINDINGS]):
        line = shortened(visible(f"{finding.severity}: {finding.message}"), _LONGEST)
        yield text(line, _MARGIN, _HEAD + _LINE * k, "bad")


def _panels(history: History, top: float) -> Iterator[tuple[list[str], float]]:
    """The SVG of each panel and its height."""
    across = across_of(history)
    leaves = leaf_norms(history)
    heat = heat_map(history, leaves, across.slots) if leaves else None
    for panel in (*curves(history), heat, *resources(history)):
        if isinstance(panel, HeatMap):
            parts, height = draw_heat_map(panel, across, top), float(panel.height)
        elif panel is not None:
            changes = changed_at(history, panel.root)
            parts, height = draw_panel(panel, across, top, changes), TITLE + PLOT + FOOT
        else:
            continue
        yield list(parts), height
        top += height
