"""Nodes and edges as columns: sequences that build a `Node` or an `Edge` when one is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from graphviz_cli.graph.columns import NONE, Column
from graphviz_cli.graph.parts import (
    Edge,
    Node,
    NodeKind,
    Role,
    SavedState,
    SavedTensor,
    SourceLocation,
    TensorSpec,
)


@dataclass(frozen=True, slots=True, eq=False)
class SavedTable:
    """What all nodes saved: rows `offsets[id]` to `offsets[id + 1]` are those of a node."""

    offsets: array[int]
    names: Column[str]
    specs: Column[TensorSpec | None]
    storages: array[int]
    """NONE where there is no storage to be seen."""
    states: Column[SavedState]

    @classmethod
    def of(cls, rows: Iterable[Sequence[SavedTensor]]) -> SavedTable:
        """Encode what each node saved, in the order of their ids."""
        offsets = array("i", [0])
        tensors: list[SavedTensor] = []
        for row in rows:
            tensors.extend(row)
            offsets.append(len(tensors))
        return cls(
            offsets,
            Column.of(tensor.name for tensor in tensors),
            Column.of(tensor.spec for tensor in tensors),
            array("i", (NONE if t.storage is None else t.storage for t in tensors)),
            Column.of(tensor.state for tensor in tensors),
        )

    def __len__(self) -> int:
        return len(self.storages)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SavedTable):
            return NotImplemented
        return (
            self.offsets == other.offsets
            and self.storages == other.storages
            and self.names == other.names
            and self.specs == other.specs
            and self.states == other.states
        )

    __hash__ = None  # type: ignore[assignment]

    def of_node(self, node: int) -> tuple[SavedTensor, ...]:
        """What node `node` saved."""
        return tuple(
            SavedTensor(
                self.names[row],
                self.specs[row],
                None if self.storages[row] == NONE else self.storages[row],
                self.states[row],
            )
            for row in range(self.offsets[node], self.offsets[node + 1])
        )


@dataclass(frozen=True, slots=True)
class NodeTable(Sequence[Node]):
    """All nodes as columns; the position is the id."""

    kinds: Column[NodeKind]
    names: Column[str]
    user_names: Column[tuple[str, ...]]
    roles: Column[Role | None]
    outputs: Column[tuple[TensorSpec, ...]]
    modules: array[int]
    sources: Column[SourceLocation | None]
    sequence_nrs: array[int]
    saved: SavedTable
    sizes: array[int]
    parameters: array[int]

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> NodeTable:
        """Encode nodes, which must come in the order of their ids."""
        rows = list(nodes)
        return cls(
            kinds=Column.of(node.kind for node in rows),
            names=Column.of(node.name for node in rows),
            user_names=Column.of(node.names for node in rows),
            roles=Column.of(node.role for node in rows),
            outputs=Column.of(node.outputs for node in rows),
            modules=array("i", (NONE if n.module is None else n.module for n in rows)),
            sources=Column.of(node.source for node in rows),
            sequence_nrs=array(
                "i", (NONE if n.sequence_nr is None else n.sequence_nr for n in rows)
            ),
            saved=SavedTable.of(node.saved for node in rows),
            sizes=array("i", (node.size for node in rows)),
            parameters=array("q", (node.parameters for node in rows)),
        )

    @overload
    def __getitem__(self, index: int) -> Node: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Node]: ...
    def __getitem__(self, index: int | slice) -> Node | Sequence[Node]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        i = index % len(self)
        module, sequence_nr = self.modules[i], self.sequence_nrs[i]
        return Node(
            id=i,
            kind=self.kinds[i],
            name=self.names[i],
            names=self.user_names[i],
            role=self.roles[i],
            outputs=self.outputs[i],
            module=None if module == NONE else module,
            source=self.sources[i],
            sequence_nr=None if sequence_nr == NONE else sequence_nr,
            saved=self.saved.of_node(i),
            size=self.sizes[i],
            parameters=self.parameters[i],
        )

    def __len__(self) -> int:
        return len(self.modules)

    def ids(self, kind: NodeKind) -> list[int]:
        """Ids of all nodes of a kind, ascending."""
        if kind not in self.kinds.values:
            return []
        code = self.kinds.values.index(kind)
        return [i for i, c in enumerate(self.kinds.codes) if c == code]


@dataclass(frozen=True, slots=True)
class EdgeTable(Sequence[Edge]):
    """All edges as columns, ascending by source; repeated edges are kept."""

    sources: array[int] = field(default_factory=lambda: array("i"))
    targets: array[int] = field(default_factory=lambda: array("i"))
    input_nrs: array[int] = field(default_factory=lambda: array("i"))
    output_nrs: array[int] = field(default_factory=lambda: array("i"))

    @classmethod
    def of(cls, edges: Iterable[Edge]) -> EdgeTable:
        """Encode edges; those of one source keep their order."""
        rows = sorted(edges, key=lambda edge: edge.source)
        return cls(
            array("i", (edge.source for edge in rows)),
            array("i", (edge.target for edge in rows)),
            array("i", (edge.input_nr for edge in rows)),
            array("i", (edge.output_nr for edge in rows)),
        )

    @overload
    def __getitem__(self, index: int) -> Edge: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Edge]: ...
    def __getitem__(self, index: int | slice) -> Edge | Sequence[Edge]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Edge(
            self.sources[index], self.targets[index], self.input_nrs[index], self.output_nrs[index]
        )

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[Edge]:
        return map(Edge, self.sources, self.targets, self.input_nrs, self.output_nrs)
