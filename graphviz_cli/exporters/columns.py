"""The columns of the text trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphviz_cli.drawing.format import (
    bytes_text,
    count_text,
    dtype_text,
    measure_text,
    number_text,
    shape_text,
)
from graphviz_cli.drawing.heat import how_measured
from graphviz_cli.drawing.style import Style
from graphviz_cli.errors import UsageError
from graphviz_cli.exporters.labels import Labels
from graphviz_cli.exporters.table import Glyphs, TableColumn, Tone
from graphviz_cli.exporters.totals import Total
from graphviz_cli.graph.model import (
    NONE,
    Annotation,
    Graph,
    NodeKind,
    SourceLocation,
    TensorSpec,
    held_bytes,
)

_TOLD_OTHERWISE = frozenset({"views", "cuts", "differs", "carried", "used", "unknown"})
"""Annotations that the trees tell in their own way."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """What the lines of a tree are about: nodes, and -1 - call for open module calls."""

    labels: Labels
    sums: Mapping[int, Total]
    glyphs: Glyphs
    rows: Sequence[int]

    def outputs(self) -> list[int]:
        """The node whose outputs a line shows; NONE where there is none."""
        return [row if row >= 0 else self.sums[-1 - row].output for row in self.rows]

    def cells(self, of_node: Callable[[int], str], of_call: Callable[[Total], str]) -> list[str]:
        """A cell for each line."""
        return [of_node(row) if row >= 0 else of_call(self.sums[-1 - row]) for row in self.rows]


def column_names(graph: Graph, style: Style) -> tuple[str, ...]:
    """The columns that a style asks for, or the usual ones.

    Raises UsageError for a column that there is not.
    """
    known = dict.fromkeys((*_COLUMNS, *graph.annotations))
    unknown = [name for name in style.columns if name not in known]
    if unknown:
        hint = f"Known: {', '.join(known)}." + how_measured(graph, unknown[0])
        raise UsageError(f"There is no column {unknown[0]!r}.", hint=hint)
    names = list(style.columns) or [*_USUAL, *_numbers(graph)]
    if not style.columns and all(module == NONE for module in graph.nodes.modules):
        # A plain script: its lines are what its author knows.
        names.append("source")
    names += [name for name in ("dtype", "source", "formula") if name in style.show]
    if "values" in style.show:
        names += [name for name in ("values", "gradient-values") if name in graph.annotations]
    return tuple(dict.fromkeys(names))


def columns(subjects: Subjects, names: Sequence[str], *, keep_empty: bool) -> list[TableColumn]:
    """The columns of these names; those without anything in them only if `keep_empty`."""
    annotations = subjects.labels.graph.annotations
    made = [
        (_COLUMNS[name] if name in _COLUMNS else _annotated(annotations[name]))(subjects)
        for name in names
    ]
    return [column for column in made if keep_empty or any(column.cells)]


_USUAL = ("shape", "dtype", "params", "saved")


def _numbers(graph: Graph) -> list[str]:
    """The annotations that hold numbers only."""
    return [
        name
        for name, annotation in graph.annotations.items()
        if name not in _TOLD_OTHERWISE
        and not name.startswith("gradient-")  # one column of gradients is enough, if none is asked
        and not any(isinstance(value, str) for value in annotation.values.values())
    ]


def _shape(subjects: Subjects) -> TableColumn:
    texts = [
        _shapes_text(outputs, subjects.glyphs.times)
        for outputs in subjects.labels.graph.nodes.outputs.values
    ]
    column = _of_outputs(subjects, "shape", texts)
    return replace(column, tone=Tone.PLAIN, least=10, rank=9)


def _shapes_text(outputs: Sequence[TensorSpec], times: str) -> str:
    if not outputs:
        return ""
    shapes = [shape_text(spec, brackets=True) for spec in outputs]
    if len(shapes) == 1:
        return shapes[0]
    is_same = all(shape == shapes[0] for shape in shapes)
    return f"{shapes[0]} {f'{times}{len(shapes)}' if is_same else f'+{len(shapes) - 1}'}"


def _dtype(subjects: Subjects) -> TableColumn:
    values = subjects.labels.graph.nodes.outputs.values
    texts = [dtype_text(outputs[0]) if outputs else "" for outputs in values]
    return replace(_of_outputs(subjects, "dtype", texts), rank=1)


def _device(subjects: Subjects) -> TableColumn:
    values = subjects.labels.graph.nodes.outputs.values
    texts = [outputs[0].device if outputs else "" for outputs in values]
    return replace(_of_outputs(subjects, "device", texts), rank=0)


def _of_outputs(subjects: Subjects, header: str, texts: Sequence[str]) -> TableColumn:
    """A column of what is known of a node's outputs, with a text for every distinct value."""
    clean = [subjects.labels.clean(text) for text in texts]
    codes = subjects.labels.graph.nodes.outputs.codes
    cells = ["" if node == NONE else clean[codes[node]] for node in subjects.outputs()]
    return TableColumn(header, cells, tone=Tone.DIM)


