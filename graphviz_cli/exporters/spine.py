"""The tree by ops: from the root on, the way that autograd takes.

A chain of ops keeps its indent. Where it forks, the branches are indented until the op at which
they meet again, which then goes on with the chain.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from graphviz_cli.drawing.format import shape_text
from graphviz_cli.exporters.meetings import following
from graphviz_cli.exporters.notes import Notes
from graphviz_cli.exporters.table import Line
from graphviz_cli.graph.model import NONE, NodeKind
from graphviz_cli.graph.traversal import Adjacency, topological_order

_DEEPEST = 24
"""No line is indented further."""

_MOST_LEAVES = 8
_BETWEEN = "  "


@dataclass(slots=True)
class _Chain:
    """Ops that follow each other at one indent, and how far they are written."""

    nodes: list[int]
    after: int
    """The op that follows the last one, elsewhere in the tree; NONE where none does."""
    first_guide: str = ""
    guide: str = ""
    position: int = 0


def spine(notes: Notes) -> list[Line]:
    """A line for every op; leaves stand beside the ops that use them, the others at the end."""
    labels, glyphs = notes.labels, notes.glyphs
    ways, after = _ways(notes)
    leaves = _Leaves(notes)
    lines: list[Line] = []
    is_taken = bytearray(len(after))

    def chain(start: int, stop: int) -> _Chain:
        """Take what follows each other from `start` to before `stop`, as far as it is free."""
        found = []
        node = start
        while node not in (NONE, stop) and not is_taken[node]:
            is_taken[node] = 1
            found.append(node)
            node = after[node]
        return _Chain(found, NONE if node == stop else node)

    is_leaf = [k in (NodeKind.LEAF, NodeKind.CONSTANT) for k in labels.graph.nodes.kinds.values]
    codes = labels.graph.nodes.kinds.codes
    starts = [node for node in labels.roots if not is_leaf[codes[node]]]
    # Beyond what the roots reach there are the ops above a cut, and parts of a graph.
    for start in (*starts, *reversed(labels.order)):
        stack = [] if is_taken[start] else [chain(start, NONE)]
        while stack:
            current = stack[-1]
            if current.position == len(current.nodes):
                stack.pop()
                continue
            node = current.nodes[current.position]
            is_last = current.position == len(current.nodes) - 1
            guide = current.guide if current.position else current.first_guide
            current.position += 1
            branches = []
            elsewhere = [current.after] if is_last and current.after != NONE else []
            for target in ways.successors_of(node):
                if target == after[node]:
                    continue
                if is_taken[target]:
                    elsewhere.append(target)
                else:
                    branches.append(chain(target, after[node]))
            lines.append(_line(leaves, node, guide, elsewhere))
            is_deep = len(current.guide) >= _DEEPEST * len(glyphs.branch_bar)
            outer = current.guide[: -len(glyphs.branch_bar)] if is_deep else current.guide
            for branch in reversed(branches):
                branch.first_guide = outer + glyphs.branch
                branch.guide = outer + glyphs.branch_bar
                stack.append(branch)
    return lines + _unused_leaves(notes, is_leaf)


def _ways(notes: Notes) -> tuple[Adjacency, list[int]]:
    """The edges between ops, and for each op the one that comes after it at its own indent."""
    adjacency, kinds = notes.adjacency, notes.labels.graph.nodes.kinds
    count = len(adjacency)
    is_leaf = [kind in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in kinds.values]
    order = [node for node in topological_order(adjacency) if not is_leaf[kinds.codes[node]]]
    ranks = [0] * count  # of leaves: before every op, so that no edge to one counts
    for rank, node in enumerate(order, 1):
        ranks[node] = rank
    sources, targets = array("i"), array("i")
    for node in range(count):
        # In a folded graph an edge may lead back: it cannot be shown as a way on.
        rank = ranks[node]
        for target in dict.fromkeys(adjacency.successors_of(node)):
            if ranks[target] > rank > 0:
                sources.append(node)
                targets.append(target)
    ways = Adjacency.of(count, sources, targets)
    return ways, following(ways, order)


def _line(leaves: _Leaves, node: int, guide: str, elsewhere: Sequence[int]) -> Line:
    """The line of an op; `elsewhere` are the ops before it in the forward pass that stand apart."""
    notes = leaves.notes
    labels = notes.labels
    nodes = labels.graph.nodes
    label, tone, facts = notes.head(node)
    call = nodes.modules[node]
    is_module = nodes.kinds[node] is NodeKind.MODULE and call != NONE
    if used := leaves.of(node):
        facts.append(used)
    home = labels.homes[node]
    if home != NONE:
        facts.append(f"@{labels.call_name(home)}")
    facts += notes.saved(node)
    if elsewhere:
        notes.used.add("outputs")
        names = ", ".join(notes.reference(target, home) for target in elsewhere)
        facts.append(f"{notes.glyphs.outputs} {names}")
    kind = notes.kind(call) if is_module else ""
    return Line(node, guide, label, tone, kind, _BETWEEN.join(facts))


class _Leaves:
    """What stands beside an op for the leaves that it uses: marks, names and shapes."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        nodes = notes.labels.graph.nodes
        is_leaf = [kind in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in nodes.kinds.values]
        self._is_leaf = [is_leaf[code] for code in nodes.kinds.codes]
        self._texts: dict[tuple[int, int], str] = {}

    def of(self, node: int) -> str:
        """The leaves that an op uses, in the order of its inputs."""
        is_leaf, home = self._is_leaf, self.notes.labels.homes[node]
        used = [t for t in self.notes.adjacency.successors_of(node) if is_leaf[t]]
        texts = [self._text(leaf, home) for leaf in dict.fromkeys(used)]
        if len(texts) > _MOST_LEAVES + 1:
            texts[_MOST_LEAVES:] = [f"and {len(texts) - _MOST_LEAVES:,} more"]
        return ", ".join(texts)

    def _text(self, leaf: int, home: int) -> str:
        text = self._texts.get((leaf, home))
        if text is None:
            notes = self.notes
            specs = notes.labels.graph.nodes.outputs[leaf]
            shape = f" {shape_text(specs[0], brackets=True)}" if specs else ""
            mark = notes.mark(notes.leaf_look(leaf)[0])
            name = f"{mark}{notes.labels.seen_from(leaf, home)}{notes.labels.clean(shape)}"
            text = " ".join([name, *notes.finding(leaf)])
            self._texts[leaf, home] = text
        return text


def _unused_leaves(notes: Notes, is_leaf: Sequence[bool]) -> list[Line]:
    """The lines of the leaves that no op uses."""
    labels, adjacency = notes.labels, notes.adjacency
    lines = []
    for node, code in enumerate(labels.graph.nodes.kinds.codes):
        if is_leaf[code] and not adjacency.predecessors_of(node):
            _, tone, note = notes.leaf(node)
            mark = notes.mark(notes.leaf_look(node)[0])
            lines.append(Line(node, "", mark + labels.full(node), tone, "", note))
    return lines
