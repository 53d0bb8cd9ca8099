"""Parameters of equal fate under one name, as `transformer.h.0..11.*`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphviz_cli.graph.model import Graph, NodeKind, Role
from graphviz_cli.graph.verdict import Verdict, verdicts


@dataclass(frozen=True, slots=True)
class Fate:
    """Parameters that share a verdict."""

    pattern: str
    """Their common name: of one, of all in a module (`body.*`), of a row of modules (`h.0..3.*`),
    or `*` for all that there are."""
    leaves: tuple[int, ...]
    """Their nodes, in the order of their names."""
    verdict: Verdict
    """With the first of the cuts alone."""

    @property
    def named(self) -> str:
        """The pattern, and how many parameters it stands for unless it is one."""
        return self.named_as("parameters")

    def named_as(self, noun: str) -> str:
        """The pattern, and how many of what `noun` calls them it stands for unless it is one."""
        if len(self.leaves) == 1:
            return self.pattern
        count = f"{len(self.leaves):,} {noun}"
        return f"all {count}" if self.pattern == "*" else f"{self.pattern} ({count})"


def fates(graph: Graph, *, parameters_only: bool = True) -> list[Fate]:
    """What becomes of every parameter, in the natural order of the names (`h.2` before `h.10`).

    Other leaves are told of as well if not `parameters_only`.
    """
    known = {
        leaf: replace(verdict, cuts=verdict.cuts[:1])
        for leaf, verdict in verdicts(graph, parameters_only=parameters_only).items()
    }
    return grouped(graph, known)


def grouped(graph: Graph, known: Mapping[int, Verdict]) -> list[Fate]:
    """Leaves with equal verdicts, as few groups as their dotted names allow.

    A name of several stands for no parameter of the graph that is not among them.
    """
    names = {leaf: tuple(graph.nodes[leaf].label.split(".")) for leaf in known}
    order = sorted(known, key=lambda leaf: (_natural(names[leaf]), leaf))
    others = [
        node
        for kind in (NodeKind.LEAF, NodeKind.CONSTANT)
        for node in graph.nodes.ids(kind)
        if graph.nodes.roles[node] is Role.PARAMETER and node not in known
    ]
    mixed = {prefix for n in others for prefix in _prefixes(graph.nodes[n].label.split("."))}
    below: dict[tuple[str, ...], list[int]] = {}
    for leaf in order:
        for prefix in _prefixes(names[leaf]):
            members = below.setdefault(prefix, [])
            if members and known[members[0]] != known[leaf]:
                mixed.add(prefix)
            members.append(leaf)
    groups: dict[tuple[tuple[str, ...], Verdict], list[int]] = {}
    for leaf in order:
        # The outermost module whose parameters share their fate, by its full name.
        whole = names[leaf]
        for prefix in _prefixes(whole):
            members = below[prefix]
            if prefix not in mixed and len(members) > 1:
                first, last = names[members[0]], names[members[-1]]
                depth = len(prefix)
                while depth < min(len(first), len(last)) - 1 and all(
                    names[member][: depth + 1] == first[: depth + 1] for member in members
                ):
                    depth += 1
                whole = (*first[:depth], "*")
                break
        groups.setdefault((whole, known[leaf]), []).append(leaf)
    rows = [_Row(pattern, verdict, leaves) for (pattern, verdict), leaves in groups.items()]
    for depth in reversed(range(max((len(row.pattern) for row in rows), default=0))):
        rows = _merged(rows, depth)
    return [Fate(".".join(row.pattern), tuple(row.leaves), row.verdict) for row in rows]


@dataclass(slots=True)
class _Row:
    pattern: tuple[str, ...]
    verdict: Verdict
    leaves: list[int]


def _merged(rows: Iterable[_Row], depth: int) -> list[_Row]:
    """Join rows whose names differ by consecutive numbers at one place alone."""
    merged: list[_Row] = []
    latest: dict[object, tuple[int, int, _Row]] = {}
    for row in rows:
        number = row.pattern[depth] if depth < len(row.pattern) else ""
        if not re.fullmatch(r"0|[1-9][0-9]*", number):
            merged.append(row)
            continue
        key = row.pattern[:depth], row.pattern[depth + 1 :], row.verdict
        first, last, earlier = latest.get(key, (0, -2, row))
        if int(number) == last + 1:
            name = f"{first}..{number}"
            earlier.pattern = (*row.pattern[:depth], name, *row.pattern[depth + 1 :])
            earlier.leaves += row.leaves
            latest[key] = first, int(number), earlier
        else:
            latest[key] = int(number), int(number), row
            merged.append(row)
    return merged


def _prefixes(name: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The modules around a name, outermost first; the name itself is not among them."""
    return (tuple(name[:depth]) for depth in range(len(name)))


def _natural(name: Sequence[str]) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in name]
