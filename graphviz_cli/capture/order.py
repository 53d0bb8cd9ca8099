"""In which order the ops of a graph were made."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from graphviz_cli.capture.private import UNNUMBERED
from graphviz_cli.graph.model import NONE, EdgeTable


def creation_order(
    ops: list[int], sequence_nrs: Sequence[int], edges: EdgeTable
) -> tuple[array[int], bool]:
    """Rank of every node in the order in which the ops were made, NONE for one that is no op.

    `ops` are the ids of the ops, `sequence_nrs` the numbers that torch gave to all nodes. It counts
    for each thread on its own, so that the numbers of two threads tell nothing about each other.
    Where they contradict the edges, or two are equal, the order is one that follows the edges, as
    near to the numbers as it can be, and the second result is False.
    """
    ordered = ops[::-1]  # from the leaves on, which is nearly sorted already
    ordered.sort(key=sequence_nrs.__getitem__)
    ranks = [NONE] * len(sequence_nrs)
    for rank, op in enumerate(ordered):
        ranks[op] = rank
    is_exact = len({sequence_nrs[op] for op in ops}) == len(ops) and all(
        ranks[source] > ranks[target] for source, target in zip(edges.sources, edges.targets)
    )
    if not is_exact:
        for rank, op in enumerate(_along_the_edges(ops, sequence_nrs, edges)):
            ranks[op] = rank
    return array("i", ranks), is_exact


def _along_the_edges(
    ops: Sequence[int], sequence_nrs: Sequence[int], edges: EdgeTable
) -> list[int]:
    """The ops, each behind those that it points to, else by number."""
    is_op = bytearray(len(sequence_nrs))
    for op in ops:
        is_op[op] = True
    waits_for = array("i", bytes(4 * len(sequence_nrs)))
    parents: dict[int, list[int]] = {}
    for source, target in zip(edges.sources, edges.targets):
        if is_op[target]:
            waits_for[source] += 1
            parents.setdefault(target, []).append(source)

    def urgency(op: int) -> tuple[int, int]:
        number = sequence_nrs[op]
        return (-1 if number == UNNUMBERED else number), -op

    ready = [urgency(op) for op in ops if not waits_for[op]]
    heapify(ready)
    ordered = []
    while ready:
        op = -heappop(ready)[1]
        ordered.append(op)
        for parent in parents.get(op, ()):
            waits_for[parent] -= 1
            if not waits_for[parent]:
                heappush(ready, urgency(parent))
    return ordered
