"""Leaves that get a gradient in one of two graphs only."""

from __future__ import annotations

from collections.abc import Iterable

from graphviz_cli.diff.lines import Line, name_text
from graphviz_cli.diff.ops import Side
from graphviz_cli.drawing.format import counted, visible
from graphviz_cli.graph.fates import grouped
from graphviz_cli.graph.model import NONE, NodeKind, Role
from graphviz_cli.graph.verdict import UNKNOWN, Status, Verdict, reached_nodes

_WORDS = {"-": "no gradient any more", "+": "a gradient now"}


def reached_here_only(side: Side) -> tuple[int, ...]:
    """The leaves to which a gradient flows in this graph, and in the other one certainly not.

    A tensor is known by its names: one that is now two, or shares its node with another, is there.
    """
    graph, other = side.graph, side.other
    reached = reached_nodes(other)
    unknown = other.annotations.get(UNKNOWN)
    there = reached if unknown is None else reached.union(unknown.values)
    names = {name for node in there for name in other.nodes.user_names[node]}
    is_leaf = NodeKind.LEAF
    return tuple(
        leaf
        for leaf in sorted(reached_nodes(graph))
        if graph.nodes.kinds[leaf] is is_leaf
        and side.partners[leaf] not in there
        and names.isdisjoint(graph.nodes.user_names[leaf])
    )


def leaf_lines(side: Side, leaves: Iterable[int]) -> list[Line]:
    """Say it of the parameters by module, then of the other leaves."""
    graph = side.graph
    known = {leaf: _fate(side, leaf) for leaf in leaves}
    parameters = {n: v for n, v in known.items() if graph.nodes.roles[n] is Role.PARAMETER}
    lines = [
        Line(
            f"{side.sign} {visible(fate.named)} "
            f"{_verb(fate.verdict, len(fate.leaves))} {_WORDS[side.sign]}",
            len(fate.leaves),
        )
        for fate in grouped(graph, parameters)
    ]
    unnamed = 0
    for leaf, fate in known.items():
        if leaf in parameters:
            continue
        if graph.nodes.user_names[leaf]:
            words = f"{_verb(fate, 1)} {_WORDS[side.sign]}"
            lines.append(Line(f"{side.sign} {name_text(graph, leaf)} {words}"))
        else:
            unnamed += 1
    if unnamed:
        verb = "gets" if unnamed == 1 else "get"
        text = f"{counted(unnamed, 'unnamed leaf', 'unnamed leaves')} {verb} {_WORDS[side.sign]}"
        lines.append(Line(f"{side.sign} {text}", unnamed))
    return lines


def _fate(side: Side, leaf: int) -> Verdict:
    """Frozen if the other graph has it as a tensor that requires no gradient."""
    partner = side.partners[leaf]
    is_frozen = partner != NONE and side.other.nodes.kinds[partner] is NodeKind.CONSTANT
    return Verdict(Status.FROZEN if is_frozen else Status.UNUSED)


def _verb(verdict: Verdict, count: int) -> str:
    verb = "require" if verdict.status is Status.FROZEN else "get"
    return verb if count > 1 else f"{verb}s"
