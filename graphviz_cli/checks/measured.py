"""Numbers that a probe left about tensors, at the nodes of a graph and along its edges."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphviz_cli.drawing.format import number_text
from graphviz_cli.graph.model import Annotation, Graph
from graphviz_cli.graph.traversal import Adjacency

GRADIENT = "gradient"
"""At a node what it receives, along an edge what its source sends."""

OUTPUT = "output"
"""At an op what it computed in the forward pass, at a leaf its own value."""

SAVED = "saved-range"
"""Annotation: least and largest element of each tensor that an op has saved, as text."""

_RANGE = re.compile(r"([^\s:]+): ([^\s,]+)(?: to ([^\s,]+))?(?=,|$)")

Range = tuple[float, float]


class Numbers(NamedTuple):
    """What is known of one tensor, or of all outputs of an op together.

    The last three are shares of its elements.
    """

    norm: float
    least: float
    largest: float
    zeros: float
    nans: float
    infinite: float

    @property
    def is_finite(self) -> bool:
        """No element is NaN or infinite; so it is of none at all."""
        # The norm of large finite numbers may be infinite, the extremes of no number are NaN.
        extremes = math.isfinite(self.least) and math.isfinite(self.largest)
        return math.isfinite(self.norm) or extremes

    @property
    def is_zero(self) -> bool:
        """Every element is exactly 0; so it is of none at all."""
        return self.zeros == 1 or (self.norm == 0 and math.isnan(self.least))

    @property
    def has_nan(self) -> bool:
        """Some element is NaN."""
        return not self.is_finite and (self.nans > 0 or math.isnan(self.least))

    @property
    def has_infinite(self) -> bool:
        """Some element is infinite."""
        return not self.is_finite and (self.infinite > 0 or math.inf in self.magnitudes)

    @property
    def magnitudes(self) -> tuple[float, float]:
        """The absolute values of the least and the largest element."""
        return abs(self.least), abs(self.largest)

    @property
    def span(self) -> str:
        """`0 to 1.41`, or the one number that all elements are."""
        return span(self.least, self.largest)

    @property
    def fault(self) -> str:
        """`NaN`, `inf`, `-inf`, or several of them."""
        if self.has_nan:  # the sign of what is infinite is not known then
            return "NaN and infinities" if self.infinite else "NaN"
        signs = [text for text, found in (("inf", self.largest), ("-inf", self.least))
                 if math.isinf(found) and number_text(found) == text]  # fmt: skip
        return " and ".join(signs)

    def faulty(self, numel: int | None) -> str:
        """The fault and how many of the elements have it: `NaN in 1 of 3 elements`."""
        share = self.nans + self.infinite
        if numel == 1 or not 0 < share < 1.001:
            return self.fault
        if numel is None:
            return f"{self.fault} in {share:.2g} of the elements"
        count = round(share * numel)
        return f"{self.fault} in {f'{count:,} of' if count < numel else 'all'} {numel:,} elements"


class Arrival(NamedTuple):
    """A gradient that flows into a node along one of its edges."""

    source: int
    input_nr: int
    output_nr: int
    numbers: Numbers


_FACTS = ("", "-min", "-max", "-zeros", "-nan", "-inf")


@dataclass(frozen=True, slots=True)
class Measured:
    """What one probe left: `GRADIENT` or `OUTPUT`."""

    graph: Graph
    name: str
    _facts: tuple[Annotation | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        known = self.graph.annotations
        object.__setattr__(self, "_facts", tuple(known.get(self.name + fact) for fact in _FACTS))

    def __bool__(self) -> bool:
        return self._facts[0] is not None

    @property
    def norms(self) -> Mapping[int, Any]:
        """The norm at each node that was measured."""
        return {} if self._facts[0] is None else self._facts[0].values

    def at(self, node: int) -> Numbers | None:
        """The numbers at a node; None where nothing was measured."""
        if node not in self.norms:
            return None
        return Numbers(*(0.0 if f is None else float(f.values.get(node, 0)) for f in self._facts))

    def along(self, source: int, input_nr: int) -> Numbers | None:
        """The numbers along an edge; None where nothing was measured."""
        rows = [() if fact is None else fact.inputs.get(source, ()) for fact in self._facts]
        if input_nr >= len(rows[0]) or rows[0][input_nr] is None:
            return None
        return Numbers(*(float(row[input_nr] or 0) if input_nr < len(row) else 0.0 for row in rows))

    def arriving(self, adjacency: Adjacency, node: int) -> Iterator[Arrival]:
        """What was sent to a node, along each edge that was measured."""
        edges, offsets = self.graph.edges, adjacency.predecessor_offsets
        for edge in adjacency.predecessor_edges[offsets[node] : offsets[node + 1]]:
            source, input_nr = edges.sources[edge], edges.input_nrs[edge]
            numbers = self.along(source, input_nr)
            if numbers is not None:
                yield Arrival(source, input_nr, edges.output_nrs[edge], numbers)

    def sends(self, node: int) -> bool:
        """Something was measured along an edge that leaves the node."""
        return self._facts[0] is not None and node in self._facts[0].inputs

    def is_finite(self, node: int) -> bool:
        """Nothing at a node is known to be NaN or infinite."""
        if math.isfinite(self.norms.get(node, 0.0)):
            return True
        numbers = self.at(node)
        return numbers is None or numbers.is_finite


def saved_text(graph: Graph, node: int) -> str:
    """`self: 0 to 2, result: 0 to 1.41`: what an op has saved; empty where it is not known."""
    annotation = graph.annotations.get(SAVED)
    return "" if annotation is None else str(annotation.values.get(node, ""))


def ranges(text: str) -> dict[str, Range]:
    """`self: 0 to 2, result: 1.41` as numbers by name."""
    found = {}
    for name, least, largest in _RANGE.findall(text):
        try:
            found[name] = float(least), float(largest or least)
        except ValueError:
            continue
    return found


def span(least: float, largest: float) -> str:
    """`0 to 1.41`, or the one number that all elements are."""
    texts = dict.fromkeys((number_text(least + 0.0), number_text(largest + 0.0)))  # no -0
    return " to ".join(texts)
