"""Induced subgraph, quotient and union: the operations that every transform is made of.

All of them read and write columns, keep the order of nodes and edges, and touch nothing that they
were given.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType
from typing import TypeVar

from graphviz_cli.graph.model import (
    NONE,
    Annotation,
    Column,
    Combine,
    EdgeTable,
    Graph,
    Node,
    NodeTable,
    Root,
    SavedTable,
)

T = TypeVar("T", bound=Hashable)

_NOTHING: Mapping[int, Node] = MappingProxyType({})


def induced_subgraph(graph: Graph, keep: Iterable[int]) -> Graph:
    """Some of the nodes, and all edges between them.

    Nodes keep their order, whatever the order of `keep`. Roots and annotations of the others are
    gone. Raises IndexError for a node that is not there.
    """
    kept = sorted(set(keep))
    if kept and not 0 <= kept[0] <= kept[-1] < len(graph.nodes):
        raise IndexError("There is no such node.")
    new = array("i", [NONE]) * len(graph.nodes)
    for number, node in enumerate(kept):
        new[node] = number
    sources = array("i", map(new.__getitem__, graph.edges.sources))
    targets = array("i", map(new.__getitem__, graph.edges.targets))
    inside = [k for k, (a, b) in enumerate(zip(sources, targets)) if a != NONE and b != NONE]
    return replace(
        graph,
        nodes=_taken(graph.nodes, kept, _NOTHING, _saved_by(graph.nodes.saved, kept)),
        edges=_edges(graph.edges, inside, sources, targets),
        roots=tuple(
            replace(root, node=new[root.node]) for root in graph.roots if new[root.node] != NONE
        ),
        annotations=MappingProxyType(
            {
                name: replace(
                    annotation,
                    values=MappingProxyType(
                        {new[n]: v for n, v in sorted(annotation.values.items()) if new[n] != NONE}
                    ),
                    inputs=MappingProxyType(
                        {new[n]: v for n, v in sorted(annotation.inputs.items()) if new[n] != NONE}
                    ),
                )
                for name, annotation in graph.annotations.items()
            }
        ),
    )


def quotient(
    graph: Graph, representatives: Sequence[int], described: Mapping[int, Node] = _NOTHING
) -> Graph:
    """Merge blocks of nodes into one node each.

    `representatives[id]` is the node that represents the block of node `id`; a node that stays by
    itself represents itself. The merged node is what its representative is, or what `described`
    says of that one; its size, parameters and saved tensors are those of the whole block, and
    annotations are combined as they ask for. Edges within a block vanish, all others stay, with
    their numbers; repeated ones are repeated. The new nodes are numbered as a capture would number
    them, breadth-first from the roots; then come those that the roots do not reach, in the order of
    the first members of their blocks.

    Raises ValueError if a representative does not represent itself.
    """
    block_of = array("i", bytes(4 * len(graph.nodes)))
    number_of = array("i", [NONE]) * len(graph.nodes)
    members = array("i")
    for node, representative in enumerate(representatives):
        number = number_of[representative]
        if number == NONE:
            number = number_of[representative] = len(members)
            members.append(representative)
        block_of[node] = number
    if any(representatives[node] != node for node in members):
        raise ValueError("A representative must represent itself.")

    sources = array("i", map(block_of.__getitem__, graph.edges.sources))
    targets = array("i", map(block_of.__getitem__, graph.edges.targets))
    outside = [k for k, (a, b) in enumerate(zip(sources, targets)) if a != b]
    outside.sort(key=sources.__getitem__)
    numbers = _breadth_first(
        [block_of[root.node] for root in graph.roots],
        len(members),
        array("i", map(sources.__getitem__, outside)),
        array("i", map(targets.__getitem__, outside)),
    )
    order = array("i", bytes(4 * len(members)))
    for block, number in enumerate(numbers):
        order[number] = members[block]
    new = array("i", map(numbers.__getitem__, block_of))
    sources = array("i", map(numbers.__getitem__, sources))
    targets = array("i", map(numbers.__getitem__, targets))
    outside.sort(key=sources.__getitem__)

    nodes = _taken(
        graph.nodes,
        order,
        {new[representative]: node for representative, node in described.items()},
        _saved_by_block(graph.nodes.saved, new, len(order)),
    )
    nodes = replace(
        nodes,
        sizes=_summed("i", graph.nodes.sizes, new, len(order)),
        parameters=_summed("q", graph.nodes.parameters, new, len(order)),
    )
    return replace(
        graph,
        nodes=nodes,
        edges=_edges(graph.edges, outside, sources, targets),
        roots=tuple(replace(root, node=new[root.node]) for root in graph.roots),
        annotations=MappingProxyType(
            {
                name: _combined(annotation, new, order)
                for name, annotation in graph.annotations.items()
            }
        ),
    )


def union(first: Graph, second: Graph) -> Graph:
    """Two graphs beside each other: the nodes of the second follow those of the first.

    What the second says about operators counts where the first is silent, and the provenance is
    that of the first. Raises ValueError if an annotation of both has another unit, or is combined
    in another way.
    """
    nodes, calls, storages = len(first.nodes), len(first.modules), len(first.storages)
    a, b = first.nodes, second.nodes
    rows = len(a.saved)
    table = NodeTable(
        kinds=_joined(a.kinds, b.kinds),
        names=_joined(a.names, b.names),
        user_names=_joined(a.user_names, b.user_names),
        roles=_joined(a.roles, b.roles),
        outputs=_joined(a.outputs, b.outputs),
        modules=a.modules + _shifted(b.modules, calls),
        sources=_joined(a.sources, b.sources),
        sequence_nrs=a.sequence_nrs + b.sequence_nrs,
        saved=SavedTable(
            a.saved.offsets + array("i", [rows + offset for offset in b.saved.offsets[1:]]),
            _joined(a.saved.names, b.saved.names),
            _joined(a.saved.specs, b.saved.specs),
            a.saved.storages + _shifted(b.saved.storages, storages),
            _joined(a.saved.states, b.saved.states),
        ),
        sizes=a.sizes + b.sizes,
        parameters=a.parameters + b.parameters,
    )
    return replace(
        first,
        nodes=table,
        edges=EdgeTable(
            first.edges.sources + _shifted(second.edges.sources, nodes),
            first.edges.targets + _shifted(second.edges.targets, nodes),
            first.edges.input_nrs + second.edges.input_nrs,
            first.edges.output_nrs + second.edges.output_nrs,
        ),
        roots=first.roots
        + tuple(Root(root.name, root.node + nodes, root.output_nr) for root in second.roots),
        modules=first.modules
        + tuple(
            replace(call, parent=None if call.parent is None else call.parent + calls)
            for call in second.modules
        ),
        storages=first.storages + second.storages,
        annotations=_joined_annotations(first, second),
        operators=MappingProxyType({**second.operators, **first.operators}),
    )


def _breadth_first(
    starts: Iterable[int], count: int, sources: array[int], targets: array[int]
) -> array[int]:
    """The number of each of `count` nodes, from the starts on; edges ascend by their sources."""
    lengths = [0] * (count + 1)
    for source in sources:
        lengths[source + 1] += 1
    offsets = array("i", accumulate(lengths))
    numbers = array("i", [NONE]) * count
    reached: list[int] = []
    position = 0
    for start in (*starts, *range(count)):
        if numbers[start] != NONE:
            continue
        numbers[start] = len(reached)
        reached.append(start)
        while position < len(reached):
            node = reached[position]
            position += 1
            for target in targets[offsets[node] : offsets[node + 1]]:
                if numbers[target] == NONE:
                    numbers[target] = len(reached)
                    reached.append(target)
    return numbers


def _taken(
    nodes: NodeTable, order: Sequence[int], described: Mapping[int, Node], saved: SavedTable
) -> NodeTable:
    """The rows of `order`; `described` gives what some of the new rows hold instead."""

    def column(rows: Column[T], cell: Callable[[Node], T]) -> Column[T]:
        codes = array("i", map(rows.codes.__getitem__, order))
        if not described:
            return _compacted(rows.values, codes)
        numbers = {value: number for number, value in enumerate(rows.values)}
        for row, node in described.items():
            codes[row] = numbers.setdefault(cell(node), len(numbers))
        return _compacted(tuple(numbers), codes)

    modules = array("i", map(nodes.modules.__getitem__, order))
    sequence_nrs = array("i", map(nodes.sequence_nrs.__getitem__, order))
    for row, node in described.items():
        modules[row] = NONE if node.module is None else node.module
        sequence_nrs[row] = NONE if node.sequence_nr is None else node.sequence_nr
    return NodeTable(
        kinds=column(nodes.kinds, lambda node: node.kind),
        names=column(nodes.names, lambda node: node.name),
        user_names=column(nodes.user_names, lambda node: node.names),
        roles=column(nodes.roles, lambda node: node.role),
        outputs=column(nodes.outputs, lambda node: node.outputs),
        modules=modules,
        sources=column(nodes.sources, lambda node: node.source),
        sequence_nrs=sequence_nrs,
        saved=saved,
        sizes=array("i", map(nodes.sizes.__getitem__, order)),
        parameters=array("q", map(nodes.parameters.__getitem__, order)),
    )


def _compacted(values: Sequence[T], codes: array[int]) -> Column[T]:
    """A column without values that no row has, numbered by first appearance."""
    used = dict.fromkeys(codes)
    if len(used) == len(values) and all(k == code for k, code in enumerate(used)):
        return Column(values, codes)
    numbers = {code: number for number, code in enumerate(used)}
    return Column([values[code] for code in used], array("i", map(numbers.__getitem__, codes)))


def _saved_rows(saved: SavedTable, offsets: array[int], rows: Sequence[int]) -> SavedTable:
    def column(cells: Column[T]) -> Column[T]:
        return _compacted(cells.values, array("i", map(cells.codes.__getitem__, rows)))

    return SavedTable(
        offsets,
        column(saved.names),
        column(saved.specs),
        array("i", map(saved.storages.__getitem__, rows)),
        column(saved.states),
    )


def _saved_by(saved: SavedTable, order: Sequence[int]) -> SavedTable:
    """What the nodes of `order` saved, in that order."""
    offsets = array("i", [0])
    rows: list[int] = []
    for node in order:
        if saved.offsets[node] != saved.offsets[node + 1]:
            rows.extend(range(saved.offsets[node], saved.offsets[node + 1]))
        offsets.append(len(rows))
    return _saved_rows(saved, offsets, rows)


def _saved_by_block(saved: SavedTable, new: Sequence[int], count: int) -> SavedTable:
    """What each of `count` blocks saved; `new[id]` is the block of node `id`."""
    lengths = array("i", bytes(4 * (count + 1)))
    for node, block in enumerate(new):
        lengths[block + 1] += saved.offsets[node + 1] - saved.offsets[node]
    offsets = array("i", accumulate(lengths))
    places = array("i", offsets)
    rows = array("i", bytes(4 * len(saved)))
    if len(saved):
        for node, block in enumerate(new):
            for row in range(saved.offsets[node], saved.offsets[node + 1]):
                rows[places[block]] = row
                places[block] += 1
    return _saved_rows(saved, offsets, rows)


def _summed(typecode: str, values: array[int], new: Sequence[int], count: int) -> array[int]:
    sums = array(typecode, [0]) * count
    for block, value in zip(new, values):
        sums[block] += value
    return sums


def _edges(
    edges: EdgeTable, rows: Sequence[int], sources: array[int], targets: array[int]
) -> EdgeTable:
    return EdgeTable(
        array("i", map(sources.__getitem__, rows)),
        array("i", map(targets.__getitem__, rows)),
        array("i", map(edges.input_nrs.__getitem__, rows)),
        array("i", map(edges.output_nrs.__getitem__, rows)),
    )


def _combined(annotation: Annotation, new: Sequence[int], order: Sequence[int]) -> Annotation:
    values: dict[int, float | int | str] = {}
    for node, value in sorted(annotation.values.items()):
        block = new[node]
        if annotation.combine is Combine.OWN:
            if order[block] == node:
                values[block] = value
            continue
        known = values.get(block)
        if known is None or (annotation.combine is Combine.FIRST and order[block] == node):
            values[block] = value
        elif isinstance(known, str) or isinstance(value, str):
            continue  # texts cannot be added up or compared: the first one stays
        elif annotation.combine is Combine.SUM:
            values[block] = known + value
        elif annotation.combine is Combine.MAX:
            # Written so that a NaN stays, whichever side it is on.
            values[block] = known if known != known or known >= value else value
    inputs = {
        new[node]: facts
        for node, facts in sorted(annotation.inputs.items())
        if order[new[node]] == node
    }
    return replace(annotation, values=MappingProxyType(values), inputs=MappingProxyType(inputs))


def _joined(first: Column[T], second: Column[T]) -> Column[T]:
    numbers = {value: number for number, value in enumerate(first.values)}
    codes = [numbers.setdefault(value, len(numbers)) for value in second.values]
    return Column(tuple(numbers), first.codes + array("i", map(codes.__getitem__, second.codes)))


def _shifted(column: array[int], by: int) -> array[int]:
    return array("i", [NONE if value == NONE else value + by for value in column])


def _joined_annotations(first: Graph, second: Graph) -> Mapping[str, Annotation]:
    joined = dict(first.annotations)
    for name, annotation in second.annotations.items():
        values = {node + len(first.nodes): value for node, value in annotation.values.items()}
        inputs = {node + len(first.nodes): facts for node, facts in annotation.inputs.items()}
        known = joined.get(name)
        if known is not None:
            if (known.unit, known.combine) != (annotation.unit, annotation.combine):
                raise ValueError(f"The two annotations {name!r} do not fit together.")
            values = {**known.values, **values}
            inputs = {**known.inputs, **inputs}
        joined[name] = replace(
            annotation, values=MappingProxyType(values), inputs=MappingProxyType(inputs)
        )
    return MappingProxyType(joined)
