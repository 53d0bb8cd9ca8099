"""The gradient norms of every leaf over all steps."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from graphviz_cli.graph.history import ABSENT, History


@dataclass(frozen=True, slots=True)
class LeafNorms:
    """A leaf's norms: one for each step whose graph has it and whose gradients can be told."""

    name: str
    positions: array[int]
    """Which steps, as positions in `History.steps`."""
    norms: array[float]
    """`ABSENT` where it got no gradient."""

    @property
    def present(self) -> list[float]:
        """The norms of the gradients that there were."""
        return [norm for norm in self.norms if norm != ABSENT]


@dataclass(frozen=True, slots=True)
class LeafRow:
    """What a leaf's norms were over the steps; not finite ones are counted and not weighed."""

    name: str
    steps: int
    """In how many steps it had a gradient."""
    median: float | None
    """None without any finite norm."""
    low: float | None
    high: float | None
    last: float | None
    not_finite: int


def leaf_norms(history: History) -> list[LeafNorms]:
    """All leaves by first appearance; leaves of one name in one graph are told apart by order."""
    groups: dict[int, list[int]] = {}
    for position, step in enumerate(history.steps):
        if step.gradient is not None:
            groups.setdefault(step.structure, []).append(position)
    found: dict[tuple[str, int], list[tuple[array[int], array[float]]]] = {}
    for number, positions in groups.items():
        names = history.structures[number].leaves
        table = array("d")
        for position in positions:
            table.extend(history.steps[position].leaves)
        seen: dict[str, int] = {}
        for k, name in enumerate(names):
            nth = seen[name] = seen.get(name, -1) + 1
            part = (array("q", positions), table[k :: len(names)])
            found.setdefault((name, nth), []).append(part)
    return [LeafNorms(name, *_joined(parts)) for (name, _), parts in found.items()]


def _joined(parts: list[tuple[array[int], array[float]]]) -> tuple[array[int], array[float]]:
    """The columns of several graphs as one, in the order of the steps."""
    if len(parts) == 1:
        return parts[0]
    rows = sorted(row for positions, norms in parts for row in zip(positions, norms))
    return array("q", (row[0] for row in rows)), array("d", (row[1] for row in rows))


def leaf_rows(leaves: list[LeafNorms]) -> Iterator[LeafRow]:
    """Each leaf in numbers."""
    for leaf in leaves:
        present = leaf.present
        finite = list(filter(math.isfinite, present))
        yield LeafRow(
            leaf.name,
            len(present),
            median(finite) if finite else None,
            min(finite, default=None),
            max(finite, default=None),
            present[-1] if present else None,
            len(present) - len(finite),
        )
