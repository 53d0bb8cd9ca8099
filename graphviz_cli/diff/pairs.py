"""What differs between two nodes that are the same one in two graphs."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from graphviz_cli.diff.matching import TENSORS, Matching, home
from graphviz_cli.graph.model import NONE, EdgeTable, Graph, NodeKind, TensorSpec
from graphviz_cli.graph.traversal import Adjacency


class What(StrEnum):
    """In what two nodes can differ."""

    SHAPE = "shape"
    DTYPE = "dtype"
    DEVICE = "device"
    MODULE = "module"
    WIRING = "wiring"
    """It takes something else, or gives something else a gradient."""


@dataclass(frozen=True, slots=True)
class Rewiring:
    """Which inputs of an op of both graphs are not what they were.

    Ops that only one of the graphs has are not among them: that they came or went says it all.
    """

    lost: tuple[int, ...] = ()
    """Nodes of the old graph."""
    gained: tuple[int, ...] = ()
    """Nodes of the new graph."""
    is_reordered: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A node of both graphs that is not what it was."""

    old: int
    new: int
    what: frozenset[What]
    rewiring: Rewiring | None = None


class _Wiring:
    """The inputs of the ops that two graphs have in common."""

    def __init__(self, old: Graph, new: Graph, matching: Matching) -> None:
        self._old_of = matching.old_of
        self._count = len(new.nodes)
        # Every target under one number in both graphs: that of the new one; for leaves of the old
        # one alone a number beyond; NONE for ops of one graph alone.
        leaf = NodeKind.LEAF
        ours = array("i", matching.new_of)
        theirs = array("i", (NONE if one == NONE else n for n, one in enumerate(self._old_of)))
        for node in old.nodes.ids(leaf):
            if ours[node] == NONE:
                ours[node] = self._count + node
        for node in new.nodes.ids(leaf):
            theirs[node] = node
        self._old = old.edges, array("i", map(ours.__getitem__, old.edges.targets))
        self._new = new.edges, array("i", map(theirs.__getitem__, new.edges.targets))
        self._offsets = Adjacency(old).offsets, Adjacency(new).offsets

    def difference(self, one: int, other: int) -> Rewiring | None:
        """What the second of two partners takes that the first did not, and the reverse."""
        was = _inputs(*self._old, *self._offsets[0][one : one + 2])
        now = _inputs(*self._new, *self._offsets[1][other : other + 2])
        if was == now:
            return None
        before = Counter((target, nr) for _, target, nr in was if target != NONE)
        after = Counter((target, nr) for _, target, nr in now if target != NONE)
        is_replaced, is_new = len(was) > before.total(), len(now) > after.total()
        lost = () if is_new else tuple(self._in_old(n) for n, _ in (before - after).elements())
        gained = () if is_replaced else tuple(n for n, _ in (after - before).elements())
        is_reordered = before == after and not (is_replaced or is_new)
        return Rewiring(lost, gained, is_reordered) if lost or gained or is_reordered else None

    def _in_old(self, target: int) -> int:
        return self._old_of[target] if target < self._count else target - self._count


def _inputs(
    edges: EdgeTable, targets: Sequence[int], start: int, end: int
) -> list[tuple[int, int, int]]:
    """Number of the input, where it comes from, and number of the output there."""
    rows = slice(start, end)
    return sorted(zip(edges.input_nrs[rows], targets[rows], edges.output_nrs[rows]))


def compared(old: Graph, new: Graph, matching: Matching) -> Iterator[Change]:
    """The pairs that differ, in the order of the new graph's ids."""
    wiring = _Wiring(old, new, matching)
    for other, one in enumerate(matching.old_of):
        if one == NONE:
            continue
        what = _different_specs(old.nodes.outputs[one], new.nodes.outputs[other])
        rewiring = None
        if old.nodes.kinds[one] not in TENSORS:
            if home(old, one) != home(new, other):
                what.add(What.MODULE)
            # Ops that were paired by number have one another's inputs.
            rewiring = None if matching.is_counted else wiring.difference(one, other)
            if rewiring is not None:
                what.add(What.WIRING)
        if what:
            yield Change(one, other, frozenset(what), rewiring)


def _different_specs(ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec]) -> set[What]:
    what: set[What] = set()
    if ours == theirs:
        return what
    for one, other in zip_longest(ours, theirs):
        if one is None or other is None or one.shape != other.shape:
            what.add(What.SHAPE)
        if one is not None and other is not None:
            if one.dtype != other.dtype:
                what.add(What.DTYPE)
            if one.device != other.device:
                what.add(What.DEVICE)
    return what
