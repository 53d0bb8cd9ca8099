"""In which order the nodes are drawn, and which of them a gradient flows through."""

from __future__ import annotations

from collections.abc import Container

from graphviz_cli.graph.model import Graph, NodeKind
from graphviz_cli.graph.traversal import Adjacency


def forward_order(graph: Graph) -> list[int]:
    """All nodes, an op after those that made its inputs, leaves just before their first use.

    Nodes of a cycle come in the order in which the roots reach them.
    """
    adjacency = Adjacency(graph)
    offsets, successors = adjacency.offsets, adjacency.successors
    order: list[int] = []
    seen = bytearray(len(graph.nodes))
    for start in (*(root.node for root in graph.roots), *range(len(graph.nodes))):
        if seen[start]:
            continue
        seen[start] = 1
        path, positions = [start], [offsets[start]]
        while path:
            node, edge = path[-1], positions[-1]
            if edge == offsets[node + 1]:
                order.append(node)
                path.pop()
                positions.pop()
                continue
            positions[-1] = edge + 1
            target = successors[edge]
            if not seen[target]:
                seen[target] = 1
                path.append(target)
                positions.append(offsets[target])
    return order


def flowing(graph: Graph) -> Container[int]:
    """The nodes that a gradient gets to and leaves again: those before a cut, and not the cut."""
    cuts = frozenset(graph.nodes.ids(NodeKind.CUT))
    if not cuts:
        return range(len(graph.nodes))
    adjacency = Adjacency(graph)
    ends = {root.node for root in graph.roots}
    # A part of a graph may have no root: its gradient comes from outside.
    ends.update(n for n in range(len(adjacency)) if not len(adjacency.predecessors_of(n)))
    pending = sorted(ends - cuts)
    seen = set(pending)
    while pending:
        for target in adjacency.successors_of(pending.pop()):
            if target not in seen and target not in cuts:
                seen.add(target)
                pending.append(target)
    return seen
