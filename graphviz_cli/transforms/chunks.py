"""Ops in a row gathered into calls, where a scope has more of them than can be drawn."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from graphviz_cli.graph.model import NONE, Graph, ModuleCall
from graphviz_cli.transforms.outline import Outline


def chunked(outline: Outline, scopes: Collection[int], parts: int) -> Graph:
    """Divide what happens in each of these calls into about `parts` calls `ops 0..999`.

    NONE stands for what is outside any call. A part ends where few tensors are passed on, and all
    parts are about as long as each other. The new calls stand at the end of `Graph.modules`.
    """
    graph = outline.graph
    modules = array("i", graph.nodes.modules)
    calls = list(graph.modules)
    for scope in sorted(scopes):
        items = [*outline.items[scope], *(~call for call in outline.quiet[scope])]
        if len(items) <= parts:
            continue
        path = "" if scope == NONE else graph.modules[scope].path
        bounds = [0, *_bounds(outline, items, parts), len(items)]
        for start, end in pairwise(bounds):
            if end - start < 2:
                continue
            home = len(calls)
            name = f"ops {start}..{end - 1}"
            parent = None if scope == NONE else scope
            calls.append(ModuleCall(f"{path}.{name}" if path else name, "", parent))
            for item in items[start:end]:
                if item < 0:
                    calls[~item] = replace(calls[~item], parent=home)
                else:
                    modules[item] = home
    return replace(graph, nodes=replace(graph.nodes, modules=modules), modules=tuple(calls))


def dissolved(graph: Graph, calls: Collection[int]) -> Graph:
    """Without these calls: what is in them happens in the call around."""
    table = list(graph.modules)

    def around(call: int | None) -> int | None:
        while call is not None and call in calls:
            call = table[call].parent
        return call

    homes = array("i", [NONE]) * (len(table) + 1)
    for index, call in enumerate(graph.modules):
        home = around(index)
        homes[index] = NONE if home is None else home
        table[index] = replace(call, parent=around(call.parent))
    modules = array("i", map(homes.__getitem__, graph.nodes.modules))
    return replace(graph, nodes=replace(graph.nodes, modules=modules), modules=tuple(table))


def _bounds(outline: Outline, items: Sequence[int], parts: int) -> list[int]:
    passed = outline.passed_on(items)
    length = len(items) / parts
    bounds = []
    for part in range(1, parts):
        middle = round(part * length)
        reach = int(length / 4)
        places = range(max(middle - reach, 1), min(middle + reach, len(items) - 1) + 1)
        bounds.append(min(places, key=lambda place: (passed[place], abs(place - middle), place)))
    return bounds
