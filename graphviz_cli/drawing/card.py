"""What the box of a node says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphviz_cli.drawing.diagram import Box, Chip, Look, Row
from graphviz_cli.drawing.format import (
    bytes_text,
    count_text,
    counted,
    dtype_text,
    op_text,
    shape_text,
    shortened,
    visible,
)
from graphviz_cli.drawing.gradients import Gradients
from graphviz_cli.drawing.heat import SAVED, Heat
from graphviz_cli.drawing.style import Style
from graphviz_cli.graph.finding import FINDINGS, check_of
from graphviz_cli.graph.model import (
    Graph,
    ModuleCall,
    Node,
    NodeKind,
    Role,
    SavedState,
    SavedTensor,
    SourceLocation,
    TensorSpec,
    held_bytes,
)

WARNING = "⚠"
"""Stands before the name of a check that has found something."""

_TITLE = 40
_VARIABLE = 24
_LINE = 60
_TOOLTIP_ROWS = 20

LEAF_LOOKS: Mapping[Role | None, Look] = {
    Role.PARAMETER: Look.PARAMETER,
    Role.BUFFER: Look.PARAMETER,
    Role.INPUT: Look.INPUT,
    None: Look.INPUT,
}
"""A leaf that nobody named is a tensor that the user made: it looks like an input."""


def look_of(node: Node) -> Look:
    """The look of a node."""
    match node.kind:
        case NodeKind.FUNCTION:
            return Look.OP
        case NodeKind.MODULE:
            return Look.MODULE
        case NodeKind.CUT:
            return Look.CUT
        case NodeKind.CONSTANT:
            return Look.CONSTANT
        case NodeKind.LEAF:
            return LEAF_LOOKS[node.role]


def relative_path(path: str, parent: str) -> str:
    """A dotted path as seen from the path of a module around it."""
    if parent and path.startswith(f"{parent}."):
        return path[len(parent) + 1 :]
    return path


def call_text(graph: Graph, call: ModuleCall) -> str:
    """The path of a module call as seen from the calls around it, `#2` for a second call."""
    outer = call.parent
    while outer is not None and not graph.modules[outer].path:
        outer = graph.modules[outer].parent
    path = call.path if outer is None else relative_path(call.path, graph.modules[outer].path)
    text = visible(path or call.type)
    return f"{text} #{call.nth + 1}" if call.nth else text


@dataclass(frozen=True, slots=True)
class Cards:
    """Makes the boxes and chips of a graph's nodes."""

    graph: Graph
    style: Style
    heat: Heat | None = None
    roots: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """The names of the roots, by node."""
    differences: Mapping[int, str] = field(default_factory=dict)
    """What distinguishes a folded module from the ones beside it, by node."""
    gradients: Gradients = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gradients", Gradients(self.graph, self.style))

    def finding(self, node: int) -> str:
        """The mark of a node about which a check has found something; else empty."""
        annotation = self.graph.annotations.get(FINDINGS)
        if annotation is None or node not in annotation.values:
            return ""
        return f"{WARNING} {visible(check_of(annotation.values[node]))}"

    def box(self, node: Node, id: str, chips: tuple[Chip, ...], cluster: int | None) -> Box:
        """The box of a node; `id` is its name in the picture."""
        held = held_bytes(self.graph, (node.id,))
        factor = self._factor(node)
        look = look_of(node)
        title, variable, note = self._title(node)
        return Box(
            id=id,
            look=look,
            title=title,
            variable=variable,
            note=note,
            lines=self._lines(node, look, _times(held, factor) if held else ""),
            rows=self._rows(node, factor),
            chips=chips,
            tooltip=self.tooltip(node, held),
            cluster=cluster,
            root=node.id in self.roots,
            saves=held > 0,
            repeats=self._repeats(node),
            finding=bool(self.finding(node.id)),
            tint=self.heat.tint(node.id) if self.heat else None,
        )

    def chip(self, node: Node, id: str, count: int, *, shared: bool) -> Chip:
        """The chip of a leaf inside a box that uses it `count` times."""
        return Chip(
            id=id,
            look=look_of(node),
            title=shortened(self.leaf_text(node), _TITLE) + (f" ×{count}" if count > 1 else ""),
            detail=self._outputs(node),
            tooltip=self.tooltip(node, 0),
            shared=shared,
            finding=bool(self.finding(node.id)),
            tint=self.heat.tint(node.id) if self.heat else None,
        )

    def row(self, node: Node, reason: str) -> Row:
        """A leaf as a line of a list, under its full name."""
        name = visible(node.label) or "unnamed"
        return Row(shortened(name, _LINE), self._outputs(node), shortened(visible(reason), _LINE))

    def leaf_text(self, node: Node) -> str:
        """A leaf's names, each as seen from the module call that the leaf belongs to."""
        home = "" if node.module is None else self.graph.modules[node.module].path
        # A repeated block's leaf has a name for each repetition, which differ by its number only.
        shown = node.names if self._factor(node) == 1 else node.names[:1]
        names = [visible(relative_path(name, home)) for name in shown]
        return " = ".join(names) or "unnamed"

    def _title(self, node: Node) -> tuple[str, str, str]:
        match node.kind:
            case NodeKind.FUNCTION:
                return shortened(op_text(node.name), _TITLE), _variable_text(node.names), ""
            case NodeKind.MODULE:
                if node.module is None:
                    return shortened(visible(node.label), _TITLE), "", ""
                call = self.graph.modules[node.module]
                note = visible(call.type) if call.path not in ("", call.type) else ""
                return shortened(call_text(self.graph, call), _TITLE), "", shortened(note, _TITLE)
            case NodeKind.CUT:
                return shortened(visible(node.name), _TITLE), "", ""
            case NodeKind.LEAF | NodeKind.CONSTANT:
                return shortened(self.leaf_text(node), _TITLE), "", ""

    def _lines(self, node: Node, look: Look, saves: str) -> tuple[str, ...]:
        facts = [] if look is Look.CUT else [self._outputs(node)]
        if node.id in self.roots:
            names = ", ".join(visible(n) for n in self.roots[node.id] if n not in node.names)
            facts.insert(0, shortened(f"root {names}".strip(), _VARIABLE))
        saves = saves and f"saves {saves}"
        match look:
            case Look.MODULE:
                parameters = f"{count_text(node.parameters)} params" if node.parameters else ""
                lines = [_joined(*facts), _joined(counted(node.size, "op"), parameters, saves)]
            case Look.CUT:
                lines = [_joined(*facts, "no gradient past here")]
            case Look.OP:
                lines = [_joined(*facts, saves)]
            case Look.INPUT | Look.PARAMETER | Look.CONSTANT | Look.ABSENT:
                lines = [_joined(*facts, _kind_text(node))]
        lines.append(self.finding(node.id))
        lines.append(shortened(self.differences.get(node.id, ""), _LINE))
        lines.append(self._carried(node.id))
        # What an op saves stands in its box anyway.
        if self.heat and self.heat.name != SAVED and (value := self.heat.text(node.id)):
            lines.append(value)
        lines += self.gradients.lines(node)
        if node.source is not None and ("source" in self.style.show or look is Look.CUT):
            lines.append(shortened(_source_text(node.source), _LINE))
        return tuple(line for line in lines if line)

    def _carried(self, node: int) -> str:
        """That an op of a repeated block takes from the block before, or gives to the next."""
        carried = self.graph.annotations.get("carried")
        if carried is None or node not in carried.values:
            return ""
        return shortened(f"\u21bb {visible(str(carried.values[node]))}", _LINE)

    def _rows(self, node: Node, factor: int) -> tuple[Row, ...]:
        rows = []
        if "saved" in self.style.show:
            held = [tensor for tensor in node.saved if tensor.state is not SavedState.UNDEFINED]
            if factor > 1 and len(held) % factor == 0:
                held = held[: len(held) // factor]
            rows += [self._saved_row(tensor) for tensor in held]
        operator = self.graph.operators.get(node.name) if "formula" in self.style.show else None
        if operator is not None and (readable := self.gradients.formulas(node)):
            rows += readable
        elif operator is not None and node.kind is NodeKind.FUNCTION:
            rows += [
                Row(visible(name), shortened(visible(formula), _LINE))
                for name, formula in zip(operator.inputs, operator.formulas)
            ]
        return tuple(rows)

    def _saved_row(self, tensor: SavedTensor) -> Row:
        amount = str(tensor.state)
        if tensor.state is SavedState.HELD and tensor.storage is not None:
            storage = self.graph.storages[tensor.storage]
            amount = bytes_text(storage.nbytes) if storage.owned else "not counted"
        detail = "" if tensor.spec is None else self._spec(tensor.spec)
        return Row(shortened(visible(tensor.name), _VARIABLE), detail, amount, saved=True)

    def _spec(self, spec: TensorSpec) -> str:
        text = shape_text(spec)
        return f"{text} {dtype_text(spec)}" if "dtype" in self.style.show else text

    def _outputs(self, node: Node) -> str:
        specs = node.outputs
        if not specs:
            return ""
        first = self._spec(specs[0])
        return first if len(specs) == 1 else f"{first} · {len(specs)} outputs"

    def _repeats(self, node: Node) -> int:
        if node.kind is NodeKind.MODULE and node.module is not None:
            return self.graph.modules[node.module].repeats
        cuts = self.graph.annotations.get("cuts")
        count = cuts.values.get(node.id) if cuts and node.kind is NodeKind.CUT else None
        if not isinstance(count, int):
            return 1
        factor = self._factor(node)
        return count if count % factor else count // factor

    def _factor(self, node: Node) -> int:
        """How many equal things the node stands for: the repeats of the calls around it."""
        factor, call = 1, node.module
        while call is not None:
            factor *= self.graph.modules[call].repeats
            call = self.graph.modules[call].parent
        return factor if node.size % factor == 0 else 1

    def tooltip(self, node: Node, held: int) -> str:
        """Everything that is known of a node, a line for each fact."""
        graph = self.graph
        lines = [visible(node.name or node.kind)]
        if node.kind is not NodeKind.FUNCTION:
            lines += [visible(name) for name in node.names]
        elif node.names:
            lines.append(f"variable {', '.join(visible(name) for name in node.names)}")
        if node.id in self.roots:
            lines.append(f"root {', '.join(visible(name) for name in self.roots[node.id])}")
        if node.module is not None:
            call = graph.modules[node.module]
            lines.append(f"in {visible(call.path)} {visible(call.type)}".replace("  ", " "))
        lines += [f"{shape_text(s)} {visible(s.dtype)} {visible(s.device)}" for s in node.outputs]
        if node.kind is NodeKind.MODULE or node.size > 1:
            lines.append(counted(node.size, "backward op"))
        if node.parameters:
            lines.append(f"{node.parameters:,} parameters")
        if node.kind is NodeKind.FUNCTION:
            lines += [_saved_text(tensor) for tensor in node.saved]
        if held:
            lines.append(f"keeps {bytes_text(held)} for backward")
        lines += [
            f"{visible(annotation.name)}: {visible(str(annotation.values[node.id]))}"
            f" {annotation.unit}".rstrip()
            for annotation in graph.annotations.values()
            if node.id in annotation.values
        ]
        if node.source is not None:
            where = f" in {visible(node.source.function)}" if node.source.function else ""
            lines.append(_source_text(node.source) + where)
        operator = graph.operators.get(node.name) if node.kind is NodeKind.FUNCTION else None
        if operator is not None:
            lines.append(visible(operator.schema))
            lines += [
                f"grad of {visible(name)} = {visible(formula)}"
                for name, formula in zip(operator.inputs, operator.formulas)
            ]
        if len(lines) > _TOOLTIP_ROWS:
            lines[_TOOLTIP_ROWS:] = [f"and {len(lines) - _TOOLTIP_ROWS} more lines"]
        return "\n".join(shortened(line, 200) for line in lines)


def _kind_text(node: Node) -> str:
    if node.kind is NodeKind.CONSTANT:
        return f"{node.role}, no gradient" if node.role else "constant"
    names = "shared " if len(node.names) > 1 else ""
    return f"{names}{node.role}" if node.role else "leaf"


def _variable_text(names: tuple[str, ...]) -> str:
    """As many of the variables as there is room for, at least the first."""
    text = ", ".join(map(visible, names))
    while len(text) > _VARIABLE and len(names) > 1:
        names = names[:-1]
        text = ", ".join((*map(visible, names), "…"))
    return shortened(text, _VARIABLE)


def _joined(*facts: str) -> str:
    return " · ".join(fact for fact in facts if fact)


def _times(held: int, factor: int) -> str:
    if factor == 1:
        return bytes_text(held)
    if held % factor == 0:
        return f"{factor} × {bytes_text(held // factor)}"
    return f"{bytes_text(held)} in all"


def _source_text(source: SourceLocation) -> str:
    place = f"{visible(source.file)}:{source.line}"
    return f"{place}  {visible(source.text)}" if source.text else place


def _saved_text(tensor: SavedTensor) -> str:
    kind = "" if tensor.spec is None else f" {shape_text(tensor.spec)} {visible(tensor.spec.dtype)}"
    state = "" if tensor.state is SavedState.HELD else f", {tensor.state}"
    return f"saves {visible(tensor.name)}{kind}{state}"
