"""The end of a graph that was walked: one node after the other, not one within the other.

A backward op that Python has looked at keeps its Python object as long as it lives (torch 2.13,
`c10/util/intrusive_ptr.h`). Torch frees a graph of 1,000,000 ops in a loop, but not where each op
has such an object: then each is freed within the freeing of the one before it, at 192 bytes of C
stack each (measured), and a chain of 43,000 ops overruns the usual 8 MB. The walk plants this, and
it would go off later, in the user's program.

So a walk of a large graph leaves a guard in the metadata of its first nodes. Torch lets go a
node's edges before its metadata, so when a guard dies its node has no hold on anything any more,
and the guard lets the rest go from the root on: a node is freed while all that it points to is
still held.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

DEEP = 4_000
"""Graphs of fewer nodes are left as they are: even as one chain they need less than 1 MB."""

_KEY = "graphviz_cli.teardown"


def guard(nodes: Sequence[Any], sources: array[int], targets: array[int]) -> None:
    """See to it that `nodes` can be freed without a deep stack, whoever lets them go last.

    `sources` and `targets` are the positions of the edges' ends, ascending by source.
    """
    if len(nodes) >= DEEP:
        _Teardown(list(nodes), sources, targets).begin()


class _Guard:
    """Dies with the node in whose metadata it stands."""

    __slots__ = ("_position", "_teardown")

    def __init__(self, teardown: _Teardown, position: int) -> None:
        self._teardown = teardown
        self._position = position

    def __del__(self) -> None:
        self._teardown.free_below(self._position)


class _Teardown:
    """Holds every node but the guarded ones, which hold it.

    That a guarded one were held as well would keep the whole graph forever.
    """

    __slots__ = ("_nodes", "_offsets", "_parents", "_sources", "_targets")

    # Module globals may be gone when the last graph dies with the interpreter.
    _key = _KEY
    _guard = _Guard
    _references = staticmethod(sys.getrefcount)

    def __init__(self, nodes: list[Any], sources: array[int], targets: array[int]) -> None:
        self._nodes = nodes
        self._sources = sources
        self._targets = targets
        self._offsets: array[int] | None = None
        self._parents: array[int] = array("i")

    def begin(self) -> None:
        """Put a guard into every node that no other points to."""
        reached = set(self._targets)
        for position in range(len(self._nodes)):
            if position not in reached:
                self._put(position)

    def free_below(self, position: int) -> None:
        """Let go what is left without a parent now that the node at `position` is gone.

        A node that somebody else holds (the user has a tensor from the middle of the graph) gets a
        guard of its own.
        """
        if self._offsets is None:
            self._count()
        offsets, targets, parents, nodes = self._offsets, self._targets, self._parents, self._nodes
        assert offsets is not None
        pending = [position]
        while pending:
            position = pending.pop()
            for target in targets[offsets[position] : offsets[position + 1]]:
                parents[target] -= 1
                if parents[target]:
                    continue
                node = nodes[target]
                # One reference is the list's, one the variable's, one the argument's.
                if self._references(node) > 3:
                    del node
                    self._put(target)
                else:
                    nodes[target] = None
                    del node
                    pending.append(target)

    def _put(self, position: int) -> None:
        guards = self._nodes[position].metadata.setdefault(self._key, [])
        guards.append(self._guard(self, position))
        self._nodes[position] = None

    def _count(self) -> None:
        """Count parents and children, which only the end needs."""
        children = array("i", bytes(4 * (len(self._nodes) + 1)))
        self._parents = array("i", bytes(4 * len(self._nodes)))
        for source, target in zip(self._sources, self._targets):
            children[source + 1] += 1
            self._parents[target] += 1
        self._offsets = array("i", accumulate(children))
