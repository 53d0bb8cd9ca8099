"""How large a gradient is along its way, per element."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from graphviz_cli.checks.measured import GRADIENT, Arrival, Measured
from graphviz_cli.checks.naming import located
from graphviz_cli.drawing.format import number_text
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.traversal import Adjacency
from graphviz_cli.transforms.hide import is_view

_CAST = "ToCopyBackward"
_MUCH = math.log(10)


class Step(NamedTuple):
    """An op on the way, and by what factor it makes the gradient larger."""

    op: int
    factor: float


class Flow:
    """Root mean squares of the gradients of one graph.

    The norm of a gradient grows with the number of its elements; divided by the square root of that
    number it tells how large they are, whatever the shape.
    """

    def __init__(self, graph: Graph) -> None:
        self.measured = Measured(graph, GRADIENT)
        self._graph = graph
        self._adjacency = Adjacency(graph)

    def size(self, node: int) -> float:
        """The root mean square of what a node received; 0 where nothing was measured."""
        return self._mean(float(self.measured.norms.get(node, 0.0)), node)

    def arrivals(self, leaf: int) -> list[Arrival]:
        """What each use of a leaf adds to its gradient, in the order of the forward pass."""
        turns = self._graph.nodes.sequence_nrs
        found = self.measured.arriving(self._adjacency, leaf)
        return sorted(found, key=lambda arrival: turns[arrival.source])

    def users(self, leaf: int) -> set[int]:
        """The ops that compute with a leaf, views and casts of it passed over."""
        names = self._graph.nodes.names
        pending, users = [leaf], set[int]()
        for node in pending:  # grows while it is read
            for user in self._adjacency.predecessors_of(node):
                if is_view(names[user]) or names[user].startswith(_CAST):
                    pending.append(user)
                else:
                    users.add(user)
        return users

    def way(self, node: int, last: Arrival | None = None) -> list[Step]:
        """The ops from which a node's gradient comes, nearest first, always by the largest part.

        `last` is the part to begin with.
        """
        steps: list[Step] = []
        while True:
            if last is None:
                arrivals = self.measured.arriving(self._adjacency, node)
                last = max(arrivals, key=lambda a: (a.numbers.norm, -a.source), default=None)
            if last is None:
                return steps
            received, sent = self.size(last.source), self._mean(last.numbers.norm, node)
            steps.append(Step(last.source, sent / received if received else 1.0))
            node, last = last.source, None

    def told(self, steps: Sequence[Step], *, shrinks: bool) -> tuple[str, int]:
        """Which ops of a way change the gradient most, in words, and which one of them.

        Ops of one name count together; the second name is that which changes it most either way.
        """
        sign = -1.0 if shrinks else 1.0
        names = self._graph.nodes.names
        groups: dict[str, list[tuple[float, int]]] = {}
        for op, factor in steps:
            groups.setdefault(names[op], []).append((math.log(factor) if factor > 0 else 0.0, op))
        totals = {name: sum(change for change, _ in rows) for name, rows in groups.items()}
        first = max(totals, key=lambda name: sign * totals[name])
        shown = [first, *sorted(totals.keys() - {first}, key=lambda name: -abs(totals[name]))[:1]]
        parts = []
        for name in shown:
            if name == first or abs(totals[name]) >= _MUCH:
                count = f"{len(groups[name]):,} " if len(groups[name]) > 1 else ""
                total = number_text(math.exp(min(totals[name], 700.0)))
                parts.append(f"by {total} at {count}{name}")
        _, op = max(groups[first], key=lambda row: (sign * row[0], -row[1]))
        where = located(self._graph, op)
        most = f", most of all at {where}" if len(groups[first]) > 1 else f" ({where})"
        return f"it is multiplied {' and '.join(parts)}{most}", op

    def _mean(self, norm: float, node: int) -> float:
        numel = sum(spec.numel or 0 for spec in self._graph.nodes.outputs[node])
        return norm / math.sqrt(numel) if numel else 0.0


def apart(steps: Sequence[Step], others: Iterable[Step]) -> list[Step]:
    """The steps of a way that are no part of another one."""
    shared = {step.op for step in others}
    return [step for step in steps if step.op not in shared]
