"""The typed autograd graph: immutable plain data.

A graph of 1,000,000 backward ops must fit in memory, so nodes and edges are stored as columns;
`graph.nodes` and `graph.edges` are sequences that build a `Node` or an `Edge` when one is asked
for. Code that visits every node reads the columns.

Everything that a graph is made of can be imported from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from graphviz_cli.graph.columns import NONE, Column
from graphviz_cli.graph.parts import (
    Annotation,
    Combine,
    Edge,
    ModuleCall,
    Node,
    NodeKind,
    Operator,
    Provenance,
    Role,
    Root,
    SavedState,
    SavedTensor,
    SourceLocation,
    Storage,
    TensorSpec,
)
from graphviz_cli.graph.tables import EdgeTable, NodeTable, SavedTable

__all__ = [
    "NONE",
    "Annotation",
    "Column",
    "Combine",
    "Edge",
    "EdgeTable",
    "Graph",
    "ModuleCall",
    "Node",
    "NodeKind",
    "NodeTable",
    "Operator",
    "Provenance",
    "Role",
    "Root",
    "SavedState",
    "SavedTable",
    "SavedTensor",
    "SourceLocation",
    "Storage",
    "TensorSpec",
    "held_bytes",
]


def _no_annotations() -> Mapping[str, Annotation]:
    return MappingProxyType({})


def _no_operators() -> Mapping[str, Operator]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Graph:
    """An autograd graph: nodes numbered breadth-first from the roots, and the edges between them.

    A captured graph is acyclic. A folded one need not be (module A calls B and goes on: A -> B ->
    A), so nothing may rely on it.
    """

    nodes: NodeTable
    edges: EdgeTable = field(default_factory=EdgeTable)
    roots: tuple[Root, ...] = ()
    modules: tuple[ModuleCall, ...] = ()
    storages: tuple[Storage, ...] = ()
    annotations: Mapping[str, Annotation] = field(default_factory=_no_annotations)
    operators: Mapping[str, Operator] = field(default_factory=_no_operators)
    """By the name of a backward op."""
    provenance: Provenance = field(default_factory=Provenance)

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, {len(self.edges)} edges)"

    def annotated(self, *annotations: Annotation) -> Graph:
        """This graph with more annotations; one of the same name is replaced."""
        merged = {**self.annotations, **{a.name: a for a in annotations}}
        return replace(self, annotations=MappingProxyType(merged))


def held_bytes(graph: Graph, nodes: Iterable[int] | None = None) -> int:
    """Memory in bytes that only the graph keeps alive, of all nodes or of some.

    Every storage counts once, however many of the nodes saved a view of it, so parts of a graph
    may add up to more than the whole. Storages of parameters, buffers and inputs do not count.
    """
    saved, storages = graph.nodes.saved, graph.storages
    if nodes is None:
        seen = set(saved.storages)
    else:
        seen = set()
        for node in nodes:
            seen.update(saved.storages[saved.offsets[node] : saved.offsets[node + 1]])
    seen.discard(NONE)
    return sum(storages[i].nbytes for i in seen if storages[i].owned)