def _params(subjects: Subjects) -> TableColumn:
    counts = subjects.labels.graph.nodes.parameters
    cells = subjects.cells(
        lambda node: count_text(counts[node]) if counts[node] else "",
        lambda total: count_text(total.parameters) if total.parameters else "",
    )
    return TableColumn("params", cells, is_right=True, least=7, rank=5)


def _saved(subjects: Subjects) -> TableColumn:
    graph = subjects.labels.graph
    offsets = graph.nodes.saved.offsets

    def of_node(node: int) -> str:
        held = held_bytes(graph, (node,)) if offsets[node] < offsets[node + 1] else 0
        return bytes_text(held) if held else ""

    cells = subjects.cells(of_node, lambda t: bytes_text(t.held) if t.held else "")
    return TableColumn("saved", cells, is_right=True, tone=Tone.SAVED, least=8, rank=7)


def _ops(subjects: Subjects) -> TableColumn:
    sizes = subjects.labels.graph.nodes.sizes
    cells = subjects.cells(
        lambda node: f"{sizes[node]:,}" if sizes[node] else "", lambda total: f"{total.ops:,}"
    )
    return TableColumn("ops", cells, is_right=True, least=5, rank=4)


def _source(subjects: Subjects) -> TableColumn:
    """File, line and expression; where all come from one file, that is the column's header."""
    labels, sources = subjects.labels, subjects.labels.graph.nodes.sources
    codes = {sources.codes[row] for row in subjects.rows if row >= 0}
    files = {location.file for code in codes if (location := sources.values[code]) is not None}
    header = next(iter(files)) if len(files) == 1 else "source"
    texts = [_source_text(location, is_only=len(files) == 1) for location in sources.values]
    clean = [labels.clean(text) for text in texts]
    cells = subjects.cells(lambda node: clean[sources.codes[node]], lambda _: "")
    return TableColumn(labels.clean(header), cells, tone=Tone.DIM, rank=3)


def _source_text(location: SourceLocation | None, *, is_only: bool) -> str:
    if location is None:
        return ""
    place = f"{location.line}" if is_only else f"{location.file}:{location.line}"
    return f"{place}: {location.text}" if location.text else place


def _formula(subjects: Subjects) -> TableColumn:
    graph, labels = subjects.labels.graph, subjects.labels
    names = graph.nodes.names
    texts = []
    for name in names.values:
        operator = graph.operators.get(name)
        formulas = zip(operator.inputs, operator.formulas) if operator else ()
        texts.append(labels.clean("; ".join(f"{of}: {formula}" for of, formula in formulas)))
    kinds = graph.nodes.kinds
    cells = subjects.cells(
        lambda node: texts[names.codes[node]] if kinds[node] is NodeKind.FUNCTION else "",
        lambda _: "",
    )
    return TableColumn("formula", cells, tone=Tone.DIM, rank=2)


def _module(subjects: Subjects) -> TableColumn:
    labels = subjects.labels
    cells = [
        "" if home == NONE else labels.call_name(home)
        for home in (labels.homes[r] if r >= 0 else labels.parents[-1 - r] for r in subjects.rows)
    ]
    return TableColumn("module", cells, tone=Tone.DIM, rank=2)


def _annotated(annotation: Annotation) -> Callable[[Subjects], TableColumn]:
    has_own_unit = annotation.unit in ("B", "bytes", "s")

    def text(value: float | int | str | None) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        return measure_text(value, annotation.unit) if has_own_unit else number_text(value)

    def column(subjects: Subjects) -> TableColumn:
        clean = subjects.labels.clean
        cells = subjects.cells(
            lambda node: clean(text(annotation.values.get(node))),
            lambda total: text(total.values.get(annotation.name)),
        )
        is_text = any(isinstance(value, str) for value in annotation.values.values())
        unit = f" [{annotation.unit}]" if annotation.unit and not has_own_unit else ""
        header = clean(annotation.name + unit)
        return TableColumn(header, cells, is_right=not is_text, least=8, rank=8)

    return column


_COLUMNS: Mapping[str, Callable[[Subjects], TableColumn]] = {
    "shape": _shape,
    "dtype": _dtype,
    "device": _device,
    "params": _params,
    "saved": _saved,
    "ops": _ops,
    "module": _module,
    "source": _source,
    "formula": _formula,
}
