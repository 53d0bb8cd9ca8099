"""Merge what happens in a module call into one node."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from graphviz_cli.graph.model import (
    NONE,
    Annotation,
    Combine,
    EdgeTable,
    Graph,
    Node,
    NodeKind,
    Role,
    TensorSpec,
)
from graphviz_cli.graph.operations import quotient
from graphviz_cli.graph.pruning import pruned
from graphviz_cli.transforms.outline import LATEST
from graphviz_cli.transforms.viewed import Shape, shape_leaving

_MOST_INPUTS = 20
"""Inputs of the program stay visible, unless there are more."""

_MOST_UNREACHED = 20
"""Parameters that no gradient reaches stay visible, unless there are more."""

_TENSORS = (Role.PARAMETER, Role.BUFFER)


def contracted(graph: Graph, calls: Iterable[int]) -> Graph:
    """Make each of these calls one MODULE node.

    It is named after the class, and its outputs are the tensors that leave it, those of its last op
    first; the numbers at its edges count these outputs, and its inputs in the order of the forward
    pass. Leaves that only the call uses go into it; one that something else uses too, or that an
    open call owns, stays, and so do the program's inputs and the parameters that no gradient
    reaches, while they are few. The annotation `unreached` counts the latter where they went into
    the node. Calls within calls do not matter, and a call that is one MODULE node already stays
    what it is.
    """
    units = _units(graph, set(calls))
    if not any(unit != NONE for unit in units):
        return graph
    return _Contraction(graph, units).graph()


def always_visible(graph: Graph) -> set[int]:
    """The leaves that no folding may hide: roots, few inputs, and few that no gradient reaches."""
    nodes = graph.nodes
    leaves = {leaf for kind in (NodeKind.LEAF, NodeKind.CONSTANT) for leaf in nodes.ids(kind)}
    read = leaves.intersection(graph.edges.targets)
    visible = {root.node for root in graph.roots} & leaves
    inputs = {n for n in read if nodes.roles[n] not in _TENSORS and nodes.modules[n] == NONE}
    unreached = {n for n in leaves - read - visible if nodes.kinds[n] is NodeKind.LEAF}
    for few, limit in ((inputs, _MOST_INPUTS), (unreached, _MOST_UNREACHED)):
        if len(few) <= limit:
            visible |= few
    return visible


def _units(graph: Graph, calls: set[int]) -> array[int]:
    """The outermost of `calls` that each call of the graph is in; NONE if it is in none."""
    parents = [NONE if call.parent is None else call.parent for call in graph.modules]
    units = array("i", [NONE]) * len(parents)
    known = bytearray(len(parents))
    for call in range(len(parents)):
        path = []
        while call != NONE and not known[call]:
            path.append(call)
            call = parents[call]
        unit = NONE if call == NONE else units[call]
        for inner in reversed(path):
            if unit == NONE and inner in calls:
                unit = inner
            units[inner] = unit
            known[inner] = 1
    return units


class _Contraction:
    """The state while calls of one graph are merged."""

    def __init__(self, graph: Graph, unit_of_call: array[int]) -> None:
        self.source = graph
        self.unit_of_call = unit_of_call
        kinds = graph.nodes.kinds
        leaves = [kind in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in kinds.values]
        self.is_leaf = bytearray(map(leaves.__getitem__, kinds.codes))
        self.unread: list[int] = []
        self.shapes: dict[tuple[int, int], set[Shape]] = {}
        """In which shapes each tensor that leaves a unit does so."""
        self.units = array("i", [*unit_of_call, NONE])
        self.units = array("i", map(self.units.__getitem__, graph.nodes.modules))
        self._place_leaves()

    def graph(self) -> Graph:
        """The graph with one node for every unit."""
        members = self._members()
        if not members:
            return self.source
        representatives = array("i", range(len(self.units)))
        for nodes in members.values():
            for node in nodes:
                representatives[node] = nodes[0]
        outputs = self._outputs(members)
        described = {
            nodes[0]: self._described(unit, nodes, outputs[unit]) for unit, nodes in members.items()
        }
        graph = self._without_inputs(self._renumbered(members, outputs), members)
        if self.unread:
            graph = graph.annotated(self._unreached())
        described.update(self._rehomed())
        return pruned(quotient(graph, representatives, described))

    def _place_leaves(self) -> None:
        """Decide for every leaf whether it goes into a unit: that of all who read it."""
        graph, units = self.source, self.units
        nodes, edges = graph.nodes, graph.edges
        readers: dict[int, int] = {}
        for source, target in zip(edges.sources, edges.targets):
            if self.is_leaf[target]:
                unit = units[source]
                readers[target] = unit if readers.get(target, unit) == unit else NONE
        visible = always_visible(graph)
        for leaf, is_leaf in enumerate(self.is_leaf):
            if not is_leaf:
                continue
            owner = units[leaf]
            unit = readers.get(leaf, owner)
            if owner == NONE and unit != NONE and self._is_elsewhere(leaf, unit):
                unit = NONE
            units[leaf] = NONE if leaf in visible else unit
            if leaf not in readers and units[leaf] != NONE and nodes.kinds[leaf] is NodeKind.LEAF:
                self.unread.append(leaf)

    def _is_elsewhere(self, leaf: int, unit: int) -> bool:
        """Whether a leaf belongs to an open call that is not around the unit."""
        home = self.source.nodes.modules[leaf]
        if home == NONE:
            return False
        around: int | None = unit
        while around is not None and around != home:
            around = self.source.modules[around].parent
        return around is None

    def _members(self) -> dict[int, list[int]]:
        members: dict[int, list[int]] = {}
        for node, unit in enumerate(self.units):
            if unit != NONE:
                members.setdefault(unit, []).append(node)
        nodes = self.source.nodes
        for unit in list(members):
            first, *others = members[unit]
            is_done = nodes.kinds[first] is NodeKind.MODULE and nodes.modules[first] == unit
            if is_done and not others:
                self.units[first] = NONE
                del members[unit]
        return members

    def _outputs(self, members: dict[int, list[int]]) -> dict[int, dict[tuple[int, int], int]]:
        """For every unit the tensors that leave it, numbered: those of its last op first."""
        graph, units = self.source, self.units
        edges = graph.edges
        leaving: dict[int, set[tuple[int, int]]] = {unit: set() for unit in members}
        rows = enumerate(zip(edges.sources, edges.targets, edges.output_nrs))
        for row, (source, target, output_nr) in rows:
            unit = units[target]
            if unit != NONE and units[source] != unit:
                leaving[unit].add((target, output_nr))
                shapes = self.shapes.setdefault((target, output_nr), set())
                shapes.add(shape_leaving(graph, row, unit))
        for root in graph.roots:
            if units[root.node] != NONE:
                leaving[units[root.node]].add((root.node, root.output_nr))
                self.shapes.pop((root.node, root.output_nr), None)
        numbers = graph.nodes.sequence_nrs
        return {
            unit: {
                tensor: number
                for number, tensor in enumerate(
                    sorted(tensors, key=lambda t: (-numbers[t[0]], t[0], t[1]))
                )
            }
            for unit, tensors in leaving.items()
        }

    def _described(
        self, unit: int, members: list[int], outputs: dict[tuple[int, int], int]
    ) -> Node:
        nodes, call = self.source.nodes, self.source.modules[unit]
        specs: list[TensorSpec] = []
        for node, output_nr in outputs:
            known = nodes.outputs[node]
            # A CUT or a leaf may have no outputs of its own: nothing is known of the tensor.
            spec = known[output_nr] if output_nr < len(known) else TensorSpec(None, "", "")
            shapes = self.shapes.get((node, output_nr), ())
            specs.append(replace(spec, shape=next(iter(shapes))) if len(shapes) == 1 else spec)
        order = [nodes.sequence_nrs[m] for m in members if nodes.sequence_nrs[m] != NONE]
        return Node(
            members[0],
            NodeKind.MODULE,
            call.type or self._summary(members),
            (call.path,) if call.path else (),
            outputs=tuple(specs),
            module=unit,
            sequence_nr=min(order, default=None),
        )

    def _summary(self, members: list[int]) -> str:
        """The most frequent ops, for a loop or a stretch that has no class."""
        nodes = self.source.nodes
        counts = Counter(nodes.names[m] for m in members if not self.is_leaf[m])
        names = [name.partition("Backward")[0] for name, _ in counts.most_common(3)]
        return ", ".join(names) + (", …" if len(counts) > 3 else "")

    def _renumbered(
        self, members: dict[int, list[int]], outputs: dict[int, dict[tuple[int, int], int]]
    ) -> Graph:
        """The graph with the numbers that edges and roots will have at the merged nodes."""
        graph, units = self.source, self.units
        edges = graph.edges
        input_nrs, output_nrs = array("i", edges.input_nrs), array("i", edges.output_nrs)
        entering: dict[int, list[int]] = {unit: [] for unit in members}
        for k, (source, target) in enumerate(zip(edges.sources, edges.targets)):
            unit = units[target]
            if units[source] == unit:
                continue
            if unit != NONE:
                output_nrs[k] = outputs[unit][target, output_nrs[k]]
            if units[source] != NONE:
                entering[units[source]].append(k)
        numbers = graph.nodes.sequence_nrs
        for rows in entering.values():
            rows.sort(
                key=lambda k: (
                    numbers[edges.sources[k]] if numbers[edges.sources[k]] != NONE else LATEST,
                    edges.input_nrs[k],
                )
            )
            for number, k in enumerate(rows):
                input_nrs[k] = number
        roots = tuple(
            root
            if units[root.node] == NONE
            else replace(root, output_nr=outputs[units[root.node]][root.node, root.output_nr])
            for root in graph.roots
        )
        # Each merged node's edges shall come in the order of their numbers.
        rows = sorted(range(len(edges)), key=input_nrs.__getitem__)
        columns = (edges.sources, edges.targets, input_nrs, output_nrs)
        edges = EdgeTable(*(array("i", map(column.__getitem__, rows)) for column in columns))
        return replace(graph, edges=edges, roots=roots)

    def _without_inputs(self, graph: Graph, members: dict[int, list[int]]) -> Graph:
        """What is said of an op's inputs is lost, and what passes between blocks within a unit."""
        changed = []
        for name, known in graph.annotations.items():
            values, inputs = known.values, known.inputs
            if name in ("carried", "through"):
                values = {node: v for node, v in values.items() if self.units[node] == NONE}
            if name == "carried":
                values = {**values, **self._carried(known, members)}
            inputs = {node: facts for node, facts in inputs.items() if self.units[node] == NONE}
            if len(values) < len(known.values) or len(inputs) < len(known.inputs):
                changed.append(replace(known, values=values, inputs=inputs))
        return graph.annotated(*changed)

    def _carried(self, known: Annotation, members: dict[int, list[int]]) -> dict[int, str]:
        """What the units pass from one of the equal blocks around them to the next."""
        said: dict[int, set[str]] = {}
        for op, text in known.values.items():
            unit = self.units[op]
            if unit != NONE and not self._is_repeated_within(op, unit):
                said.setdefault(members[unit][0], set()).update(str(text).split(", "))
        return {node: ", ".join(sorted(texts)) for node, texts in said.items()}

    def _is_repeated_within(self, op: int, unit: int) -> bool:
        """Whether an op belongs to equal blocks that are in the unit, or are the unit itself."""
        calls = self.source.modules
        call = self.source.nodes[op].module
        while call is not None and calls[call].repeats == 1 and call != unit:
            call = calls[call].parent
        return call is not None and calls[call].repeats > 1

    def _unreached(self) -> Annotation:
        known = self.source.annotations.get("unreached")
        values: dict[int, float | int | str] = dict(known.values) if known else {}
        values.update(dict.fromkeys(self.unread, 1))
        return Annotation("unreached", values, combine=Combine.SUM)

    def _rehomed(self) -> dict[int, Node]:
        """Leaves that stay although their call is gone move to the call around it."""
        nodes, calls = self.source.nodes, self.source.modules
        moved = {}
        for leaf, is_leaf in enumerate(self.is_leaf):
            home = nodes.modules[leaf] if is_leaf and self.units[leaf] == NONE else NONE
            unit = NONE if home == NONE else self.unit_of_call[home]
            if unit != NONE:
                moved[leaf] = replace(nodes[leaf], module=calls[unit].parent)
        return moved
