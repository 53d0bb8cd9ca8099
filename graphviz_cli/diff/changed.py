"""Lines about ops and tensors that two graphs have in common and that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from graphviz_cli.diff.lines import Line, Told, merged, name_text, node_text, place_text
from graphviz_cli.diff.matching import home
from graphviz_cli.diff.pairs import Change, Rewiring, What
from graphviz_cli.drawing.format import counted, dtype_text, shape_text, visible
from graphviz_cli.graph.finding import listed
from graphviz_cli.graph.model import Graph, NodeKind, TensorSpec

_FEW = 4
"""Shapes, dtypes and devices of so many nodes are told one by one."""

_KINDS = 2
"""So many replacements are named where all are told together."""

_UNSEEN = (NodeKind.CONSTANT, NodeKind.CUT)
"""The kinds of nodes that get no gradient from who takes them."""


@dataclass(frozen=True, slots=True)
class ChangedLines:
    """What there is to tell of nodes that both graphs have."""

    summaries: tuple[Line, ...]
    """Shapes, dtypes and devices of many nodes, a line for each of the three."""
    single: tuple[Line, ...]
    """Wiring, modules, and what the summaries do not tell."""


def changed_lines(old: Graph, new: Graph, changes: Sequence[Change]) -> ChangedLines:
    """Lines in the order of the forward pass, for wiring, modules and outputs in turn."""
    numbers = new.nodes.sequence_nrs
    rewired = []
    for change in changes:
        if change.rewiring is not None:
            text = f"{node_text(new, change.new)} {_rewired(old, new, change.rewiring)}"
            rewired.append(Told.of("~", new, change.new, text, numbers[change.new]))
    lines = (*merged(rewired), *_moved(old, new, changes))
    specs = [change for change in changes if change.what & {What.SHAPE, What.DTYPE, What.DEVICE}]
    single = merged(
        Told.of("~", new, change.new, _respecified(old, new, change), numbers[change.new])
        for change in specs
    )
    if len(specs) <= _FEW or len(single) == 1:
        return ChangedLines((), (*lines, *single))
    return ChangedLines(tuple(_summaries(old, new, specs)), lines)


def _summaries(old: Graph, new: Graph, changes: Sequence[Change]) -> Iterator[Line]:
    for what, noun, replaced in _SUMMARIES:
        count = 0
        words: Counter[str] = Counter()
        for change in changes:
            if what in change.what:
                count += 1
                specs = zip(old.nodes.outputs[change.old], new.nodes.outputs[change.new])
                words.update({replaced(one, other): 1 for one, other in specs})
        if count:
            yield Line(f"~ {noun} differ in {counted(count, 'node')}{_usual(words)}", count)


def _rewired(old: Graph, new: Graph, difference: Rewiring) -> str:
    if difference.is_reordered:
        return "takes its inputs in another order"
    lost, gained = _inputs_text(old, difference.lost), _inputs_text(new, difference.gained)
    if lost and gained:
        return f"takes {'another ' if gained == lost else ''}{gained} instead of {lost}"
    is_unseen = _are_unseen(old, difference.lost) and _are_unseen(new, difference.gained)
    if lost:
        return f"takes {lost} no more" if is_unseen else f"passes no gradient to {lost} any more"
    return f"takes {gained} now" if is_unseen else f"passes a gradient to {gained} now"


def _are_unseen(graph: Graph, nodes: Iterable[int]) -> bool:
    return all(graph.nodes.kinds[node] in _UNSEEN for node in nodes)


def _inputs_text(graph: Graph, nodes: Iterable[int]) -> str:
    texts = []
    for node in nodes:
        source = graph.nodes.sources[node]
        place = f" of {place_text(source)}" if source is not None else ""
        texts.append(name_text(graph, node) + place)
    return listed(list(dict.fromkeys(texts)))


def _moved(old: Graph, new: Graph, changes: Iterable[Change]) -> list[Line]:
    """Ops that are in another module now, together for each pair of modules."""
    members: dict[tuple[str, str], list[int]] = {}
    for change in changes:
        if What.MODULE in change.what:
            homes = home(new, change.new), home(old, change.old)
            members.setdefault(homes, []).append(change.new)
    lines = []
    for (now, was), ops in members.items():
        what = counted(len(ops), "op") if len(ops) > 1 else node_text(new, ops[0])
        verb = "was" if len(ops) == 1 else "were"
        text = f"~ {what} {_within(now)}, {verb} {_within(was)}"
        lines.append(Line(text, len(ops)))
    return lines


def _within(path: str) -> str:
    return f"in {visible(path)}" if path else "outside of modules"


def _respecified(old: Graph, new: Graph, change: Change) -> str:
    """`AddmmBackward0 8×4 was 8×8`, from the first output that differs."""
    was, now = old.nodes.outputs[change.old], new.nodes.outputs[change.new]
    name = name_text(new, change.new)
    if len(was) != len(now):
        return f"{name} has {counted(len(now), 'output')}, had {len(was):,}"
    one, other = next((one, other) for one, other in zip(was, now) if one != other)
    parts = [
        [text(spec) for what, text in _TEXTS if what in change.what or what is What.SHAPE]
        for spec in (other, one)
    ]
    if What.SHAPE not in change.what:
        del parts[1][0]
    return f"{name} {' '.join(parts[0])} was {' '.join(parts[1])}"


def _reshaped(one: TensorSpec, other: TensorSpec) -> str:
    """`2×… became 4×…`; whole shapes where the number of dimensions differs."""
    if one.shape == other.shape:
        return ""
    was, now = one.shape, other.shape
    if was is None or now is None or len(was) != len(now):
        return f"{shape_text(one)} became {shape_text(other)}"
    texts: tuple[list[str], list[str]] = [], []
    for is_equal, sizes in groupby(zip(was, now), key=lambda pair: pair[0] == pair[1]):
        for size, next_size in [("…", "…")] if is_equal else sizes:
            texts[0].append(visible(str(size)))
            texts[1].append(visible(str(next_size)))
    return f"{'×'.join(texts[0])} became {'×'.join(texts[1])}"


def _usual(words: Counter[str]) -> str:
    """The most frequent replacements."""
    del words[""]  # what did not differ
    shown = [word for word, _ in words.most_common(_KINDS)]
    if not shown:
        return ""
    return f": {', '.join(shown)}{', …' if len(words) > len(shown) else ''}"


def _replaced(text: Callable[[TensorSpec], str]) -> Callable[[TensorSpec, TensorSpec], str]:
    def replaced(one: TensorSpec, other: TensorSpec) -> str:
        was, now = text(one), text(other)
        return "" if was == now else f"{was} became {now}"

    return replaced


def _device_text(spec: TensorSpec) -> str:
    return visible(spec.device)


_TEXTS = (
    (What.SHAPE, shape_text),
    (What.DTYPE, dtype_text),
    (What.DEVICE, _device_text),
)

_SUMMARIES = (
    (What.SHAPE, "shapes", _reshaped),
    (What.DTYPE, "dtypes", _replaced(dtype_text)),
    (What.DEVICE, "devices", _replaced(_device_text)),
)
