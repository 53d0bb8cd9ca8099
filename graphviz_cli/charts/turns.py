"""Where the graph of a root is another than at its step before."""

from __future__ import annotations

from dataclasses import dataclass

from graphviz_cli.graph.history import History, Step


@dataclass(frozen=True, slots=True)
class Turn:
    """Two steps of one root, next to each other among its own, with different graphs.

    Graphs that differ in shapes only, as for batches of another size, are no different ones.
    """

    before: Step
    after: Step


def turns(history: History) -> tuple[Turn, ...]:
    """All changes of the graph, root by root: two losses that take turns change nothing."""
    latest: dict[str, Step] = {}
    found = []
    for step in history.steps:
        before = latest.get(step.root)
        if before is not None and form_of(history, before) != form_of(history, step):
            found.append(Turn(before, step))
        latest[step.root] = step
    return tuple(found)


def form_of(history: History, step: Step) -> str:
    """The digest of a step's graph without its shapes."""
    return history.structures[step.structure].form


def changed_at(history: History, root: str | None = None) -> list[int]:
    """The numbers of the steps at which the graph of a root changed, or that of any root."""
    numbers = {t.after.number for t in turns(history) if root is None or t.after.root == root}
    return sorted(numbers)


def difference(history: History, turn: Turn) -> tuple[str, ...]:
    """The lines that tell how the graph changed; empty where these two were never compared."""
    structure = history.structures[turn.after.structure]
    if structure.other is None or structure.first != turn.after.number:
        return ()
    is_compared = structure.other == turn.before.number
    return structure.difference if is_compared else ()
