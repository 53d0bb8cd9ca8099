"""What a chart of a run shows: one panel a kind of number, the same in text, picture and page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphviz_cli.charts.axis import Scale, scale_of
from graphviz_cli.charts.findings import changed_by_clipping
from graphviz_cli.charts.heading import root_text
from graphviz_cli.charts.series import Series, picked
from graphviz_cli.drawing.format import counted
from graphviz_cli.graph.history import History, Step

MOST_ROOTS = 3
"""Each has panels of its own; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Numbers that share an axis."""

    title: str
    unit: str
    """`ops`, `bytes`, `s`, or nothing."""
    series: tuple[Series, ...]
    root: str | None = None
    """What all its steps started from; None where they differ."""
    is_stepped: bool = False
    """Whether a value holds until the next."""

    @property
    def scale(self) -> Scale | None:
        """That of all series together; None if no value is finite."""
        values = (value for series in self.series for value in series.finite())
        return scale_of(values, is_amount=self.unit in ("bytes", "s"))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured of it."""
        return not any(series.numbers for series in self.series)


def shown_roots(history: History) -> tuple[tuple[str, ...], str]:
    """The roots that have panels, and how many have none in words."""
    roots = history.roots
    rest = len(roots) - MOST_ROOTS
    return roots[:MOST_ROOTS], f"{counted(rest, 'more root')} not shown" if rest > 0 else ""


def curves(history: History) -> list[Panel]:
    """The loss and the gradient norm, each for itself where there are several roots."""
    roots, _ = shown_roots(history)
    panels = []
    for root in roots:
        whose = f": {root_text(root)}" if len(history.roots) > 1 else ""
        name = root_text(root) if root and not whose else "loss"
        panels.append(Panel(f"{name}{whose}", "", (picked(history, "", _loss, root),), root))
    for root in roots:
        whose = f": {root_text(root)}" if len(history.roots) > 1 else ""
        norms = [picked(history, "after backward()", _gradient, root)]
        if any(changed_by_clipping(step) for step in history.steps if step.root == root):
            norms.append(picked(history, "at the optimizer's step", _clipped, root))
        panels.append(Panel(f"gradient norm{whose}", "", tuple(norms), root))
    return [panel for panel in panels if not panel.is_empty]


def resources(history: History) -> list[Panel]:
    """Bytes, ops and seconds per step."""

    def ops(step: Step) -> float:
        return history.structures[step.structure].ops

    times = (
        picked(history, "the program", lambda step: step.seconds),
        picked(history, "measuring", lambda step: step.own_seconds),
    )
    panels = [
        Panel("bytes held by the graph", "bytes", _by_root(history, lambda step: step.held)),
        Panel("ops in the graph", "ops", _by_root(history, ops), is_stepped=True),
        Panel("time per step", "s", tuple(series for series in times if series.numbers)),
    ]
    return [panel for panel in panels if not panel.is_empty]


def _by_root(history: History, measure: Callable[[Step], float]) -> tuple[Series, ...]:
    roots, _ = shown_roots(history)
    if len(history.roots) == 1:
        return (picked(history, "", measure),)
    return tuple(picked(history, root_text(root), measure, root) for root in roots)


def _loss(step: Step) -> float | None:
    return step.loss


def _gradient(step: Step) -> float | None:
    return step.gradient


def _clipped(step: Step) -> float | None:
    return step.clipped
