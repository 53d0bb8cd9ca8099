"""What stands before and after a name in the outline: what a thing is, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphviz_cli.drawing.format import bytes_text, counted, shape_text
from graphviz_cli.exporters.labels import Labels
from graphviz_cli.exporters.table import Glyphs, Tone
from graphviz_cli.graph.finding import FINDINGS, check_of
from graphviz_cli.graph.model import (
    NodeKind,
    Role,
    SavedState,
    SavedTensor,
)
from graphviz_cli.graph.traversal import Adjacency

_MOST_INPUTS = 8
_MOST_NAMES = 3
_BETWEEN = "  "


class Notes:
    """Labels, tones and notes of the nodes of one graph.

    `show` says what is told besides the usual: `saved` tensors, the `places of cuts`. `used`
    collects the names of the glyphs that were given out, for the legend.
    """

    def __init__(
        self, labels: Labels, adjacency: Adjacency, glyphs: Glyphs, show: Collection[str] = ()
    ) -> None:
        graph = labels.graph
        self.labels = labels
        self.adjacency = adjacency
        self.glyphs = glyphs
        self.used: set[str] = set()
        self._show = show
        self._graph = graph
        self._kinds = graph.nodes.kinds
        self._is_unreached = _unreached(labels, adjacency)
        self._findings = self._annotation(FINDINGS)
        self._differs = self._annotation("differs")
        self._changed = self._annotation("gradient-changed")
        self._carried = self._annotation("carried")
        self._cuts = self._annotation("cuts")
        self._places = self._annotation("used")
        self._doubts = self._annotation("unknown")
        self._has_several = [len(outputs) > 1 for outputs in graph.nodes.outputs.values]

    def leaf(self, node: int) -> tuple[str, Tone, str]:
        """Label, tone and note of a leaf or a constant."""
        nodes, labels = self._graph.nodes, self.labels
        role = nodes.roles[node]
        glyph, tone = self.leaf_look(node)
        facts = [self._root(node)] if node in labels.roots else []
        if glyph == "constant":
            is_frozen = role is Role.PARAMETER
            facts.append("frozen" if is_frozen else f"{role or 'constant'}, no gradient")
        elif glyph == "unknown":
            facts.append(f"gradient unknown: {labels.clean(str(self._doubts[node]))}")
        elif glyph == "absent":
            facts.append("no gradient")
            if node in self._places:
                facts.append(f"used in {labels.clean(str(self._places[node]))}")
        else:
            facts.append("leaf input" if role is Role.INPUT else "leaf")
        uses = len(self.adjacency.predecessors_of(node))
        if uses > 1:
            facts[-1] += f", used {uses:,}{self.glyphs.times}"
        if node in self._changed:
            facts.append(labels.clean(str(self._changed[node])))
        facts += self.finding(node)
        # In equal blocks that are drawn once, a leaf has the names of one of them.
        others = nodes.user_names[node][1:] if labels.factor(nodes.modules[node]) == 1 else ()
        if others:
            shown = ", ".join(map(labels.clean, others[:_MOST_NAMES]))
            rest = len(others) - _MOST_NAMES
            facts.append(f"also {shown}" + (f" and {rest:,} more" if rest > 0 else ""))
        return f"{self.mark(glyph)}{labels.short[node]}", tone, _BETWEEN.join(facts)

    def leaf_look(self, node: int) -> tuple[str, Tone]:
        """Name of the glyph and tone of a leaf or a constant."""
        nodes = self._graph.nodes
        if nodes.kinds[node] is NodeKind.CONSTANT:
            return "constant", Tone.DIM
        if self._is_unreached[node]:
            is_unknown = node in self._doubts
            return ("unknown", Tone.DIM) if is_unknown else ("absent", Tone.ABSENT)
        if nodes.roles[node] in (Role.PARAMETER, Role.BUFFER):
            return "parameter", Tone.PARAMETER
        return "input", Tone.INPUT

    def op(self, node: int, previous: int) -> tuple[str, Tone, str]:
        """Label, tone and note of an op, a cut or a closed module in the outline.

        `previous` is the node of the line above, which need not be named again.
        """
        label, tone, facts = self.head(node)
        if inputs := self._inputs(node, previous):
            facts.append(inputs)
        return label, tone, _BETWEEN.join([*facts, *self.saved(node)])

    def head(self, node: int) -> tuple[str, Tone, list[str]]:
        """Label, tone and facts of an op, a cut or a closed module, whatever is around it."""
        labels, kind = self.labels, self._kinds.values[self._kinds.codes[node]]
        label, tone = labels.short[node], Tone.OP
        facts = []
        if node in labels.variables:
            label = f"{', '.join(labels.variables[node])} = {label}"
        if kind is NodeKind.MODULE:
            tone = Tone.MODULE
        elif kind is NodeKind.CUT:
            label, tone = self.mark("cut") + label + self._number(node), Tone.CUT
            facts.append("the gradient ends here")
            source = self._graph.nodes.sources[node]
            if source is not None and "places of cuts" in self._show:
                place = f"{source.file}:{source.line}"
                facts.append(labels.clean(f"{place}: {source.text}" if source.text else place))
        if node in labels.roots:
            label, tone = self.mark("root") + label, Tone.ROOT
            facts.append(self._root(node))
        elif self._is_unreached[node]:
            tone = Tone.DIM
            facts.append("no gradient")
        if kind is NodeKind.MODULE:
            facts.append(counted(self._graph.nodes.sizes[node], "op"))
        facts += self.finding(node)
        if node in self._changed:
            facts.append(labels.clean(str(self._changed[node])))
        if node in self._differs:
            facts.append(f"differs: {labels.clean(str(self._differs[node]))}")
        if node in self._carried:
            facts.append(f"carried {labels.clean(str(self._carried[node]))}")
        return label, tone, facts

    def finding(self, node: int) -> list[str]:
        """The check that has found something about a node, after its mark; else nothing."""
        if node not in self._findings:
            return []
        return [f"{self.glyphs.finding} {self.labels.clean(check_of(self._findings[node]))}"]

    def kind(self, call: int) -> str:
        """What follows the name of a module call: its class, and how many equal ones there are."""
        facts = self._graph.modules[call]
        is_told = not facts.path or facts.type in ("", facts.path)
        text = "" if is_told else f" {self.labels.clean(facts.type)}"
        if facts.repeats > 1:
            self.used.add("times")
            text += f" {self.glyphs.times}{facts.repeats:,}"
        return text

    def reference(self, node: int, home: int) -> str:
        """A node's name as it reads inside an open call."""
        text = self.labels.seen_from(node, home)
        if self._kinds.values[self._kinds.codes[node]] is NodeKind.CUT:
            return self.mark("cut") + text
        return text

    def _inputs(self, node: int, previous: int) -> str:
        """The nodes that made an op's inputs, unless it is the one line above alone."""
        adjacency, home = self.adjacency, self.labels.homes[node]
        first, last = adjacency.offsets[node], adjacency.offsets[node + 1]
        if last - first == 1 and adjacency.successors[first] == previous:
            return ""
        outputs = self._graph.nodes.outputs.codes
        names = []
        for edge in range(first, last):
            target = adjacency.successors[edge]
            if target == previous:
                self.used.add("previous")
                name = self.glyphs.previous
            else:
                name = self.reference(target, home)
            if self._has_several[outputs[target]]:
                name += f"[{self._graph.edges.output_nrs[edge]}]"
            names.append(name)
        if self._kinds[node] in (NodeKind.MODULE, NodeKind.CUT):
            # Many edges of a module come from the same place; which inputs they are is inside it.
            names = list(dict.fromkeys(names))
            if names in ([], [self.glyphs.previous]):
                return ""
        if len(names) > _MOST_INPUTS + 1:
            names[_MOST_INPUTS:] = [f"and {len(names) - _MOST_INPUTS:,} more"]
        self.used.add("inputs")
        return f"{self.glyphs.inputs} {', '.join(names) or 'nothing'}"

    def _number(self, cut: int) -> str:
        """How many cuts of one expression a cut stands for, in each of the calls around it."""
        count, factor = self._cuts.get(cut), self.labels.factor(self._graph.nodes.modules[cut])
        if not isinstance(count, int) or count == factor:
            return ""
        return f" {self.glyphs.times}{count if count % factor else count // factor:,}"

    def _root(self, node: int) -> str:
        shown = self.labels.variables.get(node, ())
        names = ", ".join(name for name in self.labels.roots[node] if name and name not in shown)
        return f"root {names}" if names else "root"

    def mark(self, glyph: str) -> str:
        """A glyph by its name, and the space after it."""
        self.used.add(glyph)
        return f"{getattr(self.glyphs, glyph)} "

    def saved(self, node: int) -> list[str]:
        """What an op keeps for its formula, if that is to be shown."""
        if "saved" not in self._show:
            return []
        tensors = [
            tensor
            for tensor in self._graph.nodes.saved.of_node(node)
            if tensor.state is not SavedState.UNDEFINED
        ]
        return [f"saves {', '.join(map(self._saved_text, tensors))}"] if tensors else []

    def _saved_text(self, tensor: SavedTensor) -> str:
        facts = [self.labels.clean(tensor.name)]
        if tensor.spec is not None:
            facts.append(self.labels.clean(shape_text(tensor.spec, brackets=True)))
        if tensor.state is not SavedState.HELD:
            facts.append(f"({tensor.state})")
        elif tensor.storage is not None and self._graph.storages[tensor.storage].owned:
            facts.append(bytes_text(self._graph.storages[tensor.storage].nbytes))
        return " ".join(facts)

    def _annotation(self, name: str) -> Mapping[int, float | int | str]:
        annotation = self._graph.annotations.get(name)
        return {} if annotation is None else annotation.values


def _unreached(labels: Labels, adjacency: Adjacency) -> bytearray:
    """Marks the nodes to which no gradient flows from a root; the edges of a cut carry none."""
    graph = labels.graph
    cuts = graph.nodes.ids(NodeKind.CUT)
    marks = bytearray(len(graph.nodes))
    if not cuts:
        # Everything that was captured is reached, but for the leaves that no edge touches.
        for kind in (NodeKind.LEAF, NodeKind.CONSTANT):
            for node in graph.nodes.ids(kind):
                marks[node] = not adjacency.predecessors_of(node) and node not in labels.roots
        return marks
    marks[:] = b"\x01" * len(marks)
    stack = list(labels.roots)
    for node in (*cuts, *stack):
        marks[node] = 0
    while stack:
        for target in adjacency.successors_of(stack.pop()):
            if marks[target]:
                marks[target] = 0
                stack.append(target)
    return marks
