"""The typed autograd graph: immutable plain data.

A graph of 1,000,000 backward ops must fit in memory, so nodes and edges are stored as columns;
`graph.nodes` and `graph.edges` are sequences that build a `Node` or an `Edge` when one is asked
for. Code that visits every node reads the columns.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar, overload

T = TypeVar("T", bound=Hashable)

NONE = -1
"""Stands for None in an integer column."""


class NodeKind(StrEnum):
    """What a node is."""

    FUNCTION = "function"
    """A backward op."""
    LEAF = "leaf"
    """A tensor that accumulates a gradient, together with its AccumulateGrad."""
    CONSTANT = "constant"
    """A tensor that requires no gradient: a frozen parameter, a buffer, an input."""
    CUT = "cut"
    """Where the gradient is lost."""
    MODULE = "module"
    """A module call whose backward ops were merged by folding."""


class Role(StrEnum):
    """What a leaf or a constant is to the user's program."""

    PARAMETER = "parameter"
    BUFFER = "buffer"
    INPUT = "input"


class SavedState(StrEnum):
    """What became of a tensor that was saved for backward."""

    HELD = "held"
    FREED = "freed"
    """Released by a backward pass."""
    PACKED = "packed"
    """Replaced by what a pack hook returned (checkpoint, offload to the CPU)."""
    UNDEFINED = "undefined"
    """The op keeps a place for it, but saved none."""


class Combine(StrEnum):
    """How an annotation's values are merged when nodes are."""

    SUM = "sum"
    MAX = "max"
    FIRST = "first"
    """That of the node that represents the others; if it has none, of the first that has one."""
    OWN = "own"
    """That of the node that represents the others, or none."""


_DTYPE_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
    "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex32": 4, "complex64": 8, "complex128": 16, "quint8": 1, "qint8": 1, "qint32": 4,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape, element type and place of a tensor.

    A dimension is a string where torch has only a symbol for it (`j1` of a jagged tensor). `shape`
    is None where torch does not tell it (a nested tensor without a layout).
    """

    shape: tuple[int | str, ...] | None
    dtype: str
    device: str

    @property
    def numel(self) -> int | None:
        """Number of elements, or None where a dimension is unknown."""
        total = 1
        for dimension in self.shape if self.shape is not None else ("?",):
            if isinstance(dimension, str):
                return None
            total *= dimension
        return total

    @property
    def nbytes(self) -> int | None:
        """Size in bytes of a dense tensor of this kind, or None where it cannot be told."""
        numel, itemsize = self.numel, _DTYPE_BYTES.get(self.dtype)
        return None if numel is None or itemsize is None else numel * itemsize


@dataclass(frozen=True, slots=True)
class Storage:
    """A piece of memory that saved tensors point into; several may share one."""

    nbytes: int
    owned: bool
    """The graph alone keeps it alive: it belongs to no parameter, buffer or input."""


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """A tensor that a backward op keeps for its formula."""

    name: str
    spec: TensorSpec | None
    storage: int | None
    """Index into `Graph.storages`; None where there is none to be seen."""
    state: SavedState


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """The expression that made an op; lines and columns count from 1, columns in characters.

    `end_column` is that of the character behind the last one.
    """

    file: str
    line: int
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    function: str = ""
    text: str = ""
    """The expression itself, on one line."""


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of a module; a module that is called twice has two."""

    path: str
    """Dotted path from the top, empty for the top itself."""
    type: str
    """The module's class."""
    parent: int | None
    """Index into `Graph.modules` of the call within which this one happened."""
    nth: int = 0
    """How many calls of the same path came before."""
    repeats: int = 1
    """How many equal consecutive calls this one stands for."""


@dataclass(frozen=True, slots=True)
class Operator:
    """What torch says about a backward op, by its name.

    From the derivatives.yaml of the torch that captured the graph.
    """

    schema: str
    """Schema of the forward op, e.g. `mul.Tensor(Tensor self, Tensor other) -> Tensor`."""
    inputs: tuple[str, ...]
    """The differentiable inputs in the order of `Edge.input_nr`; a trailing `*` marks one that
    stands for a list of tensors."""
    outputs: tuple[str, ...]
    """The differentiable outputs in the order of `Edge.output_nr`, a list with `*` likewise."""
    formulas: tuple[str, ...]
    """The derivative for each of `inputs`."""


