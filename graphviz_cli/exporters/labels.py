"""Names that survive edits: `module/Op.k`, counted inside the module, never an id of the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from graphviz_cli.drawing.card import relative_path
from graphviz_cli.drawing.format import visible
from graphviz_cli.graph.model import NONE, Graph, ModuleCall, NodeKind
from graphviz_cli.graph.traversal import Adjacency, topological_order

UNNAMED = "(unnamed)"

_MOST_NAMES = 3


def forward_order(graph: Graph, adjacency: Adjacency) -> list[int]:
    """All nodes but leaves and constants, in the order in which the forward pass made them.

    A node without a sequence number comes right after the last of its inputs.
    """
    kinds = graph.nodes.kinds
    is_op = [kind not in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in kinds.values]
    ops = [node for node, code in enumerate(kinds.codes) if is_op[code]]
    numbers = graph.nodes.sequence_nrs
    if all(numbers[node] != NONE for node in ops):
        return sorted(ops, key=numbers.__getitem__)
    keys = list(numbers)
    order = [node for node in reversed(topological_order(adjacency)) if is_op[kinds.codes[node]]]
    for node in order:
        if keys[node] == NONE:
            keys[node] = max(map(keys.__getitem__, adjacency.successors_of(node)), default=NONE)
    return sorted(order, key=keys.__getitem__)


class Labels:
    """What every node and every module call is called, inside its module and from elsewhere.

    A module call is open if nodes in it are drawn. `homes` holds for each node the innermost open
    call that it is drawn in, and `parents` for each call the one that it is drawn in; the call of
    the target itself, whose path is empty, counts as no call. `order` has the ops as the forward
    pass made them.
    """

    def __init__(self, graph: Graph, adjacency: Adjacency, *, is_ascii: bool = False) -> None:
        self.graph = graph
        self.order = forward_order(graph, adjacency)
        self._is_ascii = is_ascii
        self._texts: dict[str, str] = {}
        calls, nodes = graph.modules, graph.nodes
        named = _named_ancestors(calls)
        self.parents = [NONE if c.parent is None else named[c.parent] for c in calls]
        homes = [NONE, *named]  # -1 is the last position: shifted by one it stands for no call
        outer = [NONE, *self.parents]
        is_module = [kind is NodeKind.MODULE for kind in nodes.kinds.values]
        self.homes = [
            outer[module + 1] if is_module[kind] else homes[module + 1]
            for module, kind in zip(nodes.modules, nodes.kinds.codes)
        ]
        self._factors = _factors(calls)
        self._call_names = [self._call_name(call) for call in calls]
        self.roots: dict[int, list[str]] = {}
        for root in graph.roots:
            self.roots.setdefault(root.node, []).append(self.clean(root.name))
        self.short = [""] * len(nodes)
        self._name_ops()
        self._name_leaves()
        self.variables: dict[int, tuple[str, ...]] = {}
        self._aliases: dict[int, str] = {}
        self._name_variables()

    def clean(self, text: str) -> str:
        """The text as it can be written: on one line, nothing that a terminal would obey."""
        cleaned = self._texts.get(text)
        if cleaned is None:
            cleaned = visible(text)
            if self._is_ascii:
                cleaned = cleaned.encode("ascii", "backslashreplace").decode("ascii")
            self._texts[text] = cleaned
        return cleaned

    def call_name(self, call: int) -> str:
        """The full name of a module call: `h.0.attn`, `encoder#2` for a second call."""
        return self._call_names[call]

    def short_call(self, call: int) -> str:
        """The name of a module call inside the one that it is drawn in."""
        facts, parent = self.graph.modules[call], self.parents[call]
        outer = "" if parent == NONE else self.graph.modules[parent].path
        path = self.clean(relative_path(facts.path, outer) or facts.type) or UNNAMED
        return f"{path}#{facts.nth + 1}" if facts.nth else path

    def full(self, node: int) -> str:
        """The name of a node that is clear anywhere in the graph."""
        names = self.graph.nodes.user_names[node]
        match self.graph.nodes.kinds[node]:
            case NodeKind.LEAF | NodeKind.CONSTANT:
                return (self.clean(names[0]) if names else "") or UNNAMED
            case NodeKind.MODULE if (call := self.graph.nodes.modules[node]) != NONE:
                return self.call_name(call)
        home = self.homes[node]
        return self.short[node] if home == NONE else f"{self.call_name(home)}/{self.short[node]}"

    def seen_from(self, node: int, home: int) -> str:
        """The name of a node as it reads inside an open call, or outside all for NONE."""
        alias = self._aliases.get(node)
        if alias is not None:
            return alias
        return self.short[node] if self.homes[node] == home else self.full(node)

    def factor(self, call: int) -> int:
        """How many equal calls a call stands for, those around it included."""
        return 1 if call == NONE else self._factors[call]

    def _call_name(self, call: ModuleCall) -> str:
        path = self.clean(call.path or call.type)
        return f"{path}#{call.nth + 1}" if call.nth else path

    def _name_ops(self) -> None:
        """`Op` for the first of its name in a call, then `Op.1`, `Op.2`."""
        nodes, homes = self.graph.nodes, self.homes
        texts = [self.clean(name) or UNNAMED for name in nodes.names.values]
        is_module = [kind is NodeKind.MODULE for kind in nodes.kinds.values]
        counts: Counter[tuple[int, int]] = Counter()
        for node in self.order:
            if is_module[nodes.kinds.codes[node]] and nodes.modules[node] != NONE:
                self.short[node] = self.short_call(nodes.modules[node])
                continue
            name = nodes.names.codes[node]
            key = homes[node], name
            ordinal = counts[key]
            counts[key] = ordinal + 1
            self.short[node] = f"{texts[name]}.{ordinal}" if ordinal else texts[name]

    def _name_leaves(self) -> None:
        nodes = self.graph.nodes
        for kind in (NodeKind.LEAF, NodeKind.CONSTANT):
            for node in nodes.ids(kind):
                names, home = nodes.user_names[node], self.homes[node]
                name = names[0] if names else ""
                if home != NONE:
                    path = self.graph.modules[home].path
                    inner = relative_path(name, path)
                    if inner == name and self._factors[home] > 1:
                        # Its name is that in the first of the equal blocks, the path is of all.
                        depth = path.replace("..", "-").count(".") + 1
                        inner = name.split(".", depth)[-1]
                    name = inner
                self.short[node] = self.clean(name) or UNNAMED

    def _name_variables(self) -> None:
        """Variables of the script and roots, and those that can stand for an op by themselves."""
        nodes = self.graph.nodes
        is_op = [kind is NodeKind.FUNCTION for kind in nodes.kinds.values]
        uses: Counter[str] = Counter()
        for node in self.order:
            if not is_op[nodes.kinds.codes[node]]:
                continue
            names: Iterable[str] = ()
            if nodes.modules[node] == NONE:
                names = map(self.clean, nodes.user_names[node])
            names = tuple(filter(None, names)) or tuple(filter(None, self.roots.get(node, ())))
            if names:
                self.variables[node] = names[:_MOST_NAMES]
                uses.update(set(names))
        for kind in (NodeKind.LEAF, NodeKind.CONSTANT):
            uses.update(self.short[node] for node in nodes.ids(kind) if self.homes[node] == NONE)
        for node, variables in self.variables.items():
            alias = next((name for name in variables if uses[name] == 1), None)
            if alias is not None and self.homes[node] == NONE:
                self._aliases[node] = alias


def _named_ancestors(calls: Sequence[ModuleCall]) -> list[int]:
    """For each call itself or the closest one around it that has a path."""
    named = []
    for start in range(len(calls)):
        call: int | None = start
        while call is not None and not calls[call].path:
            call = calls[call].parent
        named.append(NONE if call is None else call)
    return named


def _factors(calls: Sequence[ModuleCall]) -> list[int]:
    factors = []
    for start in range(len(calls)):
        factor = 1
        call: int | None = start
        while call is not None:
            factor *= calls[call].repeats
            call = calls[call].parent
        factors.append(factor)
    return factors
