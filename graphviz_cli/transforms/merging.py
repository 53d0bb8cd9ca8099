"""Merge runs of equal blocks: one block is left of each, in a call with a number of repeats."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphviz_cli.graph.model import (
    NONE,
    Annotation,
    Combine,
    EdgeTable,
    Graph,
    ModuleCall,
    NodeKind,
)
from graphviz_cli.graph.operations import quotient
from graphviz_cli.graph.pruning import pruned
from graphviz_cli.transforms.paths import merged_path


@dataclass(slots=True)
class EqualCalls:
    """Equal blocks somewhere in a graph."""

    scope: int
    """The call that they are in; NONE outside all."""
    path: str
    """The path of the call that is made for them; none where each block is a call."""
    items: Sequence[int]
    """The items of all blocks, as an `Outline` numbers them."""
    count: int
    """How many blocks there are."""
    ops: array[int]
    """The ops of all blocks."""
    calls: Sequence[Sequence[int]]
    """The calls of every block that correspond to each other, outermost first."""
    quiet: Sequence[tuple[int, int]]
    """The calls of the first block that have no ops, after the outermost call that each is in."""
    leaves: Sequence[Sequence[int]]
    """The leaves that correspond to each other, one of every block."""
    passed_on: Sequence[tuple[int, int]]
    """Places in a block of the ops that make and read what each block passes on to the next."""
    is_call: bool = False
    """Each block is one module call."""

    @property
    def first_items(self) -> Sequence[int]:
        """The items of the first block."""
        return self.items[: len(self.items) // self.count]

    def equal_ops(self) -> Iterator[array[int]]:
        """The ops that correspond to each other, one of every block."""
        length = len(self.ops) // self.count
        return (self.ops[place::length] for place in range(length))


def merged(graph: Graph, runs: Sequence[EqualCalls], differences: Mapping[int, str]) -> Graph:
    """The graph with one block left of every run.

    `differences` becomes the annotation `differs`; `carried` marks the ops between which tensors
    pass from one block to the next.
    """
    representatives = array("i", range(len(graph.nodes)))
    gone = bytearray(len(graph.nodes))
    renamed: dict[int, tuple[str, ...]] = {}
    remaining: dict[int, int] = {}
    calls = list(graph.modules)
    modules = array("i", graph.nodes.modules)
    for found in runs:
        for ops in found.equal_ops():
            for op in ops:
                representatives[op] = ops[0]
        for op in found.ops[len(found.ops) // found.count :]:
            gone[op] = 1
        for leaves in found.leaves:
            _unite(representatives, leaves)
        for same in zip(*found.calls):
            remaining.update(dict.fromkeys(same[1:], same[0]))
        home = _place(graph, found, calls, modules)
        inside = {home, *(call for _, call in found.quiet)}
        inside.update(found.calls[0] if found.calls else ())
        for leaves in found.leaves:
            if modules[leaves[0]] not in inside:
                modules[leaves[0]] = home
        for node, names in _renamed(graph, found, calls):
            renamed.setdefault(_representative(representatives, node), names)
    edges = graph.edges
    rows = [k for k, source in enumerate(edges.sources) if not gone[source]]
    kept = EdgeTable(
        *(
            array("i", map(column.__getitem__, rows))
            for column in (edges.sources, edges.targets, edges.input_nrs, edges.output_nrs)
        )
    )
    for found in runs:
        for leaf in (leaf for leaves in found.leaves for leaf in leaves):
            representatives[leaf] = _representative(representatives, leaf)
    # What is left in the other blocks, the leaves of a module that all of them call, moves.
    modules = array("i", [remaining.get(module, module) for module in modules])
    for index, call in enumerate(calls):
        if call.parent in remaining:
            calls[index] = replace(call, parent=remaining[call.parent])
    nodes = replace(graph.nodes, modules=modules)
    described = {
        node: replace(nodes[node], names=names)
        for node, names in renamed.items()
        if representatives[node] == node
    }
    graph = replace(graph, nodes=nodes, edges=kept, modules=tuple(calls))
    graph = _noted(_noted(graph, "differs", differences), "carried", _carried(runs))
    return pruned(quotient(graph, representatives, described))


def _carried(runs: Sequence[EqualCalls]) -> dict[int, str]:
    """What passes from one block to the next, said at the ops where it leaves and arrives."""
    texts: dict[int, dict[str, None]] = {}
    for found in runs:
        for maker, reader in found.passed_on:
            texts.setdefault(found.ops[maker], {})["to the next one"] = None
            texts.setdefault(found.ops[reader], {})["from the one before"] = None
    return {op: ", ".join(sorted(said)) for op, said in texts.items()}


def _noted(graph: Graph, name: str, values: Mapping[int, str]) -> Graph:
    """The graph with more values of an annotation; those that are there stay."""
    if not values:
        return graph
    known = graph.annotations.get(name)
    merged = {**values, **(known.values if known else {})}
    return graph.annotated(Annotation(name, merged, combine=Combine.FIRST))


def _representative(representatives: Sequence[int], node: int) -> int:
    while representatives[node] != node:
        node = representatives[node]
    return node


def _unite(representatives: array[int], leaves: Sequence[int]) -> None:
    """Put leaves into one block; two loops may share some of theirs."""
    first = _representative(representatives, leaves[0])
    for leaf in leaves:
        representatives[_representative(representatives, leaf)] = first


def _place(graph: Graph, found: EqualCalls, calls: list[ModuleCall], modules: array[int]) -> int:
    """Make the call that stands for all blocks; returns its index."""
    for same in zip(*found.calls):
        path = merged_path([graph.modules[call].path for call in same])
        calls[same[0]] = replace(calls[same[0]], path=path)
    for top, call in found.quiet:
        path = calls[call].path.replace(graph.modules[top].path, calls[top].path, 1)
        calls[call] = replace(calls[call], path=path)
    if found.is_call:
        home = ~found.items[0]
        calls[home] = replace(calls[home], repeats=found.count)
        return home
    home = len(calls)
    parent = None if found.scope == NONE else found.scope
    nth = sum(call.path == found.path for call in calls)
    calls.append(ModuleCall(found.path, "", parent, nth, found.count))
    for item in found.first_items:
        if item < 0:
            calls[~item] = replace(calls[~item], parent=home)
        else:
            modules[item] = home
    return home


def _renamed(
    graph: Graph, found: EqualCalls, calls: Sequence[ModuleCall]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The names of merged nodes whose members are not all called the same."""
    nodes = graph.nodes
    codes = nodes.user_names.codes
    for members in found.leaves:
        if len(set(map(codes.__getitem__, members))) > 1:
            names = [nodes.user_names[member] for member in members]
            yield members[0], tuple(merged_path(same) for same in zip(*names))
    for members in found.equal_ops():
        if len(set(map(codes.__getitem__, members))) > 1:
            is_module = nodes.kinds[members[0]] is NodeKind.MODULE
            module = nodes.modules[members[0]]
            yield members[0], (calls[module].path,) if is_module and module != NONE else ()
