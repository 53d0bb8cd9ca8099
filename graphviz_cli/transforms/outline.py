"""A graph as an outline: what happens in every module call, in the order of the forward pass."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate

from graphviz_cli.graph.model import NONE, Graph, NodeKind

LATEST = 2**31 - 1


class Outline:
    """The items of every module call: its own ops by their ids, the calls within it as `~index`.

    `items[call]` are those of a call, `items[NONE]` those outside any. Leaves and constants are
    not items: `leaves[call]` are those that belong to a call, and `quiet[call]` the calls within
    it in which there are leaves but no ops. A call without either is not in the outline. `order`
    are all ops in the order of the forward pass, and the edges that leave node i are those from
    `offsets[i]` to `offsets[i + 1]`.
    """

    __slots__ = ("graph", "items", "leaves", "offsets", "order", "parents", "quiet")

    def __init__(self, graph: Graph) -> None:
        calls = graph.modules
        self.graph = graph
        self.parents = [NONE if call.parent is None else call.parent for call in calls]
        self.leaves: list[list[int]] = [[] for _ in range(len(calls) + 1)]
        self.items: list[list[int]] = [[] for _ in range(len(calls) + 1)]
        self.quiet: list[list[int]] = [[] for _ in range(len(calls) + 1)]
        self.order = self._ordered_ops()
        modules = graph.nodes.modules
        seen = bytearray(len(calls))
        for op in self.order:
            module = modules[op]
            call = module
            while call != NONE and not seen[call]:
                seen[call] = 1
                self.items[self.parents[call]].append(~call)
                call = self.parents[call]
            self.items[module].append(op)
        for call, leaves in enumerate(self.leaves[:-1]):
            while leaves and call != NONE and not seen[call]:
                seen[call] = 1
                self.quiet[self.parents[call]].append(call)
                call = self.parents[call]
        lengths = [0] * (len(graph.nodes) + 1)
        for source in graph.edges.sources:
            lengths[source + 1] += 1
        self.offsets = array("i", accumulate(lengths))

    def __len__(self) -> int:
        return len(self.parents)

    def _ordered_ops(self) -> array[int]:
        """Ops by sequence number; what has none comes right after the ops that it reads."""
        nodes = self.graph.nodes
        of_leaf = [kind in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in nodes.kinds.values]
        ops, unnumbered = [], set()
        for node, code in enumerate(nodes.kinds.codes):
            if of_leaf[code]:
                self.leaves[nodes.modules[node]].append(node)
            else:
                ops.append(node)
                if nodes.sequence_nrs[node] == NONE:
                    unnumbered.add(node)
        if not unnumbered:
            return array("i", sorted(ops, key=nodes.sequence_nrs.__getitem__))
        after = dict.fromkeys(unnumbered, NONE)
        for source, target in zip(self.graph.edges.sources, self.graph.edges.targets):
            if source in unnumbered:
                after[source] = max(after[source], nodes.sequence_nrs[target])
        # Among those without a number the highest id came first: ids run from the roots on.
        keys = {op: (number, 1, -op) for op, number in after.items()}
        return array(
            "i", sorted(ops, key=lambda op: keys.get(op) or (nodes.sequence_nrs[op], 0, 0))
        )

    def ops(self, item: int) -> list[int]:
        """All ops of an item in order: those of a call and of the calls within it, or the op."""
        return [inner for inner in self.walk(item) if inner >= 0]

    def walk(self, item: int) -> Iterator[int]:
        """An item and everything within it, outermost first, in order."""
        stack = [item]
        while stack:
            item = stack.pop()
            yield item
            if item < 0:
                stack.extend(reversed(self.items[~item]))

    def within(self, call: int) -> Iterator[int]:
        """A call and all calls within it, also those without ops, outermost first."""
        stack = [call]
        while stack:
            call = stack.pop()
            yield call
            stack.extend(reversed(self.quiet[call]))
            stack.extend(~item for item in reversed(self.items[call]) if item < 0)

    def tokens(self) -> tuple[array[int], array[int]]:
        """A number for every node and one for every call: equal ones have the same.

        Nodes are compared by what they are, calls by class and by the ops in them; neither by what
        they are called, nor by what they read.
        """
        nodes = self.graph.nodes
        numbers: dict[Hashable, int] = {}
        contents = array("i", bytes(4 * len(nodes)))
        for node in nodes.ids(NodeKind.MODULE):
            contents[node] = nodes.sizes[node]
        columns = (
            contents,
            nodes.kinds.codes,
            nodes.names.codes,
            nodes.roles.codes,
            nodes.outputs.codes,
            nodes.parameters,
        )
        of_node = array("i", [numbers.setdefault(row, len(numbers)) for row in zip(*columns)])
        of_call = array("i", [NONE]) * len(self)
        for call in reversed(self.calls()):
            inner = tuple(of_node[i] if i >= 0 else of_call[~i] for i in self.items[call])
            described = self.graph.modules[call]
            key = (described.type, described.repeats, inner)
            of_call[call] = numbers.setdefault(key, len(numbers))
        return of_node, of_call

    def passed_on(self, items: Sequence[int]) -> list[int]:
        """How many of the tensors made before each item are read by it or after it, among items."""
        edges, offsets = self.graph.edges, self.offsets
        item_of = {
            op: place
            for place, item in enumerate(items)
            for op in (self.ops(item) if item < 0 else (item,))
        }
        last_use: dict[tuple[int, int], int] = {}
        for op, place in item_of.items():
            for edge in range(offsets[op], offsets[op + 1]):
                made = item_of.get(edges.targets[edge])
                if made is not None and made < place:
                    tensor = edges.targets[edge], edges.output_nrs[edge]
                    last_use[tensor] = max(last_use.get(tensor, 0), place)
        changes = [0] * (len(items) + 1)
        for (op, _), place in last_use.items():
            changes[item_of[op] + 1] += 1
            changes[place + 1] -= 1
        return [*accumulate(changes)]

    def calls(self) -> list[int]:
        """All calls of the outline, each after the one around it."""
        found = [*(~item for item in self.items[NONE] if item < 0), *self.quiet[NONE]]
        for call in found:  # grows while it is read
            found.extend(~item for item in self.items[call] if item < 0)
            found.extend(self.quiet[call])
        return found
