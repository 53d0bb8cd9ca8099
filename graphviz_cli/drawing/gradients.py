"""What a picture says of gradients that were measured: at the boxes, and along the arrows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphviz_cli.drawing.diagram import Row
from graphviz_cli.drawing.format import number_text, op_text, shortened, visible
from graphviz_cli.drawing.formula import filled, input_name, readable
from graphviz_cli.drawing.style import Style
from graphviz_cli.graph.model import Annotation, Edge, Graph, Node, NodeKind

FLOW = "gradient received · local derivative = gradient sent back"
"""What the legend says of the arrows' labels."""

_NAME = 16
_TEXT = 44
_MOST_TERMS = 4


@dataclass(slots=True)
class Gradients:
    """The gradients of one graph in words; all empty where none were measured.

    Of a chain of scalars the local derivatives are told as well: by linearity they are what an op
    sent along an edge, divided by what it received.
    """

    graph: Graph
    style: Style
    _norms: Annotation | None = field(init=False)
    _values: Annotation | None = field(init=False)
    _means: Annotation | None = field(init=False)
    _terms: Mapping[int, list[tuple[int, int]]] = field(init=False)
    """For each node the sources of its edges, and their numbers there."""
    _made: Mapping[int, list[tuple[int, int]]] = field(init=False)
    """For each node the targets of its edges, and their numbers."""
    _is_shown: bool = field(init=False)

    def __post_init__(self) -> None:
        known = self.graph.annotations
        self._is_shown = "values" in self.style.show
        self._norms = known.get("gradient")
        self._values = known.get("gradient-values") if self._is_shown else None
        self._means = known.get("gradient-mean") if self._is_shown else None
        terms: dict[int, list[tuple[int, int]]] = {}
        made: dict[int, list[tuple[int, int]]] = {}
        edges = self.graph.edges
        if self._is_shown:
            for source, target, input_nr in zip(edges.sources, edges.targets, edges.input_nrs):
                terms.setdefault(target, []).append((source, input_nr))
                made.setdefault(source, []).append((target, input_nr))
        self._terms, self._made = terms, made

    def lines(self, node: Node) -> tuple[str, ...]:
        """The gradient that a node received, and how it came together."""
        lines = []
        own = self.graph.annotations.get("values") if self._is_shown else None
        if own is not None and node.id in own.values and not self._merged(node):
            text = visible(str(own.values[node.id]))
            lines.append(shortened(f"{self._name(node)} = {text}", _TEXT))
        if self._values is not None and node.id in self._values.values and not self._merged(node):
            received = visible(str(self._values.values[node.id]))
            name = f"{self._derivative(node)} = "
            lines.append(shortened(name + self._sum(node, received) + received, _TEXT))
        elif self._norms is not None and node.id in self._norms.values and not self.style.heat:
            value = self._norms.values[node.id]
            if isinstance(value, (int, float)):
                lines.append(f"|grad| {number_text(value)}")
        changed = self.graph.annotations.get("gradient-changed")
        if changed is not None and node.id in changed.values:
            lines.append("a hook changes the gradient here")
        return tuple(lines)

    def label(self, maker: Node, user: Node, edge: Edge) -> str:
        """What flows along an edge: of scalars the local derivative and the product, by line."""
        if self._values is None or self._merged(user):
            return ""
        sent = _at(self._values, user.id, edge.input_nr)
        if sent is None:
            return ""
        local = self.local(user, edge.input_nr)
        if local is None:
            return shortened(visible(str(sent)), _TEXT)
        received = self._values.values.get(user.id)
        top = f"∂{self._name(user)}/∂{self._name(maker)} = {_number(local)}"
        return f"{top}\n{visible(str(received))} · {_bracketed(local)} = {visible(str(sent))}"

    def local(self, user: Node, input_nr: int) -> float | None:
        """The derivative of a scalar op by one of its scalar inputs; None where it is not known."""
        if self._means is None or len(user.outputs) != 1 or user.outputs[0].numel != 1:
            return None
        if "complex" in user.outputs[0].dtype:
            return None
        received = self._means.values.get(user.id)
        sent = _at(self._means, user.id, input_nr)
        if isinstance(received, str) or isinstance(sent, str) or not received or sent is None:
            return None
        targets = [t for t, nr in self._targets(user.id) if nr == input_nr]
        if [self._numel(target) for target in targets] != [1]:
            return None
        derivative = sent / received
        return derivative if math.isfinite(derivative) else None

    def formulas(self, node: Node) -> tuple[Row, ...]:
        """The derivative for each input that has an edge, in the user's names and readable."""
        operator = self.graph.operators.get(node.name)
        if operator is None or not self._is_shown or self._merged(node):
            return ()
        names = {}
        locals_ = []
        for target, input_nr in self._targets(node.id):
            name, maker = input_name(operator.inputs, input_nr), self.graph.nodes[target]
            names[name] = self._name(maker) if maker.names else name
            locals_.append(self.local(node, input_nr))
        taken = set(names.values())
        if len(operator.outputs) == 1 and node.names:
            names |= {"result": self._name(node), "grad": f"grad {self._name(node)}"}
        if locals_ and all(derivative in (1.0, -1.0) for derivative in locals_):
            names["alpha"] = "1"  # as was measured
        is_real = not any("complex" in spec.dtype for spec in node.outputs)
        return tuple(
            Row(f"grad {name}", "= " + shortened(readable(text) if is_real else text, 2 * _TEXT))
            for name, text in filled(operator, names)
            if name in taken
        )

    def _targets(self, node: int) -> Sequence[tuple[int, int]]:
        return self._made.get(node, ())

    def _numel(self, node: int) -> int | None:
        outputs = self.graph.nodes.outputs[node]
        return outputs[0].numel if len(outputs) == 1 else None

    def _merged(self, node: Node) -> bool:
        """It stands for several ops, so that a number would be that of one of them."""
        if node.kind is NodeKind.MODULE:
            return True
        call = node.module
        while call is not None:
            if self.graph.modules[call].repeats > 1:
                return True
            call = self.graph.modules[call].parent
        return False

    def _sum(self, node: Node, received: str) -> str:
        """`2 + 5 = ` where several gradients of one number each add up to what arrived."""
        if self._values is None:
            return ""
        terms = self._terms.get(node.id, [])
        texts = [_at(self._values, source, input_nr) for source, input_nr in terms]
        starts = any(root.node == node.id for root in self.graph.roots)
        if not 2 <= len(terms) <= _MOST_TERMS or starts or None in texts:
            return ""
        numbers = [_parsed(str(text)) for text in texts]
        whole = _parsed(received)
        if whole is None or any(number is None for number in numbers):
            return ""
        total = sum(number for number in numbers if number is not None)
        if not math.isclose(total, whole, rel_tol=1e-2, abs_tol=1e-9):
            return ""  # a hook has changed it
        first, *rest = map(str, texts)
        signed = [f" - {text[1:]}" if text.startswith("-") else f" + {text}" for text in rest]
        return f"{first}{''.join(signed)} = "

    def _derivative(self, node: Node) -> str:
        """`∂z/∂b` where there is one scalar root that starts from 1."""
        roots = self.graph.roots
        vectors = self.graph.provenance.vectors
        if len(roots) == 1 and vectors == (f"{roots[0].name}: 1",):
            return f"∂{_short(roots[0].name)}/∂{self._name(node)}"
        return f"grad {self._name(node)}"

    def _name(self, node: Node) -> str:
        if node.names:
            return _short(node.names[0])
        roots = [root.name for root in self.graph.roots if root.node == node.id and root.name]
        return _short(roots[0] if roots else op_text(node.name))


def _short(name: str) -> str:
    return shortened(visible(name), _NAME)


def _at(annotation: Annotation, node: int, input_nr: int) -> float | int | str | None:
    row = annotation.inputs.get(node, ())
    return row[input_nr] if input_nr < len(row) else None


def _parsed(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text) else None


def _number(value: float) -> str:
    return f"{value:.4g}"


def _bracketed(value: float) -> str:
    return f"({_number(value)})" if value < 0 else _number(value)
