"""What a graph is made of: nodes, edges and roots, what they hold, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


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
