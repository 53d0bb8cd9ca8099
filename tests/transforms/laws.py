"""What must hold for whatever a transform makes, and a second, slower way to find it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from graphviz_cli.graph.model import Graph, Node, NodeKind, held_bytes
from graphviz_cli.graph.serial import dumps, loads

LEAVES = (NodeKind.LEAF, NodeKind.CONSTANT)


def check_is_valid(graph: Graph) -> None:
    """Every reference leads somewhere, and everything stands in the order that is promised."""
    nodes, edges = list(graph.nodes), list(graph.edges)
    assert [node.id for node in nodes] == list(range(len(nodes)))
    assert [edge.source for edge in edges] == sorted(edge.source for edge in edges)
    for edge in edges:
        assert 0 <= edge.source < len(nodes)
        assert edge.output_nr < max(len(nodes[edge.target].outputs), 1)
        assert edge.source != edge.target
    for root in graph.roots:
        assert root.output_nr < max(len(nodes[root.node].outputs), 1)
    if graph.roots and nodes:
        assert graph.roots[0].node == 0
    for index, call in enumerate(graph.modules):
        assert call.parent is None or call.parent < index
        assert call.repeats >= 1
    for node in nodes:
        assert node.module is None or 0 <= node.module < len(graph.modules)
        for tensor in node.saved:
            assert tensor.storage is None or 0 <= tensor.storage < len(graph.storages)
    for annotation in graph.annotations.values():
        assert all(0 <= node < len(nodes) for node in annotation.values)
    assert loads(dumps(graph)) == graph


def check_sums_are_kept(before: Graph, after: Graph) -> None:
    """Nothing is lost: the whole has as many ops, parameters, bytes and saved tensors as before."""
    assert sum(after.nodes.sizes) == sum(before.nodes.sizes)
    assert sum(after.nodes.parameters) == sum(before.nodes.parameters)
    assert len(after.nodes.saved) == len(before.nodes.saved)
    assert held_bytes(after) == held_bytes(before)
    assert [root.name for root in after.roots] == [root.name for root in before.roots]


def in_forward_order(graph: Graph) -> list[int]:
    """All ops by sequence number; what has none directly after what it reads."""
    ops = [node.id for node in graph.nodes if node.kind not in LEAVES]
    after = {
        op: max(
            (graph.nodes.sequence_nrs[e.target] for e in graph.edges if e.source == op), default=-1
        )
        for op in ops
        if graph.nodes[op].sequence_nr is None
    }
    return sorted(
        ops,
        key=lambda op: (
            (after[op], 1, -op) if op in after else (graph.nodes[op].sequence_nr or 0, 0, 0)
        ),
    )


Repeated = tuple[int, tuple[int, ...]]


def unrolled_ops(graph: Graph) -> list[Repeated]:
    """Every op of a graph as often as its calls are repeated, in the order of the forward pass.

    With each op comes the number of its repetition in each of the repeated calls that it is in,
    the outermost one first.
    """
    calls = graph.modules
    members: dict[int | None, list[int]] = {}
    for op in in_forward_order(graph):
        members.setdefault(graph.nodes[op].module, []).append(op)
    inner: dict[int | None, list[int]] = {}
    for index, call in enumerate(calls):
        inner.setdefault(call.parent, []).append(index)
    position = {op: k for k, op in enumerate(in_forward_order(graph))}

    def first(call: int) -> int:
        found = [position[op] for op in members.get(call, ())]
        found += [place for child in inner.get(call, ()) if (place := first(child)) >= 0]
        return min(found, default=-1)

    def walk(
        scope: int | None, repetition: tuple[int, ...]
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        items = [(position[op], op, True) for op in members.get(scope, ())]
        items += [(first(call), call, False) for call in inner.get(scope, ()) if first(call) >= 0]
        for _, item, is_op in sorted(items):
            if is_op:
                yield item, repetition
            elif calls[item].repeats == 1:
                yield from walk(item, repetition)
            else:
                for number in range(calls[item].repeats):
                    yield from walk(item, (*repetition, number))

    return list(walk(None, ()))


def look(node: Node) -> tuple[object, ...]:
    return node.kind, node.name, node.role, node.outputs


def check_repetitions_are_true(before: Graph, after: Graph) -> None:
    """Unrolling what `Repeats` made gives back the ops, the leaves and the wiring that there were.

    Only what passes from one repetition to the next is not in the merged graph.
    """
    originals = in_forward_order(before)
    unrolled = unrolled_ops(after)
    assert [look(before.nodes[op]) for op in originals] == [
        look(after.nodes[op]) for op, _ in unrolled
    ]
    merged = {original: copy for original, (copy, _) in zip(originals, unrolled)}
    repetition = {original: number for original, (_, number) in zip(originals, unrolled)}
    sizes: Counter[int] = Counter()
    for original, copy in merged.items():
        sizes[copy] += before.nodes[original].size
    assert all(after.nodes[copy].size == size for copy, size in sizes.items())

    inputs = {(edge.source, edge.input_nr): edge for edge in after.edges}
    leaves: dict[int, set[int]] = {}
    explained = set()
    for edge in before.edges:
        source = merged[edge.source]
        made = inputs.get((source, edge.input_nr))
        if before.nodes[edge.target].kind in LEAVES:
            assert made is not None
            assert look(after.nodes[made.target]) == look(before.nodes[edge.target])
            leaves.setdefault(edge.target, set()).add(made.target)
            explained.add(made)
        elif made is not None and made.target == merged[edge.target]:
            explained.add(made)
        else:
            assert is_from_another_repetition(repetition[edge.source], repetition[edge.target])
    assert all(len(copies) == 1 for copies in leaves.values())
    elements: Counter[int] = Counter()
    for leaf, (copy_of_leaf,) in leaves.items():
        elements[copy_of_leaf] += before.nodes[leaf].parameters
    for merged_leaf, count in elements.items():
        assert after.nodes[merged_leaf].parameters == count
    assert explained == set(after.edges)


def is_from_another_repetition(reader: tuple[int, ...], maker: tuple[int, ...]) -> bool:
    """Whether the first difference between two repetitions is one step of the same loop."""
    for ours, theirs in zip(reader, maker):
        if ours != theirs:
            return ours == theirs + 1
    return False
