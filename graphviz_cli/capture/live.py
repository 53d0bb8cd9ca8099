"""Autograd's graph while it lives: its nodes in breadth-first order, and the edges between them."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

from graphviz_cli.capture import teardown
from graphviz_cli.graph.model import EdgeTable

Beyond: TypeAlias = Callable[[Sequence[Any], Mapping[Any, int], int], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class LiveGraph:
    """Nodes of autograd's graph by their ids, and the edges between them."""

    nodes: list[Any] = field(default_factory=list)
    edges: EdgeTable = field(default_factory=EdgeTable)


def visit(starts: Iterable[Any], beyond: Beyond | None = None) -> LiveGraph:
    """Visit all nodes that can be reached from `starts`, in breadth-first order.

    When all are visited, `beyond` is asked where to go on, until it knows no more: it is given the
    nodes and their ids, and how many of them it has been given before.

    That a node has no edges to tell is taken as having none. All Python code that walks over
    `next_functions` should come here: a graph that was walked can overrun the stack when it is
    freed, and this one is guarded against it.
    """
    nodes: list[Any] = []
    ids: dict[Any, int] = {}
    for start in starts:
        if start not in ids:
            ids[start] = len(nodes)
            nodes.append(start)
    columns: tuple[list[int], ...] = [], [], [], []
    add_source, add_target, add_input, add_output = [column.append for column in columns]
    try:
        with paused_garbage_collection():
            first = 0
            while first < len(nodes):
                known = first
                for source, node in enumerate(islice(nodes, first, None), first):  # it grows
                    for input_nr, (child, output_nr) in enumerate(node.next_functions):
                        if child is not None:
                            target = ids.get(child)
                            if target is None:
                                target = ids[child] = len(nodes)
                                nodes.append(child)
                            add_source(source)
                            add_target(target)
                            add_input(input_nr)
                            add_output(output_nr)
                first = len(nodes)
                for start in () if beyond is None else beyond(nodes, ids, known):
                    if start not in ids:
                        ids[start] = len(nodes)
                        nodes.append(start)
    finally:
        edges = EdgeTable(*(array("i", column) for column in columns))
        teardown.guard(nodes, edges.sources, edges.targets)
    return LiveGraph(nodes, edges)


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Let no garbage collection run in between; afterwards it is as it was.

    While many objects are made that all stay, each collection visits all of them in vain: without
    this a walk of 1,000,000 ops takes three times as long.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
