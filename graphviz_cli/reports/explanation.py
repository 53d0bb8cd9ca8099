"""Why a tensor gets a gradient, or none: the path to it, or what is in the way, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from graphviz_cli.drawing.format import counted, shape_text, visible
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.cut_words import cut_words
from graphviz_cli.graph.fates import grouped
from graphviz_cli.graph.finding import listed
from graphviz_cli.graph.model import Graph, Node, NodeKind, Role, SourceLocation
from graphviz_cli.graph.traversal import Adjacency, ancestors, descendants, shortest_path
from graphviz_cli.graph.verdict import (
    OPTIMIZER,
    Status,
    Verdict,
    lost_sight,
    reached_nodes,
    verdicts,
)

_LEAVES = (NodeKind.LEAF, NodeKind.CONSTANT)
_WIDEST = 44
_MOST_OPS = 4


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one tensor, or for several of equal fate."""

    lines: tuple[str, ...]
    path: tuple[int, ...]
    """The nodes from the root to it, as far as there is a way, cuts included; at least its own."""


def named(graph: Graph, name: str) -> list[int]:
    """The nodes that a user means by a name: ascending, leaves before variables.

    The name is one of a leaf, its last parts (`fc1.weight`), a module's (all its parameters), a
    glob, a variable that holds the output of an op, or a root's. Raises UsageError with the closest
    names if there is none.
    """
    leaves = [n for kind in _LEAVES for n in graph.nodes.ids(kind)]
    names = {leaf: graph.nodes.user_names[leaf] for leaf in sorted(leaves)}
    for fits in (
        lambda known: known == name,
        lambda known: known.endswith(f".{name}"),
        lambda known: known.startswith(f"{name}.") or f".{name}." in known,
        lambda known: fnmatchcase(known, name),
        lambda known: fnmatchcase(known, f"*.{name}"),
    ):
        found = [leaf for leaf, known in names.items() if any(map(fits, known))]
        if found:
            return found
    variables = {
        node: graph.nodes.user_names[node]
        for kind in (NodeKind.FUNCTION, NodeKind.CUT, NodeKind.MODULE)
        for node in graph.nodes.ids(kind)
        if graph.nodes.user_names[node]
    }
    for root in graph.roots:
        variables[root.node] = (*variables.get(root.node, ()), root.name)
    found = sorted(n for n, known in variables.items() if any(fnmatchcase(k, name) for k in known))
    if found:
        # A variable that was set several times is asked for as it was last.
        last = max(found, key=lambda node: (graph.nodes.sequence_nrs[node], node))
        return [last] if len(found) > 1 and not set(name) & set("*?[") else found
    known_names = sorted({k for known in (*names.values(), *variables.values()) for k in known})
    close = difflib.get_close_matches(name, known_names, n=3, cutoff=0.4)
    raise UsageError(
        f"Nothing in the graph is named {name!r}.",
        hint=f"Did you mean {' or '.join(close)}?"
        if close
        else "graphviz-cli check names all parameters, the text tree all variables.",
    )


def explain(graph: Graph, nodes: Sequence[int]) -> list[Explanation]:
    """Why these nodes get a gradient or none; leaves of equal fate are told of together."""
    verdict_of = verdicts(graph)
    leaves = {node: verdict_of[node] for node in nodes if node in verdict_of}
    teller = _Teller(graph)
    told = [
        teller.leaf(fate.leaves[0], fate.pattern if len(fate.leaves) > 1 else "", fate.leaves)
        for fate in grouped(graph, leaves)
    ]
    return told + [teller.node(node) for node in nodes if node not in leaves]


