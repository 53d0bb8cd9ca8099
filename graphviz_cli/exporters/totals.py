"""What a module call amounts to: the sums over all that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphviz_cli.exporters.labels import Labels
from graphviz_cli.graph.model import NONE, Combine
from graphviz_cli.graph.traversal import Adjacency


@dataclass(slots=True)
class Total:
    """The sums over one open module call."""

    ops: int = 0
    parameters: int = 0
    held: int = 0
    """Bytes that only the graph keeps alive, every storage once."""
    output: int = NONE
    """The last op in it whose result leaves it."""
    values: dict[str, float | int] = field(default_factory=dict)
    """The annotations that can be summed or compared."""


def totals(labels: Labels, adjacency: Adjacency) -> Mapping[int, Total]:
    """The sums of every open module call, by its number."""
    graph, homes, parents = labels.graph, labels.homes, labels.parents
    nodes, saved = graph.nodes, graph.nodes.saved
    sums: dict[int, Total] = {}
    for home in dict.fromkeys(homes):
        call = home
        while call != NONE and call not in sums:
            sums[call] = Total()
            call = parents[call]
    storages: dict[int, set[int]] = {call: set() for call in sums}
    for node, home in enumerate(homes):
        if home != NONE:
            sums[home].ops += nodes.sizes[node]
            sums[home].parameters += nodes.parameters[node]
            storages[home].update(saved.storages[saved.offsets[node] : saved.offsets[node + 1]])
    for name, annotation in graph.annotations.items():
        if annotation.combine in (Combine.FIRST, Combine.OWN):
            continue
        for node in sorted(annotation.values):
            value = annotation.values[node]
            if homes[node] != NONE and not isinstance(value, str):
                _merge(sums[homes[node]].values, name, value, annotation.combine)
    nbytes = [storage.nbytes if storage.owned else 0 for storage in graph.storages]
    for call, held in storages.items():
        held.discard(NONE)
        sums[call].held = sum(map(nbytes.__getitem__, held))
    for call in sorted(sums, key=lambda call: (-_depth(call, parents), call)):
        parent = parents[call]
        if parent == NONE:
            continue
        inner, outer = sums[call], sums[parent]
        outer.ops += inner.ops
        outer.parameters += inner.parameters
        for name, value in inner.values.items():
            _merge(outer.values, name, value, graph.annotations[name].combine)
        # The smaller set joins the larger one, so that every storage moves few times.
        smaller, larger = storages[call], storages[parent]
        larger_held = outer.held
        if len(smaller) > len(larger):
            smaller, larger = larger, smaller
            larger_held = inner.held
        outer.held = larger_held + sum(nbytes[s] for s in smaller if s not in larger)
        larger |= smaller
        storages[parent] = larger
    _find_outputs(labels, adjacency, sums)
    return sums


def _find_outputs(labels: Labels, adjacency: Adjacency, sums: Mapping[int, Total]) -> None:
    """Set the output of every call: the last op in it that an op outside, or nobody, consumes."""
    homes, parents = labels.homes, labels.parents
    lefts: dict[tuple[int, int], list[int]] = {}
    for node in labels.order:
        home = homes[node]
        if home == NONE:
            continue
        consumers = set(map(homes.__getitem__, adjacency.predecessors_of(node)))
        if node in labels.roots or not consumers:
            consumers.add(NONE)
        consumers.discard(home)
        for consumer in consumers:
            left = lefts.get((home, consumer))
            if left is None:
                left = lefts[home, consumer] = _left(home, consumer, parents)
            for call in left:
                sums[call].output = node


def _left(call: int, other: int, parents: list[int]) -> list[int]:
    """The calls around and including `call` that do not contain the call `other`."""
    around = set()
    while other != NONE:
        around.add(other)
        other = parents[other]
    left = []
    while call != NONE and call not in around:
        left.append(call)
        call = parents[call]
    return left


def _merge(values: dict[str, float | int], name: str, value: float, combine: Combine) -> None:
    if name not in values:
        values[name] = value
    elif combine is Combine.MAX:
        # Written so that a NaN stays, whichever side it is on.
        known = values[name]
        values[name] = known if known != known or known >= value else value
    else:
        values[name] += value


def _depth(call: int, parents: list[int]) -> int:
    depth = 0
    while call != NONE:
        depth += 1
        call = parents[call]
    return depth
