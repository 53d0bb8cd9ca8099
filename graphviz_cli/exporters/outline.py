"""The tree by modules: an outline of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping

from graphviz_cli.drawing.format import counted
from graphviz_cli.exporters.labels import Labels
from graphviz_cli.exporters.notes import Notes
from graphviz_cli.exporters.table import Line, Tone
from graphviz_cli.exporters.totals import Total
from graphviz_cli.graph.model import NONE, NodeKind


def outline(notes: Notes, sums: Mapping[int, Total]) -> list[Line]:
    """A line for every node, and one for every open module call.

    What is in a call comes below it: first its leaves in the order in which they are used, then
    ops and calls as the forward pass made them. Leaves outside all calls that no gradient reaches
    come last.
    """
    labels, glyphs = notes.labels, notes.glyphs
    nodes = labels.graph.nodes
    is_leaf = [kind in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in nodes.kinds.values]
    is_module = [kind is NodeKind.MODULE for kind in nodes.kinds.values]
    items = _items(notes)
    lines: list[Line] = []
    previous = NONE
    # What is left to do, innermost last: the items of a call, the next of them, and its guide.
    stack = [(items[NONE], 0, "")]
    while stack:
        level, position, prefix = stack.pop()
        fork = prefix + glyphs.fork
        while position < len(level):
            item = level[position]
            position += 1
            guide = fork if position < len(level) else prefix + glyphs.last
            if item < 0:
                call = -1 - item
                label, ops = labels.short_call(call), counted(sums[call].ops, "op")
                lines.append(Line(item, guide, label, Tone.MODULE, notes.kind(call), ops))
                bar = glyphs.bar if position < len(level) else " " * len(glyphs.bar)
                stack.append((level, position, prefix))
                stack.append((items[call], 0, prefix + bar))
                previous = NONE
                break
            kind = nodes.kinds.codes[item]
            if is_leaf[kind]:
                label, tone, note = notes.leaf(item)
                lines.append(Line(item, guide, label, tone, "", note))
                previous = NONE
            else:
                label, tone, note = notes.op(item, previous)
                call = nodes.modules[item]
                after = notes.kind(call) if is_module[kind] and call != NONE else ""
                lines.append(Line(item, guide, label, tone, after, note))
                previous = item
    return lines


def _items(notes: Notes) -> dict[int, list[int]]:
    """What is drawn in every open call, and outside all for NONE; -1 - call stands for a call."""
    labels, adjacency = notes.labels, notes.adjacency
    homes, parents = labels.homes, labels.parents
    kinds = labels.graph.nodes.kinds
    is_leaf = [kind in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in kinds.values]
    items: dict[int, list[int]] = {NONE: []}
    used: dict[int, list[int]] = {}
    seen = bytearray(len(homes))
    for node in labels.order:
        for call in _closed(homes[node], parents, items):
            items[call] = []
            items[parents[call]].append(-1 - call)
        items[homes[node]].append(node)
        for target in adjacency.successors_of(node):
            if is_leaf[kinds.codes[target]] and not seen[target]:
                seen[target] = 1
                used.setdefault(homes[target], []).append(target)
    alone: dict[int, list[int]] = {}
    for node, code in enumerate(kinds.codes):
        if is_leaf[code] and not seen[node]:
            alone.setdefault(homes[node], []).append(node)
    without_ops: dict[int, list[int]] = {}
    for home in sorted({*used, *alone}):
        for call in _closed(home, parents, items):
            items[call] = []
            without_ops.setdefault(parents[call], []).append(call)
    for home, calls in without_ops.items():
        items[home] = _with_calls(items[home], calls, labels)
    for home, found in used.items():
        items[home][:0] = found + alone.pop(home, []) if home != NONE else found
    for home, found in alone.items():
        items[home] = items[home] + found if home == NONE else found + items[home]
    return items


def _closed(call: int, parents: list[int], items: dict[int, list[int]]) -> list[int]:
    """The calls from `call` outwards that have not been met, outermost first."""
    closed = []
    while call not in items:
        closed.append(call)
        call = parents[call]
    return closed[::-1]


def _with_calls(level: list[int], calls: list[int], labels: Labels) -> list[int]:
    """A level with calls that made no op put where they began: calls are numbered in that order."""
    nodes = labels.graph.nodes
    numbers = []
    for item in level:
        is_closed = item >= 0 and nodes.kinds[item] is NodeKind.MODULE
        numbers.append(nodes.modules[item] if is_closed else -1 - item if item < 0 else NONE)
    last = max((k for k, number in enumerate(numbers) if number != NONE), default=NONE)
    waiting = sorted(calls, reverse=True)
    merged = []
    for position, (item, number) in enumerate(zip(level, numbers)):
        while waiting and (last == NONE or waiting[-1] < number):
            merged.append(-1 - waiting.pop())
        merged.append(item)
        while waiting and position == last:
            merged.append(-1 - waiting.pop())
    return merged + [-1 - call for call in reversed(waiting)]