class _Teller:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.verdicts = verdicts(graph)
        self.adjacency = Adjacency(graph)
        cuts = set(graph.nodes.ids(NodeKind.CUT))
        kept = [
            (source, target)
            for source, target in zip(graph.edges.sources, graph.edges.targets)
            if source not in cuts and target not in cuts
        ]
        self.flowing = Adjacency.of(len(graph.nodes), [s for s, _ in kept], [t for _, t in kept])
        self.roots = list(dict.fromkeys(root.node for root in graph.roots))
        self.reached = reached_nodes(graph)

    def leaf(self, leaf: int, pattern: str, leaves: Sequence[int]) -> Explanation:
        """A leaf, which may stand for others of the same fate."""
        node = self.graph.nodes[leaf]
        several = len(leaves) > 1
        name = f"{pattern} ({len(leaves):,} parameters)" if several else node.label
        verdict = self.verdicts[leaf]
        match verdict.status:
            case Status.REACHED:
                return self._reached(leaf, name, several=several)
            case Status.CUT:
                return self._cut(leaf, name, verdict, several=several)
        return Explanation((self._missing(node, name, verdict, several=several),), (leaf,))

    def node(self, node: int) -> Explanation:
        """An op, a cut or a constant."""
        view = self.graph.nodes[node]
        name = view.names[0] if view.names else view.label
        if node in self.reached:
            return self._reached(node, name, several=False)
        if view.kind is NodeKind.CONSTANT:
            return Explanation((f"{name} requires no gradient, so it gets none.",), (node,))
        above = ancestors(self.adjacency, [node])
        cuts = [cut for cut in self.graph.nodes.ids(NodeKind.CUT) if cut in above]
        if cuts:
            in_root = descendants(self.adjacency, self.roots)
            joined = [cut for cut in cuts if cut in in_root]
            verdict = Verdict(Status.CUT, tuple(joined or cuts), is_severed=bool(joined))
            return self._cut(node, name, verdict, several=False)
        return Explanation((f"{name} gets no gradient: no root depends on it.",), (node,))

    def _reached(self, node: int, name: str, *, several: bool) -> Explanation:
        path = self._shortest(self.flowing, self.roots, node)
        root = self._root_name(path[0])
        if len(path) == 1:
            return Explanation((f"{name} is the root: the gradient starts here.",), tuple(path))
        verb, whose = ("get", ", the way to the first") if several else ("gets", "")
        head = f"{name} {verb} a gradient, {counted(len(path) - 1, 'step')} from {root}{whose}:"
        return Explanation((head, *self._lines(path)), tuple(path))

    def _cut(self, node: int, name: str, verdict: Verdict, *, several: bool) -> Explanation:
        graph = self.graph
        below = [(self._shortest(self.adjacency, [cut], node), cut) for cut in verdict.cuts]
        below = [(path, cut) for path, cut in below if path] or [([node], verdict.cuts[0])]
        behind, first = min(below, key=lambda item: len(item[0]))
        cut = graph.nodes[first]
        before = self._shortest(self.adjacency, self.roots, first)
        words = cut_words(cut)
        verb, its = ("get", "Their values go") if several else ("gets", "Its value goes")
        ops = [graph.nodes[n].name for n in reversed(behind[1:-1])]
        if len(ops) > _MOST_OPS:
            ops = [*ops[:2], f"{len(ops) - 3} more", ops[-1]]
        through = f"{its} through {listed_all(ops)}, and then the" if ops else "The"
        place = f" at {_place(cut.source)}" if cut.source else ""
        code = f" ({cut.source.text})" if cut.source and cut.source.text else ""
        text = f"{name} {verb} no gradient. {through} gradient is lost {words.place}{place}{code}."
        if len(before) > 1:
            user = graph.nodes[before[-2]]
            where = f" at {_place(user.source)}" if user.source else ""
            text += f" From there the value goes on into {user.name}{where}, and so into "
            text += f"{self._root_name(before[0])}, but no gradient comes back."
        else:
            unseen = lost_sight(graph, self.adjacency, verdict.cuts)
            text += (
                f" From there on, {unseen}."
                if unseen
                else " From there it goes nowhere else in the graph."
            )
        others = len(verdict.cuts) - 1
        if others:
            text += f" It is lost at {counted(others, 'other place')} as well."
        path = (before[:-1] if before else []) + behind
        return Explanation((f"{text} {words.cure}", *self._lines(path)), tuple(path))

    def _missing(self, node: Node, name: str, verdict: Verdict, *, several: bool) -> str:
        roots = listed([visible(root.name) for root in self.graph.roots])
        be, was, them = ("are", "were", "them") if several else ("is", "was", "it")
        match verdict.status:
            case Status.FROZEN:
                held = self.graph.annotations.get(OPTIMIZER)
                text = f"{name} {be} frozen: requires_grad is False, so no gradient is computed."
                if held is not None and node.id in held.values:
                    text += f" Still, {held.values[node.id]} holds {them}."
                return text
            case Status.UNKNOWN:
                reason = verdict.reason.rstrip(".")
                return f"It cannot be told whether {name} gets a gradient: {reason}."
            case Status.DROPPED:
                place = f" at {verdict.reason}" if verdict.reason else ""
                return (
                    f"{name} {was} used{place}, but nothing that was computed from {them} is in "
                    f"{roots}. Is an output left out of the loss?"
                )
        text = f"{name} {be} never used: no op of the forward pass took {them}."
        owner = node.label.rpartition(".")[0]
        if owner and node.role is Role.PARAMETER:
            if not any(call.path == owner for call in self.graph.modules):
                return f"{text} The module {owner} was never called."
            return f"{text} The module {owner} was called, but its forward does not use {them}."
        return text

    def _shortest(self, adjacency: Adjacency, starts: Sequence[int], node: int) -> list[int]:
        paths = [shortest_path(adjacency, start, node) for start in starts]
        return min((path for path in paths if path), key=len, default=[])

    def _root_name(self, node: int) -> str:
        names = [visible(root.name) for root in self.graph.roots if root.node == node]
        return f"the root {names[0]}" if names else "the root"

    def _lines(self, path: Sequence[int]) -> Iterator[str]:
        rows = [self._row(node) for node in path]
        widths = [min(_WIDEST, max(len(row[k]) for row in rows)) for k in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths)]
            yield f"  {'  '.join((*cells, row[3]))}".rstrip()

    def _row(self, node_id: int) -> tuple[str, str, str, str]:
        graph, node = self.graph, self.graph.nodes[node_id]
        name = visible(node.label)
        if node.kind in (NodeKind.FUNCTION, NodeKind.CUT):
            name = visible(node.name)
            name = f"{visible(node.names[0])} = {name}" if node.names else name
            name = f"✂ {name}" if node.kind is NodeKind.CUT else name
        shape = shape_text(node.outputs[0], brackets=True) if node.outputs else ""
        call = None if node.module is None else graph.modules[node.module]
        where = ""
        if node.source is not None:
            where = f"{_place(node.source)}: {visible(node.source.text)}".rstrip(": ")
        elif node.kind is NodeKind.LEAF:
            where = "leaf"
        path = "" if call is None or node.kind in _LEAVES else visible(call.path)
        return name, shape, path, where


def listed_all(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _place(source: SourceLocation) -> str:
    return f"{visible(source.file)}:{source.line}"