@dataclass(frozen=True, slots=True)
class Node:
    """A backward op, a leaf, or what a transform made of several of them."""

    id: int
    kind: NodeKind
    name: str
    """Autograd's own name (`AddmmBackward0`, `AccumulateGrad`); a MODULE's is its class."""
    names: tuple[str, ...] = ()
    """What the user calls it: variables that hold the op's output, all names of a leaf (a tied
    weight has several), the path of a module."""
    role: Role | None = None
    outputs: tuple[TensorSpec, ...] = ()
    module: int | None = None
    """Index into `Graph.modules`: the call that made it; for a MODULE the call it stands for."""
    source: SourceLocation | None = None
    sequence_nr: int | None = None
    """Position in the order of the forward pass among the graph's ops; None for a leaf."""
    saved: tuple[SavedTensor, ...] = ()
    size: int = 1
    """How many captured backward ops it stands for: 0 for a leaf."""
    parameters: int = 0
    """Number of elements of the parameters in it."""

    @property
    def label(self) -> str:
        """The user's first name for it, else autograd's."""
        return self.names[0] if self.names and self.kind is not NodeKind.FUNCTION else self.name


@dataclass(frozen=True, slots=True)
class Edge:
    """From an op to the one that made its input, the way the gradient flows.

    Autograd's `source.next_functions[input_nr] == (target, output_nr)`. An edge that touches a CUT
    carries no gradient: it shows where one would have flowed.
    """

    source: int
    target: int
    input_nr: int = 0
    output_nr: int = 0


@dataclass(frozen=True, slots=True)
class Root:
    """A tensor from which the gradient starts: output `output_nr` of node `node`."""

    name: str
    node: int
    output_nr: int = 0


def _no_inputs() -> Mapping[int, tuple[float | int | str | None, ...]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Annotation:
    """A measured or derived fact about some of the nodes."""

    name: str
    values: Mapping[int, float | int | str]
    unit: str = ""
    combine: Combine = Combine.FIRST
    inputs: Mapping[int, tuple[float | int | str | None, ...]] = field(default_factory=_no_inputs)
    """The fact about the edges of some nodes: at place k that of `Edge.input_nr` k. Of merged nodes
    only those of the one that represents them are kept."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a graph comes from."""

    target: str = ""
    title: str = ""
    """The class of the model or the name of the script."""
    torch: str = ""
    device: str = ""
    inputs: tuple[str, ...] = ()
    """The inputs given to a module, e.g. `input_ids=int64:2x32`."""
    step: int | None = None
    """The backward call of a script at which the graph was taken, from 1."""
    estimated: bool = False
    """Captured with tensors that hold no data."""
    partial: bool = False
    """The target failed before it was done."""
    vectors: tuple[str, ...] = ()
    """What the backward pass started from: for each root its name and the vector that its Jacobian
    was multiplied with (`loss: 1`); empty where none was run."""
    notes: tuple[str, ...] = ()
    """What could not be seen, one sentence each."""


class Column(Sequence[T], Generic[T]):
    """A dictionary-encoded column: each distinct value once, and its number for every row."""

    __slots__ = ("codes", "values")

    def __init__(self, values: Sequence[T], codes: array[int]) -> None:
        self.values = tuple(values)
        self.codes = codes

    @classmethod
    def of(cls, rows: Iterable[T]) -> Column[T]:
        """Encode `rows`; values are numbered by first appearance."""
        numbers: dict[T, int] = {}
        codes = array("i", (numbers.setdefault(row, len(numbers)) for row in rows))
        return cls(tuple(numbers), codes)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Column[T]: ...
    def __getitem__(self, index: int | slice) -> T | Column[T]:
        if isinstance(index, slice):
            return Column(self.values, self.codes[index])
        return self.values[self.codes[index]]

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[T]:
        return map(self.values.__getitem__, self.codes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Column):
            return NotImplemented
        if self.values == other.values:
            return bool(self.codes == other.codes)
        return len(self) == len(other) and all(a == b for a, b in zip(self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Column({len(self)} rows of {len(self.values)} values)"

    def taken(self, rows: Iterable[int]) -> Column[T]:
        """The column whose row k is this one's row `rows[k]`."""
        codes = self.codes
        return Column(self.values, array("i", [codes[row] for row in rows]))


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
    provenance: Provenance = Provenance()

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
