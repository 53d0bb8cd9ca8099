"""Where the nodes of a graph come from: module calls, expressions and variables."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphviz_cli.capture.columns import patched
from graphviz_cli.capture.leaves import Leaf
from graphviz_cli.capture.modules import keep_calls
from graphviz_cli.capture.private import UNNUMBERED
from graphviz_cli.graph.model import NONE, Column, ModuleCall, SourceLocation

if TYPE_CHECKING:
    from graphviz_cli.capture.attribution import Attribution
    from graphviz_cli.capture.cut_records import Cut
    from graphviz_cli.capture.names import TensorNames

_NOWHERE = -1
"""The sequence number by which to ask for a node that has none."""


@dataclass(frozen=True, slots=True)
class Origins:
    """What is known of every node of a graph, leaves without edges included."""

    calls: tuple[ModuleCall, ...]
    """Only those that made a node, or own a leaf, and those around them."""
    modules: array[int]
    """Index into `calls`, or NONE."""
    sources: Column[SourceLocation | None]
    names: Column[tuple[str, ...]]
    """The variables that hold an op's output."""


def unknown_origins(count: int) -> Origins:
    """Of `count` nodes nothing is known."""
    everywhere = array("i", bytes(4 * count))
    return Origins(
        (), array("i", [NONE]) * count, Column((None,), everywhere), Column(((),), everywhere)
    )


def origins_of(
    attribution: Attribution,
    names: TensorNames,
    sequence_nrs: Sequence[int],
    leaves: Sequence[Leaf],
    cuts: Sequence[Cut] = (),
) -> Origins:
    """Ask an attribution for the ops with these numbers, and place the leaves.

    A leaf belongs to the first call of the module that owns it, or of the nearest one around that.
    The cuts follow behind the nodes that `sequence_nrs` are of, leaves without edges behind those.
    """
    sequence_nrs = [*sequence_nrs, *[UNNUMBERED] * len(cuts)]
    found = attribution.resolve([_NOWHERE if nr == UNNUMBERED else nr for nr in sequence_nrs])
    calls = attribution.modules(names.module_paths)
    missing = [leaf for leaf in leaves if leaf.id >= len(sequence_nrs)]
    modules = found.modules + array("i", [NONE]) * len(missing)
    owners = _Owners(calls, found.modules)
    for leaf in leaves:
        modules[leaf.id] = owners.call(leaf.called.owner)
    first_cut = len(sequence_nrs) - len(cuts)
    explained = [attribution.explain(cut.origin, cut.receiver) for cut in cuts]
    for row, cut in enumerate(cuts, first_cut):
        modules[row] = attribution.call_of(cut.call)
    kept, renumbered = keep_calls(calls, modules)
    renumbered.append(NONE)  # where NONE, being -1, points to
    return Origins(
        kept,
        array("i", [renumbered[call] for call in modules]),
        patched(
            found.sources,
            {
                **{leaf.id: None for leaf in missing},
                **{row: source for row, (source, _) in enumerate(explained, first_cut)},
            },
            len(modules),
        ),
        patched(
            found.names,
            {
                **{leaf.id: () for leaf in missing},
                **{row: names for row, (_, names) in enumerate(explained, first_cut)},
            },
            len(modules),
        ),
    )


class _Owners:
    """Finds the call to which a tensor of a module belongs."""

    def __init__(self, calls: Sequence[ModuleCall], used: Iterable[int]) -> None:
        self._first: dict[str, int] = {}
        self._last = {call.path: index for index, call in enumerate(calls)}
        inside: set[int] = set()
        for index in set(used) - {NONE}:
            at: int | None = index
            while at is not None and at not in inside:
                inside.add(at)
                at = calls[at].parent
        for index in sorted(inside):
            self._first.setdefault(calls[index].path, index)

    def call(self, path: str | None) -> int:
        """The first call of the module at `path` that made an op, else its last one.

        A training script calls its model often, and the graph is of the last time.
        """
        while path is not None:
            for known in (self._first, self._last):
                if path in known:
                    return known[path]
            path = path.rpartition(".")[0] if path else None
        return NONE
