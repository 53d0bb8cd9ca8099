"""Whether all steps had one graph, and if not, where and how it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from graphviz_cli.charts.heading import root_text
from graphviz_cli.charts.turns import Turn, difference, form_of, turns
from graphviz_cli.drawing.format import counted, visible
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.history import History, Step, Structure

_CHECK = "graph"
_MOST_TURNS = 3
"""So many changes of one root's graph are told one by one."""
_MOST_ROOTS = 3
_MOST_GRAPHS = 3


def graph_changes(history: History) -> Iterator[Finding]:
    """One finding for each root whose graph stayed, and one for each change of another's."""
    by_root: dict[str, list[Turn]] = {root: [] for root in history.roots}
    for turn in turns(history):
        by_root[turn.after.root].append(turn)
    for root, changes in list(by_root.items())[:_MOST_ROOTS]:
        steps = [step for step in history.steps if step.root == root]
        whose = f" from {root_text(root)}" if len(by_root) > 1 else ""
        if (len(changes) <= _MOST_TURNS and len(changes) + 1 < len(steps)) or len(steps) <= 2:
            yield from _one_by_one(history, steps, changes, whose)
        else:
            yield _in_sum(history, steps, changes, whose)
        yield from _shapes(history, steps, whose)
    rest = list(by_root.values())[_MOST_ROOTS:]
    if rest:
        changed = sum(map(bool, rest))
        text = f"Of {counted(len(rest), 'more root')}, {changed:,} changed their graph."
        yield Finding(_CHECK, Severity.NOTE, text)


def _one_by_one(
    history: History, steps: Sequence[Step], changes: Sequence[Turn], whose: str
) -> Iterator[Finding]:
    if not changes:
        size = _size(history.structures[steps[0].structure])
        text = f"{counted(len(steps), 'step')}{whose} had one graph ({size})."
        yield Finding(_CHECK, Severity.NOTE, text)
    for turn in changes:
        text, lines = _change(history, turn, whose)
        yield Finding(_CHECK, Severity.NOTE, f"{text}.", hint=lines)


def _change(history: History, turn: Turn, whose: str) -> tuple[str, str]:
    """A sentence without its full stop, and the lines that say what is different."""
    before, after = turn.before, turn.after
    old, new = history.structures[before.structure], history.structures[after.structure]
    if history.every > 1:
        where = f"between step {before.number:,} and step {after.number:,}"
    else:
        where = f"step {after.number:,}"
    what = "the graph" + (f" of{whose.removeprefix(' from')}" if whose else "")
    text = f"{where}: {what} changed"
    first = min(row.first for row in history.structures if row.form == new.form)
    if first < after.number:
        return f"{text} back to that of step {first:,} ({_size(new)})", ""
    ops = f"from {_size(old)} to {new.ops:,} and {new.edges:,}"
    if (old.ops, old.edges) == (new.ops, new.edges):
        ops = f"still {_size(new)}"
    return f"{text} ({ops})", "\n".join(visible(line) for line in difference(history, turn))


def _in_sum(
    history: History, steps: Sequence[Step], changes: Sequence[Turn], whose: str
) -> Finding:
    counts = Counter(form_of(history, step) for step in steps)
    graphs = {row.form: row for row in history.structures}
    sizes = sorted(graphs[form].ops for form in counts)
    span = f"{sizes[0]:,} to {sizes[-1]:,} ops" if sizes[0] < sizes[-1] else f"{sizes[0]:,} ops"
    if len(counts) == len(steps):
        text = f"Each of {len(steps):,} steps{whose} had a graph of its own: {span}."
        return Finding(_CHECK, Severity.NOTE, text)
    order = "one after the other" if len(changes) < len(counts) else "that took turns"
    text = f"{counted(len(steps), 'step')}{whose} had {len(counts):,} graphs {order} "
    text += f"({counted(len(changes), 'change')})"
    often = [
        f"{_size(graphs[form])} in {counted(count, 'step')}"
        for form, count in counts.most_common(_MOST_GRAPHS)
    ]
    if len(counts) > _MOST_GRAPHS:
        often = [span, f"the most frequent, of {often[0]}"]
    change, lines = _change(history, changes[0], whose)
    text += f": {', '.join(often)}. At first, {change}."
    return Finding(_CHECK, Severity.NOTE, text, hint=lines)


def _shapes(history: History, steps: Sequence[Step], whose: str) -> Iterator[Finding]:
    """Where a graph has come back with other shapes."""
    counts = Counter(step.structure for step in steps)
    usual: dict[str, int] = {}
    for number, _ in counts.most_common():
        usual.setdefault(history.structures[number].form, number)
    others = sum(count for number, count in counts.items() if number not in usual.values())
    if not others:
        return
    seen: dict[str, Step] = {}
    latest = steps[0]
    for step in steps:
        if seen.setdefault(form_of(history, step), step).structure != step.structure:
            break
        latest = step
    text = f"The same graph{whose} had other shapes in {others:,} of {counted(len(steps), 'step')}"
    text += f", at first in step {step.number:,}. Batches or sequences of another length do that."
    is_alike = form_of(history, latest) == form_of(history, step)
    lines = difference(history, Turn(latest, step)) if is_alike else ()
    yield Finding(_CHECK, Severity.NOTE, text, hint="\n".join(map(visible, lines)))


def _size(structure: Structure) -> str:
    return f"{counted(structure.ops, 'op')}, {counted(structure.edges, 'edge')}"
