"""Ops that only one of two graphs has: single ones, passes of a loop, whole modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphviz_cli.diff.lines import Line, Told, counted_in, merged, name_text, place_text
from graphviz_cli.diff.matching import home, sequences
from graphviz_cli.drawing.format import counted
from graphviz_cli.graph.model import NONE, Graph

_FEW = 2
"""So many ops of a module are told one by one."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two graphs, and what the other one has of it."""

    sign: str
    """`-` for the old graph, `+` for the new one."""
    graph: Graph
    partners: Sequence[int]
    """For each node that of the other graph, or NONE."""
    other: Graph


@dataclass(frozen=True, slots=True)
class OpLines:
    """What there is to tell of ops that only one of the graphs has."""

    groups: tuple[Line, ...]
    """Passes of loops and whole modules."""
    single: tuple[Line, ...]
    by_module: tuple[Line, ...]
    """The same as `single`, counted."""


def op_lines(*sides: Side) -> OpLines:
    """Lines in the order of the forward pass, cuts first."""
    groups: list[Line] = []
    single: list[Told] = []
    by_module: list[Line] = []
    for side in sides:
        sign, graph = side.sign, side.graph
        ops, rest = sequences(graph)
        # Ops of both graphs have the same place if equally many that both have come before.
        places = {op: -1 for op in rest if side.partners[op] == NONE}
        found = 0
        for op in ops:
            if side.partners[op] == NONE:
                places[op] = found
            else:
                found += 1
        for start, end in _runs(side, ops):
            if text := _passes(graph, ops, start, end):
                groups.append(Line(f"{sign} {text}", end - start))
                for op in ops[start:end]:
                    del places[op]
        whole = _whole_modules(side, places)
        groups += _by_module(sign, whole.values())
        left = [op for op in places if op not in whole]
        single += [Told.of(sign, graph, op, place=places[op]) for op in left]
        by_module += _by_module(sign, (home(graph, op) for op in left))
    return OpLines(tuple(groups), tuple(merged(single)), tuple(by_module))


def _runs(side: Side, ops: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where ops that the other graph has not follow one another: first place, and the one after."""
    start = NONE
    for place, op in enumerate((*ops, NONE)):
        is_left = op != NONE and side.partners[op] == NONE
        if is_left and start == NONE:
            start = place
        elif not is_left and start != NONE:
            yield start, place
            start = NONE


def _passes(graph: Graph, ops: Sequence[int], start: int, end: int) -> str:
    """`2 times the 4 ops of train.py:20-23` if these are passes of a loop; else empty.

    They are if they repeat themselves, or what stands before or behind them.
    """
    nodes, length = graph.nodes, end - start

    def tokens(first: int, last: int) -> list[tuple[str, str, int, int]]:
        return [
            (nodes.names[op], home(graph, op), nodes.outputs.codes[op], nodes.sources.codes[op])
            for op in ops[max(first, 0) : last]
        ]

    own = tokens(start, end)
    period = next(
        p for p in range(1, length + 1) if length % p == 0 and own[p:] == own[: length - p]
    )
    is_repeated = period < length or own in (
        tokens(start - length, start),
        tokens(end, end + length),
    )
    if period == 1 or not is_repeated:
        return ""
    times = "once" if period == length else f"{length // period:,} times"
    return f"{times} the {period:,} ops {_where(graph, ops[start : start + period])}"


def _where(graph: Graph, ops: Sequence[int]) -> str:
    """`of train.py:20-23`, or between which ops where the lines are not known."""
    sources = [source for op in ops if (source := graph.nodes.sources[op]) is not None]
    if not sources:
        return f"from {name_text(graph, ops[0])} to {name_text(graph, ops[-1])}"
    here = [source for source in sources if source.file == sources[0].file]
    first = min(here, key=lambda source: source.line)
    last = max(source.line for source in here)
    return f"of {place_text(first)}" + (f"-{last}" if last > first.line else "")


def _whole_modules(side: Side, ops: Iterable[int]) -> Mapping[int, str]:
    """For ops of modules of which the other graph has no op, the path of the outermost of these.

    Small modules are left out.
    """
    known = {path for call in {*side.other.nodes.modules} for path in _around(side.other, call)}
    outermost = {
        call: next((path for path in _around(side.graph, call) if path not in known), None)
        for call in {*side.graph.nodes.modules}
    }
    paths = {
        op: path for op in ops if (path := outermost[side.graph.nodes.modules[op]]) is not None
    }
    counts = Counter(paths.values())
    return {op: path for op, path in paths.items() if counts[path] > _FEW}


def _around(graph: Graph, call: int) -> list[str]:
    """The paths of a module call and of those around it, the outermost first."""
    paths = []
    outer = None if call == NONE else call
    while outer is not None:
        paths.append(graph.modules[outer].path)
        outer = graph.modules[outer].parent
    return paths[::-1]


def _by_module(sign: str, paths: Iterable[str]) -> list[Line]:
    return [
        Line(
            f"{sign} {path or 'outside of modules'}: {counted(count, 'op')}"
            + (" each" if modules > 1 else ""),
            count * modules,
        )
        for path, count, modules in counted_in(paths)
    ]
