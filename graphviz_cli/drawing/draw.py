"""From a graph and a style to a diagram: which boxes, chips, panels and arrows there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphviz_cli.drawing.card import WARNING, Cards, call_text
from graphviz_cli.drawing.diagram import (
    Arrow,
    Box,
    Chip,
    Cluster,
    Diagram,
    Key,
    Look,
    Row,
    Sign,
)
from graphviz_cli.drawing.format import begun, counted, shortened, visible
from graphviz_cli.drawing.formula import input_name
from graphviz_cli.drawing.gradients import FLOW
from graphviz_cli.drawing.heat import Heat, heat_of
from graphviz_cli.drawing.order import flowing, forward_order
from graphviz_cli.drawing.style import Style
from graphviz_cli.drawing.summary import summarise
from graphviz_cli.graph.finding import findings_on
from graphviz_cli.graph.model import NONE, Edge, Graph, Node, NodeKind, Role
from graphviz_cli.graph.verdict import UNKNOWN, USED

_MOST_BOXES_OF_A_LEAF = 4
"""A leaf with more consumers stands at each of them: its arrows would be all that one sees."""

_ABSENT = {
    "gets no gradient": Look.ABSENT,
    "gradient unknown": Look.ABSENT,
    "requires no gradient": Look.CONSTANT,
}
"""The boxes for leaves without an edge."""

_MOST_CHIPS = 12
_MOST_ROWS = 12
_REMARK = 120
_MOST_REMARKS = 3


def draw(graph: Graph, style: Style) -> Diagram:
    """Decide what the picture of a graph shows.

    Raises UsageError if the style asks for the colours of values that the graph does not have.
    """
    return _Drawing(graph, style).diagram()


@dataclass(slots=True)
class _Names:
    """Readable ids: letters, digits, `_`, `.` and `-`, each given once."""

    taken: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def give(self, *parts: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9_.-]+", "_", ".".join(part for part in parts if part))
        wanted = wanted[:100] or "node"
        name = wanted
        while name in self.taken:
            self.counts[wanted] += 1
            name = f"{wanted}-{self.counts[wanted] + 1}"
        self.taken.add(name)
        return name


class _Drawing:
    """The state while one graph is drawn."""

    def __init__(self, graph: Graph, style: Style) -> None:
        self.graph = graph
        self.style = style
        roots: dict[int, list[str]] = {}
        for root in graph.roots:
            roots.setdefault(root.node, []).append(root.name)
        self.heat: Heat | None = None if style.heat is None else heat_of(graph, style.heat)
        self.differences, in_boxes = self._tell_differences()
        self.cards = Cards(
            graph,
            style,
            self.heat,
            roots={node: tuple(names) for node, names in roots.items()},
            differences=in_boxes,
        )
        self.nodes: Sequence[Node] = list(graph.nodes)
        self.order = forward_order(graph)
        self.flowing = flowing(graph)
        self.names = _Names()
        self.clusters: list[Cluster] = []
        self.cluster_of_call: dict[int, int | None] = {}

    def diagram(self) -> Diagram:
        graph = self.graph
        consumers: dict[int, list[int]] = {}
        touched = {root.node for root in graph.roots}
        for source, target in zip(graph.edges.sources, graph.edges.targets):
            consumers.setdefault(target, []).append(source)
            touched.add(source)
        touched.update(consumers)

        # Panels first and in the order of the calls, so that their ids do not hang on the boxes.
        chip_leaves = {n for n in self.order if self._is_chip(n, consumers.get(n, []))}
        drawn = [n for n in self.order if n not in chip_leaves and self._is_box(n, touched)]
        self._make_clusters(drawn)
        guests = self._guests(chip_leaves, consumers)
        ids: dict[int, str] = {}
        boxes: list[Box] = []
        for n in drawn:
            node = self.nodes[n]
            ids[n] = self._id(node)
            chips = guests.get(n, ())
            boxes.append(self.cards.box(node, ids[n], chips, self._cluster(node)))
        absent = [self.nodes[n] for n in self.order if not self._is_box(n, touched)]
        boxes = [*self._absent_boxes(absent), *boxes]
        arrows = self._arrows(ids)
        summary = summarise(graph)
        return Diagram(
            title=shortened(visible(self.style.title) or summary.title, _REMARK),
            facts=summary.facts(),
            hidden=summary.hidden(),
            remarks=self._remarks(summary.marks),
            boxes=tuple(boxes),
            clusters=tuple(self.clusters),
            arrows=arrows,
            legend=self._legend(boxes, arrows),
        )

    def _tell_differences(self) -> tuple[dict[int, str], dict[int, str]]:
        """What distinguishes a call from the ones beside it: by call, and by node for its box.

        Repeats notes it at the first op of the call, in words that begin with the end of the call's
        path; folding leaves it at the outermost module that holds the call.
        """
        annotation = self.graph.annotations.get("differs")
        calls, nodes = self.graph.modules, self.graph.nodes
        at_panels: dict[int, str] = {}
        in_boxes: dict[int, str] = {}
        for node, value in annotation.values.items() if annotation else ():
            name, _, text = visible(str(value)).partition(" ")
            call: int | None = None if nodes.modules[node] == NONE else nodes.modules[node]
            is_folded = nodes.kinds[node] is NodeKind.MODULE
            while call is not None and not f".{calls[call].path}".endswith(f".{name}"):
                call = None if is_folded else calls[call].parent
            if call is not None and is_folded:
                in_boxes[node] = text
            elif call is not None:
                at_panels[call] = text
        return at_panels, in_boxes

    def _is_box(self, node: int, touched: set[int]) -> bool:
        """Whether a node has a box of its own: leaves that nothing reaches share one."""
        return node in touched or self.nodes[node].kind not in (NodeKind.LEAF, NodeKind.CONSTANT)

    def _is_chip(self, n: int, consumers: Sequence[int]) -> bool:
        node = self.nodes[n]
        if node.kind not in (NodeKind.LEAF, NodeKind.CONSTANT) or not consumers:
            return False
        if n in self.cards.roots:
            return False
        if any(self.nodes[c].kind not in (NodeKind.FUNCTION, NodeKind.MODULE) for c in consumers):
            return False
        if len(set(consumers)) > _MOST_BOXES_OF_A_LEAF:
            return True
        return len(consumers) == 1 and node.role in (Role.PARAMETER, Role.BUFFER)

    def _guests(
        self, leaves: set[int], consumers: Mapping[int, list[int]]
    ) -> dict[int, tuple[Chip, ...]]:
        """The chips of every box, in the order of the op's inputs."""
        uses: dict[int, Counter[int]] = {}
        for edge in self.graph.edges:
            if edge.target in leaves:
                uses.setdefault(edge.source, Counter())[edge.target] += 1
        guests = {}
        for host, counts in uses.items():
            chips: list[Chip] = []
            for leaf, count in counts.items():
                if len(chips) == _MOST_CHIPS and len(counts) > _MOST_CHIPS + 1:
                    rest = len(counts) - _MOST_CHIPS
                    chips.append(Chip(self.names.give("more"), Look.PARAMETER, f"{rest} more"))
                    break
                node = self.nodes[leaf]
                shared = len(set(consumers[leaf])) > 1
                chips.append(self.cards.chip(node, self._id(node), count, shared=shared))
            guests[host] = tuple(chips)
        return guests

    def _id(self, node: Node) -> str:
        call = None if node.module is None else self.graph.modules[node.module]
        path = "" if call is None else call.path
        if call is not None and call.nth:
            path = f"{path}-{call.nth + 1}"
        if node.kind is NodeKind.MODULE:
            return self.names.give(path or node.label)
        if node.kind in (NodeKind.LEAF, NodeKind.CONSTANT):
            return self.names.give(node.label or "leaf")
        return self.names.give(path, re.sub(r"Backward\d*$", "", node.name) or node.name)

    def _cluster(self, node: Node) -> int | None:
        call = node.module
        if node.kind is NodeKind.MODULE and call is not None:
            call = self.graph.modules[call].parent
        return None if call is None else self.cluster_of_call[call]

    def _make_clusters(self, drawn: Iterable[int]) -> None:
        """Panels for the calls that have a box in them, and for the calls around those."""
        calls = self.graph.modules
        needed: set[int] = set()
        for n in drawn:
            call = self.nodes[n].module
            if call is not None and self.nodes[n].kind is NodeKind.MODULE:
                call = calls[call].parent
            while call is not None and call not in needed:
                needed.add(call)
                call = calls[call].parent
        for index in sorted(needed):
            call_ = calls[index]
            outer = None if call_.parent is None else self.cluster_of_call[call_.parent]
            if not call_.path and call_.parent is None and call_.repeats == 1:
                # The target itself: the title names it, a panel around everything says nothing.
                self.cluster_of_call[index] = None
                continue
            self.cluster_of_call[index] = len(self.clusters)
            note = shortened(visible(call_.type), 40) if call_.path not in ("", call_.type) else ""
            difference = shortened(self.differences.get(index, ""), 60)
            note = " · ".join(filter(None, (note, difference)))
            self.clusters.append(
                Cluster(
                    id=self.names.give("cluster_" + (call_.path or call_.type)),
                    title=shortened(call_text(self.graph, call_), 60),
                    note=note,
                    tooltip=f"{visible(call_.path)} {visible(call_.type)}".strip(),
                    parent=outer,
                    depth=0 if outer is None else self.clusters[outer].depth + 1,
                    repeats=call_.repeats,
                )
            )

    def _arrows(self, ids: Mapping[int, str]) -> tuple[Arrow, ...]:
        position = {n: k for k, n in enumerate(self.order)}
        edges: dict[tuple[int, int], list[Edge]] = {}
        for edge in self.graph.edges:
            if edge.source in ids and edge.target in ids:
                edges.setdefault((edge.target, edge.source), []).append(edge)
        # By consumer, in the order of its inputs: what dot starts from when it avoids crossings.
        between = sorted(edges, key=lambda pair: position[pair[1]])
        longest: dict[int, int] = {}
        main: dict[int, int] = {}
        for maker, user in between:
            way = longest.get(maker, 0) + 1
            if way > longest.get(user, 0):
                longest[user], main[user] = way, maker
        return tuple(
            replace(self._arrow(ids, *pair, edges[pair]), main=main.get(pair[1]) == pair[0])
            for pair in between
        )

    def _arrow(self, ids: Mapping[int, str], maker: int, user: int, edges: list[Edge]) -> Arrow:
        made, used = self.nodes[maker], self.nodes[user]
        operator = self.graph.operators.get(used.name)
        inputs = []
        for edge in edges:
            name = f"input {edge.input_nr}"
            if operator is not None and used.kind is NodeKind.FUNCTION:
                name = input_name(operator.inputs, edge.input_nr) or name
            several = len(made.outputs) > 1
            inputs.append(name + (f" (output {edge.output_nr})" if several else ""))
        hidden = self.graph.annotations.get("views")
        views = hidden.values.get(maker, 0) if hidden and made.kind is not NodeKind.MODULE else 0
        arrow = Arrow(
            source=ids[maker],
            target=ids[user],
            count=len(edges),
            views=views if isinstance(views, int) else 0,
            broken=made.kind is NodeKind.CUT or user not in self.flowing,
            unasked=made.kind is NodeKind.CONSTANT,
            blocked=made.kind is NodeKind.CUT,
        )
        # An edge of a module stands for many inputs: a number would say nothing.
        told = ", ".join(map(visible, dict.fromkeys(inputs)))
        uses = "" if used.kind is NodeKind.MODULE else f" as {told}"
        lines = [shortened(f"{arrow.source} → {arrow.target}{uses}", 200)]
        if arrow.views:
            lines.append(f"{counted(arrow.views, 'view op')} hidden here")
        labels = [self.cards.gradients.label(made, used, edge) for edge in edges]
        return replace(arrow, tooltip="\n".join(lines), labels=tuple(labels) if any(labels) else ())

    def _absent_boxes(self, leaves: Sequence[Node]) -> list[Box]:
        """A box for the leaves that no gradient reaches, one for those that take none."""
        unknown, used = (
            annotation.values if (annotation := self.graph.annotations.get(name)) else {}
            for name in (UNKNOWN, USED)
        )
        groups: dict[str, list[Node]] = {title: [] for title in _ABSENT}
        for node in sorted(leaves, key=lambda node: node.id):
            if node.id in unknown:
                groups["gradient unknown"].append(node)
            elif node.kind is NodeKind.LEAF:
                groups["gets no gradient"].append(node)
            else:
                groups["requires no gradient"].append(node)
        boxes = []
        for title, nodes in groups.items():
            if not nodes:
                continue
            rows = []
            for node in nodes[:_MOST_ROWS]:
                use = f"used at {used[node.id]}" if node.id in used else ""
                rows.append(self.cards.row(node, str(unknown.get(node.id, use))))
            if len(nodes) > _MOST_ROWS:
                rows.append(Row(f"and {len(nodes) - _MOST_ROWS:,} more"))
            parameters = sum(node.parameters for node in nodes)
            size = counted(parameters, "element") if parameters else ""
            names = "\n".join(visible(node.label) for node in nodes)
            boxes.append(
                Box(
                    id=self.names.give(title),
                    look=_ABSENT[title],
                    title=title,
                    lines=(
                        " · ".join(filter(None, (counted(len(nodes), "tensor"), size))),
                        *dict.fromkeys(filter(None, (self.cards.finding(n.id) for n in nodes))),
                    ),
                    finding=any(self.cards.finding(node.id) for node in nodes),
                    rows=tuple(rows),
                    tooltip=shortened(names, 2000),
                )
            )
        return boxes

    def _remarks(self, marks: tuple[str, ...]) -> tuple[str, ...]:
        notes = [visible(note) for note in self.graph.provenance.notes]
        findings = [f"{WARNING} {visible(text)}" for text in findings_on(self.graph)]
        remarks = [begun(text, _REMARK) for text in (*marks, *findings, *notes)]
        if len(remarks) > _MOST_REMARKS:
            remarks[_MOST_REMARKS:] = [f"and {counted(len(remarks) - _MOST_REMARKS, 'more note')}"]
        return tuple(remarks)

    def _legend(self, boxes: Sequence[Box], arrows: Sequence[Arrow]) -> tuple[Key, ...]:
        """Only what the picture holds, in a fixed order."""
        looks = {box.look for box in boxes if not box.root} | {
            chip.look for box in boxes for chip in box.chips
        }
        present: list[tuple[bool, Key]] = [
            (Look.OP in looks, Key(Look.OP, "backward op")),
            (Look.PARAMETER in looks, Key(Look.PARAMETER, "leaf parameter")),
            (Look.INPUT in looks, Key(Look.INPUT, "leaf input")),
            (Look.CONSTANT in looks, Key(Look.CONSTANT, "constant, no gradient")),
            (any(box.root for box in boxes), Key(Sign.ROOT, "root")),
            (Look.CUT in looks, Key(Look.CUT, "cut: the gradient ends")),
            (Look.ABSENT in looks, Key(Look.ABSENT, "gets no gradient")),
            (
                any(box.finding or any(chip.finding for chip in box.chips) for box in boxes),
                Key(Sign.FINDING, "a check has found something"),
            ),
            (any(box.saves for box in boxes), Key(Sign.SAVED, "saves tensors for backward")),
            (Look.MODULE in looks, Key(Look.MODULE, "folded module")),
            (bool(self.clusters), Key(Sign.PANEL, "module")),
            (
                any(box.repeats > 1 for box in boxes)
                or any(cluster.repeats > 1 for cluster in self.clusters),
                Key(Sign.REPEATED, "equal blocks, drawn once"),
            ),
            (
                any(chip.shared for box in boxes for chip in box.chips),
                Key(Sign.SHARED, "the same tensor at several ops"),
            ),
            (any(arrow.views for arrow in arrows), Key(Sign.VIEWS, "view ops hidden")),
            (any(arrow.labels for arrow in arrows), Key(Sign.FLOW, FLOW)),
        ]
        keys = tuple(key for shown, key in present if shown)
        return keys + (self.heat.legend() if self.heat else ())
