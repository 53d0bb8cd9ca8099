"""Leave out of a graph's tables what no node refers to."""

from __future__ import annotations

from array import array
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType

from graphviz_cli.graph.model import NONE, Graph


def pruned(graph: Graph) -> Graph:
    """Without the module calls, storages and operators that no node refers to any more.

    A call stays if there is a node in it or in a call within it, and comes after the one around it.
    """
    calls = graph.modules
    used = bytearray(len(calls))
    for module in set(graph.nodes.modules) - {NONE}:
        call: int | None = module
        while call is not None and not used[call]:
            used[call] = 1
            call = calls[call].parent
    saved = graph.nodes.saved
    held = sorted(set(saved.storages) - {NONE})
    names = graph.nodes.names
    alive = {names.values[code] for code in set(names.codes)}
    nodes = graph.nodes
    if not all(used):
        new = array("i", accumulate(used, initial=0))
        new[len(calls)] = NONE  # what NONE, the last position, becomes
        nodes = replace(nodes, modules=array("i", map(new.__getitem__, nodes.modules)))
        calls = tuple(
            replace(call, parent=None if call.parent is None else new[call.parent])
            for call, is_used in zip(calls, used)
            if is_used
        )
    if len(held) < len(graph.storages):
        places = {storage: place for place, storage in enumerate(held)}
        places[NONE] = NONE
        storages = array("i", map(places.__getitem__, saved.storages))
        nodes = replace(nodes, saved=replace(saved, storages=storages))
    graph = replace(
        graph,
        nodes=nodes,
        modules=calls,
        storages=tuple(graph.storages[storage] for storage in held),
        operators=MappingProxyType({k: v for k, v in graph.operators.items() if k in alive}),
    )
    return _in_order(graph)


def _in_order(graph: Graph) -> Graph:
    """The graph with every call after the one around it, the others in the order they had."""
    calls = graph.modules
    if all(call.parent is None or call.parent < k for k, call in enumerate(calls)):
        return graph
    inner: dict[int | None, list[int]] = {}
    for index, call in enumerate(calls):
        inner.setdefault(call.parent, []).append(index)
    # A call that a transform made stands at the end: its place is that of the first call in it.
    stack = sorted(inner[None], key=lambda k: min([k, *inner.get(k, ())]), reverse=True)
    order = []
    while stack:
        index = stack.pop()
        order.append(index)
        stack += sorted(
            inner.get(index, ()), key=lambda k: min([k, *inner.get(k, ())]), reverse=True
        )
    new = array("i", bytes(4 * len(calls)))
    for number, index in enumerate(order):
        new[index] = number
    modules = array(
        "i", [NONE if module == NONE else new[module] for module in graph.nodes.modules]
    )
    table = []
    for index in order:
        parent = calls[index].parent
        table.append(replace(calls[index], parent=None if parent is None else new[parent]))
    return replace(graph, nodes=replace(graph.nodes, modules=modules), modules=tuple(table))
