"""What differs between two graphs, as data and as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphviz_cli.diff.changed import changed_lines
from graphviz_cli.diff.leaves import leaf_lines, reached_here_only
from graphviz_cli.diff.lines import Line, Told, merged, node_text
from graphviz_cli.diff.matching import TENSORS, Matching, match
from graphviz_cli.diff.ops import Side, op_lines
from graphviz_cli.diff.pairs import Change, compared
from graphviz_cli.drawing.format import visible
from graphviz_cli.graph.model import NONE, Graph, Root


@dataclass(frozen=True, slots=True)
class Changes:
    """How one graph became another."""

    old: Graph
    new: Graph
    matching: Matching
    added: tuple[int, ...]
    """Nodes of the new graph that the old one has not."""
    lost: tuple[int, ...]
    """Nodes of the old graph that the new one has not."""
    changed: tuple[Change, ...]
    """Nodes of both that are not what they were."""
    gained: tuple[int, ...]
    """Leaves of the new graph that get a gradient there only."""
    ended: tuple[int, ...]
    """Leaves of the old graph that get a gradient there only."""
    roots: tuple[tuple[Root | None, Root | None], ...]
    """Roots of the old and the new graph that are not the same, by name."""

    def lines(self, limit: int = 12) -> tuple[str, ...]:
        """The changes as text, at most `limit` lines; none for equal graphs.

        `-` stands before what the old graph alone has, `+` before what the new one alone has, `~`
        before what both have. First come the leaves that get a gradient in one of them only, then
        the roots, loops, modules and shapes, then single ops; where there are too many, the last
        line counts the nodes that are not told of.
        """
        before, after = _sides(self.old, self.new, self.matching)
        lines = leaf_lines(before, self.ended) + leaf_lines(after, self.gained)
        lines += [Line(text) for text in map(self._root_text, self.roots) if text]
        if self.matching.is_counted:
            lines.append(Line("~ ops are counted, not matched: too many differ", 0))
        ops = op_lines(before, after)
        both = changed_lines(self.old, self.new, self.changed)
        lines += [*ops.groups, *both.summaries]
        rest = [
            *both.single,
            *_tensor_lines(before, self.lost, self.ended),
            *_tensor_lines(after, self.added, self.gained),
        ]
        single = ops.single
        if len(lines) + len(single) + len(rest) > limit:
            single = min(single, ops.by_module, key=len)
        return _within(limit, [*lines, *single, *rest])

    def _root_text(self, roots: tuple[Root | None, Root | None]) -> str:
        was, now = roots
        here = "" if now is None else node_text(self.new, now.node)
        there = "" if was is None else node_text(self.old, was.node)
        if was is None:
            return "" if now is None else f"+ root {visible(now.name)}: {here}"
        if now is None:
            return f"- root {visible(was.name)}: {there}"
        if was.name != now.name:
            return f"~ root {visible(now.name)} was called {visible(was.name)}"
        if NONE in (self.matching.new_of[was.node], self.matching.old_of[now.node]):
            return ""  # that the op came or went is told anyway
        return f"~ root {visible(now.name)} is another: {here}, was {there}"


def changes(old: Graph, new: Graph) -> Changes:
    """Compare two graphs; in some seconds for 100,000 ops, whatever they are."""
    matching = match(old, new)
    before, after = _sides(old, new, matching)
    return Changes(
        old,
        new,
        matching,
        added=tuple(node for node, partner in enumerate(matching.old_of) if partner == NONE),
        lost=tuple(node for node, partner in enumerate(matching.new_of) if partner == NONE),
        changed=tuple(compared(old, new, matching)),
        gained=reached_here_only(after),
        ended=reached_here_only(before),
        roots=tuple(_roots(old, new, matching)),
    )


def _sides(old: Graph, new: Graph, matching: Matching) -> tuple[Side, Side]:
    return Side("-", old, matching.new_of, new), Side("+", new, matching.old_of, old)


def _roots(old: Graph, new: Graph, matching: Matching) -> list[tuple[Root | None, Root | None]]:
    """Partners by name, or else by tensor, that differ; then the roots that have no partner."""
    differing: list[tuple[Root | None, Root | None]] = []
    left = [*new.roots]
    alone = []
    for root in old.roots:
        same = Root(root.name, matching.new_of[root.node], root.output_nr)
        if same in left:
            left.remove(same)
        else:
            alone.append((root, same))
    for root, same in alone:
        partner = next((r for r in left if r.name == root.name), None) or next(
            (r for r in left if (r.node, r.output_nr) == (same.node, same.output_nr)), None
        )
        if partner is not None:
            left.remove(partner)
        differing.append((root, partner))
    return [*differing, *((None, root) for root in left)]


def _tensor_lines(side: Side, nodes: Sequence[int], told: Sequence[int]) -> list[Line]:
    """The leaves and constants of one graph of which nothing is said yet."""
    graph = side.graph
    left = sorted({node for node in nodes if graph.nodes.kinds[node] in TENSORS}.difference(told))
    return merged(
        Told.of(side.sign, graph, node, f"{graph.nodes.kinds[node]} {node_text(graph, node)}")
        for node in left
    )


def _within(limit: int, lines: Sequence[Line]) -> tuple[str, ...]:
    if len(lines) <= limit:
        return tuple(line.text for line in lines)
    shown = lines[: max(limit - 1, 0)]
    rest = sum(line.nodes for line in lines[len(shown) :])
    return (*(line.text for line in shown), f"… and {rest:,} more")
