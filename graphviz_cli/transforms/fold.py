"""Folding: module calls as one node each, so that a picture of any graph can be read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import NONE, Graph, NodeKind, Role
from graphviz_cli.transforms.chunks import chunked, dissolved
from graphviz_cli.transforms.contraction import always_visible, contracted
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
        result = contracted(graph, closed)
        return self.original if result is graph and crowded else result

    def _read(self, graph: Graph) -> None:
        """Count the boxes, or the lines, that there are in each call when it is opened."""
        self.graph = graph
        self.outline = Outline(graph)
        items = self.outline.items
        quiet = self.outline.quiet
        self.sizes = array("i", [len(own) + len(bare) for own, bare in zip(items, quiet)])
        for scope in _leaf_scopes(graph, self.outline.parents, lines=self.lines):
            self.sizes[scope] += 1
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
        """The calls to open; `known` is the number of calls that are no stretches of ops."""
        opened: set[int] = set()
        size = self.sizes[NONE]
        for one_by_one in (False, True):
            level = [~item for item in self.outline.items[NONE] if item < 0]
            while level:
                for calls in self._groups(level, opened, known):
                    cost = sum(map(self._cost, calls))
                    if size + cost <= self.budget:
                        opened.update(calls)
                        size += cost
                    elif one_by_one and calls[0] < known:
                        for call in calls:
                            cost = self._cost(call)
                            if size * _SPARSE < self.budget and size + cost <= self.budget:
                                opened.add(call)
                                size += cost
                inner = (self.outline.items[call] for call in level if call in opened)
                level = [~item for items in inner for item in items if item < 0]
        return opened

    def _groups(self, level: Sequence[int], opened: set[int], known: int) -> list[list[int]]:
        """The closed calls of a level in groups that are alike, the heaviest group first.

        Calls that nothing is gained by closing come first, one by one.
        """
        free: list[list[int]] = []
        groups: dict[tuple[str, bool], list[int]] = {}
        for call in level:
            if call not in opened:
                if self._cost(call) <= 0:
                    free.append([call])
                else:
                    kind = self.graph.modules[call].type, call >= known
                    groups.setdefault(kind, []).append(call)
        heaviest = sorted(
            groups.values(), key=lambda calls: -sum(map(self.weights.__getitem__, calls))
        )
        return free + heaviest


def _leaf_scopes(graph: Graph, parents: Sequence[int], *, lines: bool) -> Iterator[int]:
    """For every leaf the innermost call that it and its readers are in: open, it shows the leaf.

    Only for leaves that are boxes of their own, not for a parameter that is a chip in the box of
    the op that reads it, nor for one that nothing reads; in an outline every leaf is a line.
    """
    nodes, edges = graph.nodes, graph.edges
    leaves = {leaf for kind in (NodeKind.LEAF, NodeKind.CONSTANT) for leaf in nodes.ids(kind)}
    readers: dict[int, list[int]] = {leaf: [] for leaf in sorted(leaves)}
    for source, target in zip(edges.sources, edges.targets):
        if target in leaves:
            readers[target].append(nodes.modules[source])
    depths = _depths(parents)
    visible = always_visible(graph)
    for leaf, calls in readers.items():
        is_chip = len(calls) == 1 and nodes.roles[leaf] in (Role.PARAMETER, Role.BUFFER)
        if not lines and (is_chip or not calls):
            continue
        home = nodes.modules[leaf]
        scope = calls[0] if calls else home
        for call in {*calls, home} if home != NONE else {*calls}:
            scope = _common(scope, call, parents, depths)
        yield NONE if leaf in visible else scope


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
