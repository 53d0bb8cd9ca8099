"""A colour for a value: the cividis map, which colour-blind readers and grey print keep apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphviz_cli import registry
from graphviz_cli.drawing.diagram import Key, Tint
from graphviz_cli.drawing.format import measure_text
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Graph, held_bytes

SAVED = "saved"
"""Colours by the bytes that each op keeps, which every graph knows."""

_MEASURED = frozenset(("gradient", "backward-time", "time"))
_SHORT = {"time": ("backward-time", "forward-time"), "memory": ("saved-bytes", SAVED)}
"""Words for the first of several annotations that a graph has."""

# Nuñez, Anderton, Renslow: Optimizing colormaps with consideration for color vision deficiency
# (PLoS ONE, 2018), in ten steps.
CIVIDIS = (
    "#00204C", "#00336F", "#39486B", "#575C6D", "#707173",
    "#8A8779", "#A69D75", "#C4B56C", "#E4CF5B", "#FFEA46",
)  # fmt: skip
_FIRST_BRIGHT = 5

NOT_FINITE = Tint("#C5003E", "#FFFFFF")


@dataclass(frozen=True, slots=True)
class Heat:
    """The values of one annotation and the scale that turns them into colours.

    Bytes are coloured by their square root, other values by their logarithm where all of them are
    positive; what is not finite has a colour of its own.
    """

    name: str
    unit: str
    values: Mapping[int, float]
    low: float
    high: float

    def tint(self, node: int) -> Tint | None:
        """The colour of a node; None where it has no value."""
        value = self.values.get(node)
        return None if value is None else self._tint(value)

    def text(self, node: int) -> str | None:
        """The value of a node with its name and unit; None where it has none."""
        value = self.values.get(node)
        return None if value is None else f"{self.name} {self._text(value)}"

    def legend(self) -> tuple[Key, ...]:
        """Four steps of the scale; one where all values are equal."""
        keys = []
        if self.low < self.high:
            to_scale, from_scale = self._scale()
            low, high = to_scale(self.low), to_scale(self.high)
            steps = [from_scale(low + (high - low) * k / 3) for k in (1, 2)]
            keys = [Key(self._tint(v), self._text(v)) for v in (self.low, *steps, self.high)]
        elif self.low == self.high:
            keys = [Key(self._tint(self.low), self._text(self.low))]
        if any(not math.isfinite(value) for value in self.values.values()):
            keys.append(Key(NOT_FINITE, "not finite"))
        return tuple(Key(key.sign, f"{self.name} {key.text}") for key in keys)

    def _text(self, value: float) -> str:
        return measure_text(value, self.unit)

    def _scale(self) -> tuple[Callable[[float], float], Callable[[float], float]]:
        if self.unit == "bytes" and self.low >= 0:
            return math.sqrt, lambda x: x * x
        if self.low > 0:
            return math.log, math.exp
        return float, float

    def _tint(self, value: float) -> Tint:
        if not math.isfinite(value):
            return NOT_FINITE
        to_scale, _ = self._scale()
        low, high = to_scale(self.low), to_scale(self.high)
        share = (to_scale(value) - low) / (high - low) if high > low else 1.0
        step = min(len(CIVIDIS) - 1, max(0, round(share * (len(CIVIDIS) - 1))))
        return Tint(CIVIDIS[step], "#111111" if step >= _FIRST_BRIGHT else "#FFFFFF")


def how_measured(graph: Graph, name: str) -> str:
    """Why a graph lacks a fact, as a sentence with a space before it; empty if nothing is known.

    The option that measures it, or that it was measured and is left out.
    """
    fact, _, rare = name.rpartition("-")
    if rare in ("nan", "inf") and fact in graph.annotations:
        return f" {name} is 0 everywhere."
    if name in _MEASURED:
        return " --backward measures it."
    probes = [probe for probe in registry.BUILT_IN["probes"] if f"{name}-".startswith(f"{probe}-")]
    return f" --probe {max(probes, key=len)} measures it." if probes else ""


def heat_of(graph: Graph, name: str) -> Heat:
    """The heat of an annotation, or of the bytes that ops keep (`saved`).

    Raises UsageError where the graph has no numbers of that name.
    """
    values: dict[int, float]
    if name in _SHORT:
        named = (known for known in _SHORT[name] if known in graph.annotations or known == SAVED)
        name = next(named, name)
    if name in graph.annotations:
        annotation, unit = graph.annotations[name], graph.annotations[name].unit
        values = {
            node: float(value)
            for node, value in annotation.values.items()
            if isinstance(value, (int, float))
        }
    elif name == SAVED:
        unit = "bytes"
        held = ((node, held_bytes(graph, (node,))) for node in range(len(graph.nodes)))
        values = {node: float(count) for node, count in held if count}
    else:
        values, unit = {}, ""
    if not values:
        hint = f"Known: {', '.join(dict.fromkeys([SAVED, *graph.annotations]))}."
        raise UsageError(
            f"The graph has no values named {name!r} to colour by.",
            hint=hint + how_measured(graph, name),
        )
    finite = [value for value in values.values() if math.isfinite(value)]
    return Heat(name, unit, values, min(finite, default=0.0), max(finite, default=0.0))
