"""Folding: module calls as one node each, so that a picture of any graph can be read."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import NONE, Graph, NodeKind, Role
from graphviz_cli.transforms.chunks import chunked, dissolved
from graphviz_cli.transforms.contraction import contracted
from graphviz_cli.transforms.outline import Outline
from graphviz_cli.transforms.paths import matching_calls

_SPARSE = 4
"""Calls that are alike are opened together; with fewer boxes than a quarter of the budget, one by
one as well, for else the picture would say too little."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Draw module calls as one box each.

    `depth` is the number of levels that stay open; `auto` opens calls, level by level and largest
    first, while there are no more than about `budget` boxes, and gathers ops in a row where a call,
    or the program itself, has too many; `all` folds nothing. Calls whose path matches `fold` stay
    closed: `*` and `?` as in file names, `2..5` for numbers, alternatives separated by `|`. The
    budget can also be one of lines in an outline, where each leaf and each open call takes one.
    """

    depth: int | Literal["auto", "all"] = "auto"
    fold: str = ""
    budget: int = 200
    unit: Literal["boxes", "lines"] = "boxes"

    def apply(self, graph: Graph) -> Graph:
        """The graph with MODULE nodes, or the same one if there is nothing to fold.

        Raises UsageError for a depth below 0.
        """
        matching = matching_calls(graph.modules, self.fold) if self.fold else set()
        if isinstance(self.depth, int):
            if self.depth < 0:
                raise UsageError("The depth cannot be negative.", hint="Take 0, 1, 2, ... or auto.")
            parents = [NONE if call.parent is None else call.parent for call in graph.modules]
            depths = _depths(parents)[:-1]
            return contracted(
                graph, matching | {k for k, depth in enumerate(depths) if depth > self.depth}
            )
        if self.depth == "all":
            return contracted(graph, matching)
        return _Automatic(contracted(graph, matching), self).folded()


class _Automatic:
    """Opens calls until the picture is full."""

    def __init__(self, graph: Graph, options: Fold) -> None:
        self.original = graph
        self.budget = options.budget
        self.lines = options.unit == "lines"
        self._read(graph)

    def folded(self) -> Graph:
        """The graph with every call closed that could not be opened."""
        if self._complete() <= self.budget:
            return self.original
        crowded = [
            scope
            for scope in (NONE, *self.outline.calls())
            if self.sizes[scope] > (self.budget if scope == NONE else self.budget // 2)
        ]
        known = len(self.graph.modules)
        if crowded:
            self._read(chunked(self.outline, crowded, max(self.budget // 5, 2)))
        opened = self._opened(known)
        chunks = {call for call in opened if call >= known}
        graph = dissolved(self.graph, chunks) if chunks else self.graph
        closed = [call for call in self.outline.calls() if call not in opened]
        return contracted(graph, closed)

    def _read(self, graph: Graph) -> None:
        """Count the boxes, or the lines, that there are in each call when it is opened."""
        self.graph = graph
        self.outline = Outline(graph)
        items, parents = self.outline.items, self.outline.parents
        leaves = (
            [len(own) for own in self.outline.leaves] if self.lines else _leaf_boxes(graph, parents)
        )
        self.sizes = array("i", [len(own) + count for own, count in zip(items, leaves)])
        if self.lines:
            for node in graph.nodes.ids(NodeKind.MODULE):
                if graph.nodes.modules[node] != NONE:
                    self.sizes[graph.nodes.modules[node]] -= 1  # its headline is its only line
        self.weights = array("i", bytes(4 * len(graph.modules)))
        for call in reversed(self.outline.calls()):
            for item in items[call]:
                self.weights[call] += 1 if item >= 0 else self.weights[~item]

    def _cost(self, call: int) -> int:
        """What opening a call adds: its box goes, its line stays as a headline."""
        return self.sizes[call] - (not self.lines)

    def _complete(self) -> int:
        """The size of the picture when every call is open."""
        return self.sizes[NONE] + sum(map(self._cost, self.outline.calls()))

    def _opened(self, known: int) -> set[int]:
        """The calls to open, level by level; `known` is the number of calls that are no chunks."""
        opened: set[int] = set()
        size = self.sizes[NONE]
        level = [~item for item in self.outline.items[NONE] if item < 0]
        while level:
            groups: dict[tuple[str, bool], list[int]] = {}
            chosen: list[int] = []
            for call in level:
                if not self.weights[call]:
                    continue  # it has leaves only, which no gradient reaches
                if self._cost(call) <= 0:
                    chosen.append(call)
                    size += self._cost(call)
                else:
                    kind = self.graph.modules[call].type, call >= known
                    groups.setdefault(kind, []).append(call)
            for (_, is_chunk), calls in sorted(
                groups.items(), key=lambda group: -sum(self.weights[call] for call in group[1])
            ):
                cost = sum(map(self._cost, calls))
                if size + cost <= self.budget:
                    chosen += calls
                    size += cost
                elif not is_chunk:
                    for call in calls:
                        cost = self._cost(call)
                        if size * _SPARSE < self.budget and size + cost <= self.budget:
                            chosen.append(call)
                            size += cost
            opened.update(chosen)
            level = [~i for call in sorted(chosen) for i in self.outline.items[call] if i < 0]
        return opened


def _leaf_boxes(graph: Graph, parents: Sequence[int]) -> list[int]:
    """How many leaves are boxes of their own, by the innermost call that all who read them are in.

    The last one counts those outside all calls. A parameter that is read once is a chip in the box
    of the op that reads it.
    """
    nodes, edges = graph.nodes, graph.edges
    leaves = {leaf for kind in (NodeKind.LEAF, NodeKind.CONSTANT) for leaf in nodes.ids(kind)}
    readers: dict[int, list[int]] = {}
    for source, target in zip(edges.sources, edges.targets):
        if target in leaves:
            readers.setdefault(target, []).append(nodes.modules[source])
    depths = _depths(parents)
    found = [0] * (len(parents) + 1)
    for leaf, calls in readers.items():
        if nodes.roles[leaf] not in (Role.PARAMETER, Role.BUFFER):
            found[NONE] += 1
        elif len(calls) > 1:
            home = nodes.modules[leaf]
            scope = calls[0]
            for call in {*calls} | ({home} if home != NONE else set()):
                scope = _common(scope, call, parents, depths)
            found[scope] += 1
    return found


def _depths(parents: Sequence[int]) -> list[int]:
    """How many calls are around each call, itself included; 0 at the end, for NONE."""
    depths = [0] * (len(parents) + 1)
    for call in range(len(parents)):
        path = []
        while call != NONE and not depths[call]:
            path.append(call)
            call = parents[call]
        depth = depths[call]
        for inner in reversed(path):
            depth += 1
            depths[inner] = depth
    return depths


def _common(a: int, b: int, parents: Sequence[int], depths: Sequence[int]) -> int:
    """The innermost call that both are in."""
    while a != b:
        if depths[a] >= depths[b]:
            a = parents[a]
        else:
            b = parents[b]
    return a
