"""Everything that a graph knows of one of its nodes or module calls, as lines of text."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from graphviz_cli.cli.columns_of_text import entry
from graphviz_cli.drawing.format import (
    bytes_text,
    counted,
    dtype_text,
    measure_text,
    number_text,
    shape_text,
    visible,
)
from graphviz_cli.drawing.formula import filled, input_name
from graphviz_cli.errors import UsageError
from graphviz_cli.exporters.labels import Labels
from graphviz_cli.graph.model import (
    Annotation,
    Graph,
    NodeKind,
    SavedState,
    SourceLocation,
    TensorSpec,
    held_bytes,
)
from graphviz_cli.graph.traversal import Adjacency

_MOST_NODES = 3
_MOST_EDGES = 12
_MOST_KINDS = 8


def node_facts(graph: Graph, name: str) -> list[str]:
    """What is known of the nodes or module calls of a name, a paragraph each, the first three.

    A name is that of the text tree, with or without its leading slash, a name of a leaf, a
    variable, the path of a module, or autograd's name of an op. Raises UsageError with the closest
    names if there is nothing of that name.
    """
    return _Facts(graph).of(name)


class _Facts:
    """The names and edges of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._adjacency = Adjacency(graph)
        self._labels = Labels(graph, self._adjacency)

    def of(self, name: str) -> list[str]:
        found = self._found(name)
        paragraphs = [
            self._node(place) if place >= 0 else self._call(-1 - place)
            for place in found[:_MOST_NODES]
        ]
        lines: list[str] = []
        for paragraph in paragraphs:
            lines += ["", *paragraph] if lines else paragraph
        rest = found[_MOST_NODES:]
        if rest:
            names = ", ".join(map(self._full, rest[:_MOST_NODES]))
            more = ", ..." if len(rest) > _MOST_NODES else ""
            lines += ["", f"and {len(rest)} more of that name: {names}{more}"]
        return lines

    def _found(self, name: str) -> list[int]:
        """Nodes, and -1 - call for module calls: those of the first way to read the name."""
        graph, nodes, labels = self._graph, self._graph.nodes, self._labels
        order = {node: place for place, node in enumerate(labels.order)}
        ways: Sequence[Iterable[int]] = (
            (n for n in range(len(nodes)) if labels.full(n).lstrip("/") == name.lstrip("/")),
            (n for n in range(len(nodes)) if name in nodes.user_names[n]),
            (root.node for root in graph.roots if root.name == name),
            (
                -1 - call
                for call, facts in enumerate(graph.modules)
                if name and name in (facts.path, labels.call_name(call))
            ),
            (n for n in range(len(nodes)) if name in (nodes.names[n], labels.short[n])),
        )
        for way in ways:
            found = sorted(dict.fromkeys(way), key=lambda place: order.get(place, place))
            if found:
                return found
        known = dict.fromkeys(
            (
                *map(self._full, range(len(nodes))),
                *(user for names in nodes.user_names.values for user in names),
                *(call.path for call in graph.modules if call.path),
                *nodes.names.values,
            )
        )
        close = difflib.get_close_matches(name, [text.lstrip("/") for text in known], n=3)
        raise UsageError(
            f"The graph has no node, variable or module named {name!r}.",
            hint=f"Did you mean {', '.join(close)}?"
            if close
            else "The text tree shows all names: graphviz-cli TARGET --depth all",
        )

    def _full(self, place: int) -> str:
        if place < 0:
            return self._labels.call_name(-1 - place)
        return self._labels.full(place).removeprefix("/")

    def _name(self, node: int, home: int) -> str:
        """A node as a formula inside a module call says it."""
        return self._labels.seen_from(node, home).removeprefix("/")

    def _node(self, node: int) -> list[str]:
        graph = self._graph
        facts = graph.nodes[node]
        variables = ", ".join(map(visible, facts.names))
        title = self._full(node)
        if variables and facts.kind is NodeKind.FUNCTION:
            title += f"  ({variables})"
        lines = [title]
        kinds = {
            NodeKind.FUNCTION: f"backward op {visible(facts.name)}",
            NodeKind.LEAF: f"leaf{f', {facts.role}' if facts.role else ''}",
            NodeKind.CONSTANT: f"{facts.role or 'constant'} that requires no gradient",
            NodeKind.CUT: f"cut by {visible(facts.name)}: the gradient ends here",
            NodeKind.MODULE: f"folded module {visible(facts.name)}, "
            f"{counted(facts.size, 'backward op')}",
        }
        lines += entry("what", kinds[facts.kind])
        roots = [visible(root.name) for root in graph.roots if root.node == node]
        if roots:
            lines += entry("root", ", ".join(roots))
        if facts.kind is not NodeKind.FUNCTION and len(facts.names) > 1:
            lines += entry("names", variables)
        if facts.module is not None:
            call = graph.modules[facts.module]
            path = self._labels.call_name(facts.module)
            lines += entry("module", f"{path} {visible(call.type)}" if call.path else path)
        if facts.source is not None:
            lines += entry("source", _source_text(facts.source))
        label = "tensor" if facts.kind in (NodeKind.LEAF, NodeKind.CONSTANT) else "result"
        for nr, spec in enumerate(facts.outputs):
            number = f"{nr}: " if len(facts.outputs) > 1 else ""
            lines += entry(label if not nr else "", f"{number}{_spec_text(spec)}")
        lines += self._inputs(node)
        lines += self._users(node)
        saved = [tensor for tensor in facts.saved if tensor.state is not SavedState.UNDEFINED]
        for place, tensor in enumerate(saved):
            spec_text = "" if tensor.spec is None else f" {_spec_text(tensor.spec)}"
            state = "" if tensor.state is SavedState.HELD else f", {tensor.state}"
            text = f"{visible(tensor.name)}{spec_text}{state}"
            lines += entry("saves" if not place else "", text)
        if held := held_bytes(graph, (node,)):
            lines += entry("keeps", f"{bytes_text(held)} for backward")
        lines += self._formulas(node)
        for annotation in graph.annotations.values():
            if node in annotation.values:
                lines += entry("fact", f"{visible(annotation.name)}: {_value(annotation, node)}")
        return lines

    def _inputs(self, node: int) -> Iterator[str]:
        graph, adjacency = self._graph, self._adjacency
        operator = graph.operators.get(graph.nodes.names[node])
        first, last = adjacency.offsets[node], adjacency.offsets[node + 1]
        for place, edge in enumerate(range(first, last)):
            if place == _MOST_EDGES:
                yield from entry("", f"and {last - first - place:,} more")
                return
            target = adjacency.successors[edge]
            input_nr = graph.edges.input_nrs[edge]
            name = f"input {input_nr}"
            if operator is not None and graph.nodes.kinds[node] is NodeKind.FUNCTION:
                name = input_name(operator.inputs, input_nr) or name
            specs = graph.nodes.outputs[target]
            output_nr = graph.edges.output_nrs[edge]
            result = f" [{output_nr}]" if len(specs) > 1 else ""
            shape = f"  {_spec_text(specs[output_nr])}" if output_nr < len(specs) else ""
            text = f"{name} from {self._full(target)}{result}{shape}{self._sent(node, input_nr)}"
            yield from entry("inputs" if not place else "", text)

    def _sent(self, node: int, input_nr: int) -> str:
        """What was measured along an edge: the numbers, else their norm."""
        for name in ("gradient-values", "gradient"):
            annotation = self._graph.annotations.get(name)
            row = annotation.inputs.get(node, ()) if annotation is not None else ()
            value = row[input_nr] if input_nr < len(row) else None
            if isinstance(value, str):
                return f"  gradient {visible(value)}"
            if value is not None:
                return f"  |gradient| {number_text(value)}"
        return ""

    def _users(self, node: int) -> Iterator[str]:
        graph, adjacency = self._graph, self._adjacency
        first, last = adjacency.predecessor_offsets[node], adjacency.predecessor_offsets[node + 1]
        for place, position in enumerate(range(first, last)):
            if place == _MOST_EDGES:
                yield from entry("", f"and {last - first - place:,} more")
                return
            user = adjacency.predecessors[position]
            input_nr = graph.edges.input_nrs[adjacency.predecessor_edges[position]]
            operator = graph.operators.get(graph.nodes.names[user])
            name = f"input {input_nr}"
            if operator is not None and graph.nodes.kinds[user] is NodeKind.FUNCTION:
                name = input_name(operator.inputs, input_nr) or name
            yield from entry("used by" if not place else "", f"{self._full(user)} as {name}")

    def _formulas(self, node: int) -> Iterator[str]:
        graph, adjacency = self._graph, self._adjacency
        operator = graph.operators.get(graph.nodes.names[node])
        if operator is None or graph.nodes.kinds[node] is not NodeKind.FUNCTION:
            return
        yield from entry("forward", operator.schema)
        home = self._labels.homes[node]
        names = {}
        for edge in range(adjacency.offsets[node], adjacency.offsets[node + 1]):
            name = input_name(operator.inputs, graph.edges.input_nrs[edge])
            names[name] = self._name(adjacency.successors[edge], home)
        own = self._name(node, home)
        if len(operator.outputs) == 1 and own != self._labels.short[node]:
            names |= {"result": own, "grad": f"grad of {own}"}
        for place, (name, formula) in enumerate(filled(operator, names)):
            yield from entry("gradients" if not place else "", f"grad of {name} = {formula}")

    def _call(self, call: int) -> list[str]:
        graph, labels = self._graph, self._labels
        facts = graph.modules[call]
        inside = _calls_within(graph, call)
        members = [n for n, module in enumerate(graph.nodes.modules) if module in inside]
        ops = [n for n in members if graph.nodes.kinds[n] is NodeKind.FUNCTION]
        lines = [f"{labels.call_name(call)}: call of {visible(facts.type) or 'a module'}"]
        if facts.parent is not None:
            lines += entry("module", f"within {labels.call_name(facts.parent)}")
        kinds = Counter(graph.nodes.names[n] for n in ops)
        texts = [f"{visible(name)} ×{n}" if n > 1 else name for name, n in kinds.most_common()]
        rest = len(texts) - _MOST_KINDS
        lines += entry(
            "what",
            f"{counted(len(ops), 'backward op')}: {', '.join(texts[:_MOST_KINDS])}"
            + (f" and {rest} other kinds" if rest > 0 else "")
            if ops
            else "no backward op",
        )
        leaves = self._in_order_of_use(n for n in members if graph.nodes.parameters[n])
        for place, leaf in enumerate(leaves[:_MOST_EDGES]):
            shape = " ".join(map(_spec_text, graph.nodes.outputs[leaf]))
            lines += entry("parameters" if not place else "", f"{self._full(leaf)}  {shape}")
        if len(leaves) > _MOST_EDGES:
            lines += entry("", f"and {len(leaves) - _MOST_EDGES:,} more")
        lines += self._border(frozenset(members))
        if held := held_bytes(graph, ops):
            lines += entry("keeps", f"{bytes_text(held)} for backward")
        return lines

    def _in_order_of_use(self, leaves: Iterable[int]) -> list[int]:
        numbers = self._graph.nodes.sequence_nrs
        first = {
            leaf: min(map(numbers.__getitem__, self._adjacency.predecessors_of(leaf)), default=-1)
            for leaf in leaves
        }
        return sorted(first, key=first.__getitem__)

    def _border(self, members: frozenset[int]) -> Iterator[str]:
        """What the ops of a call take from outside, and what is made of their results there."""
        edges = self._graph.edges
        enters: dict[int, None] = {}
        leaves: dict[int, None] = {}
        for source, target in zip(edges.sources, edges.targets):
            if source in members and target not in members:
                enters[target] = None
            elif target in members and source not in members:
                leaves[target] = None
        leaves |= {root.node: None for root in self._graph.roots if root.node in members}
        for label, found in (("inputs", enters), ("results", leaves)):
            for place, node in enumerate(list(found)[:_MOST_EDGES]):
                shapes = " ".join(map(_spec_text, self._graph.nodes.outputs[node][:1]))
                yield from entry(label if not place else "", f"{self._full(node)}  {shapes}")


def _calls_within(graph: Graph, call: int) -> set[int]:
    inside = {call}
    for index, facts in enumerate(graph.modules):
        if facts.parent in inside:
            inside.add(index)
    return inside


def _spec_text(spec: TensorSpec) -> str:
    place = "" if spec.device == "cpu" else f" on {visible(spec.device)}"
    return f"{shape_text(spec)} {dtype_text(spec)}{place}"


def _source_text(source: SourceLocation) -> str:
    text = f"{visible(source.file)}:{source.line}"
    if source.text:
        text += f": {visible(source.text)}"
    return f"{text}  in {visible(source.function)}" if source.function else text


def _value(annotation: Annotation, node: int) -> str:
    value = annotation.values[node]
    if isinstance(value, str):
        return visible(value)
    return measure_text(value, annotation.unit)
