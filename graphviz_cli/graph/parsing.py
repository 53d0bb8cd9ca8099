"""From the JSON of a saved graph to a Graph: nothing is believed before it was looked at."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from graphviz_cli.graph.checked import INT32, INT64, Checked, DamageError, at, shortly
from graphviz_cli.graph.model import (
    NONE,
    Annotation,
    Column,
    Combine,
    EdgeTable,
    Graph,
    ModuleCall,
    NodeKind,
    NodeTable,
    Operator,
    Provenance,
    Role,
    Root,
    SavedState,
    SavedTable,
    SourceLocation,
    Storage,
    TensorSpec,
)


def parse_graph(document: Mapping[str, Any]) -> Graph:
    """Build the graph from the parsed JSON. Raises DamageError."""
    reader = Checked(document, _SECTIONS)
    reader.text("generator", "")
    sources = reader.rows("sources", _source)
    modules = reader.rows("modules", _module)
    _check_parents(modules)
    storages = reader.rows("storages", _storage)
    nodes = _Nodes(sources, len(modules), len(storages))
    reader.rows("nodes", nodes.add)
    count = nodes.count
    return Graph(
        nodes=nodes.table(),
        edges=_edges(reader.items("edges"), count),
        roots=tuple(reader.rows("roots", lambda row: _root(row, count))),
        modules=tuple(modules),
        storages=tuple(storages),
        annotations=reader.named("annotations", lambda name, row: _annotation(name, row, count)),
        operators=reader.named("operators", _operator),
        provenance=at("provenance", _provenance, reader.members.get("provenance", {})),
    )


_SECTIONS: Final = {
    "schema", "generator", "provenance", "roots", "modules", "sources", "storages", "operators",
    "nodes", "edges", "annotations",
}  # fmt: skip
_KINDS: Final = {str(kind): kind for kind in NodeKind}
_ROLES: Final = {str(role): role for role in Role}
_STATES: Final = {str(state): state for state in SavedState}
_NOT_FINITE: Final = ("nan", "inf", "-inf")
_COMBINES: Final = {str(combine): combine for combine in Combine}


def _provenance(row: Any) -> Provenance:
    known = {
        "target", "title", "torch", "device", "inputs", "step", "estimated", "partial",
        "vectors", "notes",
    }  # fmt: skip
    facts = Checked(row, known)
    return Provenance(
        target=facts.text("target", ""),
        title=facts.text("title", ""),
        torch=facts.text("torch", ""),
        device=facts.text("device", ""),
        inputs=facts.texts("inputs"),
        step=facts.optional("step", least=1),
        estimated=facts.flag("estimated", default=False),
        partial=facts.flag("partial", default=False),
        vectors=facts.texts("vectors"),
        notes=facts.texts("notes"),
    )


def _root(row: Any, count: int) -> Root:
    facts = Checked(row, {"name", "node", "output_nr"})
    node = facts.reference("node", count, "node")
    return Root(facts.text("name"), node, facts.whole("output_nr", 0))


def _module(row: Any) -> ModuleCall:
    facts = Checked(row, {"path", "type", "parent", "nth", "repeats"})
    return ModuleCall(
        path=facts.text("path"),
        type=facts.text("type"),
        parent=facts.optional("parent"),
        nth=facts.whole("nth", 0),
        repeats=facts.whole("repeats", 1, least=1),
    )


def _check_parents(modules: Sequence[ModuleCall]) -> None:
    """Raise DamageError where following `parent` leads out of the table or in a circle."""
    is_checked = bytearray(len(modules))
    for position in range(len(modules)):
        path: dict[int, None] = {}
        call: int | None = position
        while call is not None and not is_checked[call] and call not in path:
            path[call] = None
            parent = modules[call].parent
            if parent is not None and parent >= len(modules):
                place = f"modules[{call}].parent"
                raise DamageError(f"is module {parent}, but there are only {len(modules)}", place)
            call = parent
        if call in path:
            raise DamageError("leads back to itself", f"modules[{call}].parent")
        for checked in path:
            is_checked[checked] = 1


def _source(row: Any) -> SourceLocation:
    facts = Checked(row, {"file", "line", "column", "end_line", "end_column", "function", "text"})
    return SourceLocation(
        file=facts.text("file"),
        line=facts.whole("line", least=1),
        column=facts.optional("column", least=1),
        end_line=facts.optional("end_line", least=1),
        end_column=facts.optional("end_column", least=1),
        function=facts.text("function", ""),
        text=facts.text("text", ""),
    )


def _storage(row: Any) -> Storage:
    facts = Checked(row, {"nbytes", "owned"})
    return Storage(facts.whole("nbytes", most=INT64), facts.flag("owned"))


def _operator(name: str, row: Any) -> Operator:
    facts = Checked(row, {"schema", "inputs", "outputs", "formulas"})
    return Operator(
        schema=facts.text("schema"),
        inputs=facts.texts("inputs"),
        outputs=facts.texts("outputs"),
        formulas=facts.texts("formulas"),
    )


def _annotation(name: str, row: Any, count: int) -> Annotation:
    facts = Checked(row, {"unit", "combine", "values", "inputs"})
    values: dict[int, float | int | str] = {}
    for key, value in _of_nodes(facts, "values", count, required=True):
        if not _is_value(value):
            raise DamageError("must be a number or text", f"values[{key}]")
        values[key] = _value(value)
    inputs: dict[int, tuple[float | int | str | None, ...]] = {}
    for key, row in _of_nodes(facts, "inputs", count, required=False):
        if not isinstance(row, list) or not all(v is None or _is_value(v) for v in row):
            raise DamageError("must be a list of numbers, texts and nulls", f"inputs[{key}]")
        inputs[key] = tuple(None if value is None else _value(value) for value in row)
    combine = facts.choice("combine", _COMBINES, Combine.FIRST)
    return Annotation(
        name, MappingProxyType(values), facts.text("unit", ""), combine, MappingProxyType(inputs)
    )


def _of_nodes(
    facts: Checked, name: str, count: int, *, required: bool
) -> Iterator[tuple[int, Any]]:
    """The members of an object that has a value for each of some nodes."""
    members = facts.members.get(name, None if required else {})
    if not isinstance(members, dict):
        raise DamageError("must be an object", name)
    for key, value in members.items():
        # So long a number is no node, and Python refuses to read one of thousands of digits.
        is_number = key.isascii() and key.isdigit() and len(key) <= 10 and str(int(key)) == key
        if not is_number or int(key) >= count:
            raise DamageError(f"has a value for {shortly(key)}, which is no node")
        yield int(key), value


def _value(value: float | int | str) -> float | int | str:
    return float(value) if value in _NOT_FINITE else value


def _is_value(value: object) -> bool:
    if type(value) is int:
        return abs(value) <= INT64
    # 1e999 is good JSON, and infinite.
    return type(value) is str or (type(value) is float and math.isfinite(value))


def _edges(rows: Sequence[Any], count: int) -> EdgeTable:
    """The edges ascending by source; those of one source keep their order."""
    numbers: list[Any] = []
    for position, row in enumerate(rows):
        if type(row) is not list or len(row) != 4:
            raise DamageError(
                "must be a list of source, target, input_nr and output_nr", f"edges[{position}]"
            )
        numbers += row
    for position, number in enumerate(numbers):
        is_node = position % 4 < 2
        if type(number) is not int or not 0 <= number <= INT32:
            text = f"must hold whole numbers from 0 to {INT32}"
        elif is_node and number >= count:
            text = f"names node {number}, but there are only {count}"
        else:
            continue
        raise DamageError(text, f"edges[{position // 4}]")
    columns = [array("i", numbers[start::4]) for start in range(4)]
    sources = columns[0]
    order = sorted(range(len(sources)), key=sources.__getitem__)
    if order != list(range(len(sources))):
        columns = [array("i", map(column.__getitem__, order)) for column in columns]
    return EdgeTable(*columns)


class _Nodes:
    """The columns of the nodes while they are read; equal values are parsed once."""

    def __init__(self, sources: Sequence[SourceLocation], modules: int, storages: int) -> None:
        self._sources = sources
        self._module_count = modules
        self._storage_count = storages
        self._outputs: dict[str, tuple[TensorSpec, ...]] = {}
        self._specs: dict[str, TensorSpec | None] = {}
        self._kinds: list[NodeKind] = []
        self._names: list[str] = []
        self._user_names: list[tuple[str, ...]] = []
        self._roles: list[Role | None] = []
        self._output_rows: list[tuple[TensorSpec, ...]] = []
        self._modules = array("i")
        self._source_rows: list[SourceLocation | None] = []
        self._sequence_nrs = array("i")
        self._sizes = array("i")
        self._parameters = array("q")
        self._saved_offsets = array("i", [0])
        self._saved_names: list[str] = []
        self._saved_specs: list[TensorSpec | None] = []
        self._saved_storages = array("i")
        self._saved_states: list[SavedState] = []

    @property
    def count(self) -> int:
        return len(self._kinds)

    def add(self, row: Any) -> None:
        """Take the next node."""
        facts = Checked(row, _NODE)
        members = facts.members
        if facts.whole("id") != self.count:
            raise DamageError(f"must be {self.count}: nodes stand in the order of their ids", "id")
        self._kinds.append(facts.choice("kind", _KINDS))
        self._names.append(facts.text("name"))
        self._user_names.append(facts.texts("names"))
        self._roles.append(facts.choice("role", _ROLES) if "role" in members else None)
        self._output_rows.append(self._outputs_of(facts.items("outputs")))
        self._modules.append(
            facts.reference("module", self._module_count, "module") if "module" in members else NONE
        )
        self._source_rows.append(
            self._sources[facts.reference("source", len(self._sources), "source")]
            if "source" in members
            else None
        )
        self._sequence_nrs.append(facts.whole("sequence_nr") if "sequence_nr" in members else NONE)
        self._sizes.append(facts.whole("size", 1))
        self._parameters.append(facts.whole("parameters", 0, most=INT64))
        if "saved" in members:
            facts.rows("saved", self._add_saved)
        self._saved_offsets.append(len(self._saved_names))

    def _outputs_of(self, rows: list[Any]) -> tuple[TensorSpec, ...]:
        key = repr(rows)  # tells 1, 1.0 and true apart, which are equal as values
        outputs = self._outputs.get(key)
        if outputs is None:
            outputs = tuple(
                at(f"outputs[{position}]", _spec, row) for position, row in enumerate(rows)
            )
            self._outputs[key] = outputs
        return outputs

    def _add_saved(self, row: Any) -> None:
        facts = Checked(row, _SAVED)
        members = facts.members
        self._saved_names.append(facts.text("name"))
        described = {name: member for name, member in members.items() if name in _SPEC}
        key = repr(described)
        if key not in self._specs:
            self._specs[key] = _spec(described) if described else None
        self._saved_specs.append(self._specs[key])
        self._saved_storages.append(
            facts.reference("storage", self._storage_count, "storage")
            if "storage" in members
            else NONE
        )
        self._saved_states.append(facts.choice("state", _STATES, SavedState.HELD))

    def table(self) -> NodeTable:
        """All nodes that were taken."""
        return NodeTable(
            kinds=Column.of(self._kinds),
            names=Column.of(self._names),
            user_names=Column.of(self._user_names),
            roles=Column.of(self._roles),
            outputs=Column.of(self._output_rows),
            modules=self._modules,
            sources=Column.of(self._source_rows),
            sequence_nrs=self._sequence_nrs,
            saved=SavedTable(
                self._saved_offsets,
                Column.of(self._saved_names),
                Column.of(self._saved_specs),
                self._saved_storages,
                Column.of(self._saved_states),
            ),
            sizes=self._sizes,
            parameters=self._parameters,
        )


_SPEC: Final = {"shape", "dtype", "device"}
_SAVED: Final = _SPEC | {"name", "storage", "state"}
_NODE: Final = {
    "id", "kind", "name", "names", "role", "outputs", "module", "source", "sequence_nr", "saved",
    "size", "parameters",
}  # fmt: skip


def _spec(row: Any) -> TensorSpec:
    facts = Checked(row, _SPEC)
    sizes = facts.members.get("shape", ())
    if sizes is None:
        shape = None
    elif type(sizes) is list and all(map(_is_size, sizes)):
        shape = tuple(sizes)
    else:
        raise DamageError("must be a list of sizes, or null where it is unknown", "shape")
    return TensorSpec(shape, facts.text("dtype"), facts.text("device"))


def _is_size(value: object) -> bool:
    return type(value) is str or (type(value) is int and 0 <= value <= INT64)
