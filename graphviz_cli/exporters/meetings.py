"""Where the branches of a graph meet again, and so which op goes on with a chain of ops."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

from graphviz_cli.graph.model import NONE
from graphviz_cli.graph.traversal import Adjacency, immediate_dominators

_MOST_NESTED = 4
"""Forks that meet at the same op may lie within each other. Where that would go on and on (a value
that every step of a loop uses), the longest branch goes on with the chain instead."""


def following(ways: Adjacency, order: Sequence[int]) -> list[int]:
    """For each op the one that goes on with its chain; NONE where a way ends.

    `ways` must be acyclic, without repeated edges, and `order` have the ops before their
    successors.
    """
    count = len(ways)
    lengths = [0] * count
    is_private = bytearray(count)  # nothing but it leads to what comes after it
    for node in reversed(order):
        successors = ways.successors_of(node)
        lengths[node] = 1 + max(map(lengths.__getitem__, successors), default=0)
        entering = ways.predecessor_offsets[node + 1] - ways.predecessor_offsets[node]
        is_private[node] = entering <= 1 and all(map(is_private.__getitem__, successors))
    # A transposed weight is a way that ends by itself: where the others meet is what counts.
    sources, targets = array("i"), array("i")
    for node in range(count):
        successors = ways.successors_of(node)
        shared = [target for target in successors if not is_private[target]]
        for target in shared or successors:
            sources.append(node)
            targets.append(target)
    joining = Adjacency.of(count, sources, targets)
    longest = [NONE] * count
    for node in order:
        longest[node] = max(joining.successors_of(node), key=lengths.__getitem__, default=NONE)
    meetings = _meetings(joining, order, longest)
    meetings_of = Counter(meetings.values())
    after = longest
    for node, meeting in meetings.items():
        if meeting != NONE and meetings_of[meeting] <= _MOST_NESTED:
            after[node] = meeting
    return after


def _meetings(joining: Adjacency, order: Sequence[int], longest: Sequence[int]) -> dict[int, int]:
    """Where the branches of every fork meet again; NONE if they never do.

    That is the fork's immediate post-dominator. If there is none, because a value from elsewhere
    enters on the way (a position bias, the memory of an encoder), it is where the longest ways of
    the branches meet.
    """
    ends = [node for node in order if joining.offsets[node] == joining.offsets[node + 1]]
    dominators = immediate_dominators(joining.reversed(), ends)
    tree: WayTree | None = None
    meetings = {}
    for node in order:
        successors = joining.successors_of(node)
        if len(successors) < 2:
            continue
        meeting = dominators[node]
        if meeting < 0:
            tree = tree or WayTree(longest, order)
            meeting = successors[0]
            for successor in successors[1:]:
                meeting = tree.common(meeting, successor)
        meetings[node] = meeting
    return meetings


class WayTree:
    """A forest in which the first common node of two ways to its roots is found quickly.

    `parents` says for each node which one comes next, and `order` has the nodes before their
    parents. Every node knows one far above it besides its parent: Myers, An applicative
    random-access stack (1983). O(log n) for a question.
    """

    def __init__(self, parents: Sequence[int], order: Sequence[int]) -> None:
        self._parents = parents
        self._depths = depths = [0] * len(parents)
        self._jumps = jumps = [NONE] * len(parents)
        for node in reversed(order):
            parent = parents[node]
            if parent == NONE:
                jumps[node] = node
                continue
            depths[node] = depths[parent] + 1
            jump = jumps[parent]
            is_even = depths[parent] - depths[jump] == depths[jump] - depths[jumps[jump]]
            jumps[node] = jumps[jump] if is_even else parent

    def common(self, first: int, second: int) -> int:
        """The first node that is on the ways of both; NONE if there is none."""
        if NONE in (first, second):
            return NONE
        parents, depths, jumps = self._parents, self._depths, self._jumps
        if depths[first] < depths[second]:
            first, second = second, first
        while depths[first] > depths[second]:
            is_far = depths[jumps[first]] < depths[second]
            first = parents[first] if is_far else jumps[first]
        while first != second:
            if not depths[first]:
                return NONE
            step = parents if jumps[first] == jumps[second] else jumps
            first, second = step[first], step[second]
        return first
