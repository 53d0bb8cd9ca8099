"""In which shape a tensor leaves a module call that ends with views, after these were hidden.

`64×10` leaves a linear layer as `1×64×10`, since its last op is a view. Which views are inside a
call is counted in calls around the op that they are a view of; calls without a class, which
transforms make, do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from graphviz_cli.graph.model import NONE, Annotation, Graph

Shape: TypeAlias = tuple[int | str, ...] | None

_NAME = "viewed"
_MOST_VIEWS = 6


def viewed(
    graph: Graph, hidden: Mapping[int, int], made_from: Mapping[int, tuple[int, int]]
) -> Annotation:
    """For each input that an op reads through hidden views the shapes that these give it.

    `hidden` says which op each view becomes part of, `made_from` what it is a view of. Each fact
    is a list in JSON: how many of the calls around the op that made the tensor are left, and the
    shape there. Long chains of views are left out.
    """
    known = graph.annotations.get(_NAME)
    facts: dict[int, dict[int, str]] = {}
    edges = graph.edges
    for source, target, input_nr in zip(edges.sources, edges.targets, edges.input_nrs):
        if target not in hidden or source in hidden:
            continue
        views: list[int] = []
        while target in hidden and len(views) < _MOST_VIEWS:
            views.append(target)
            target = made_from[target][0]
        if hidden[views[-1]] != target:
            continue  # a view of a leaf, or too many
        shapes: dict[int, Shape] = {}
        for view in reversed(views):
            left = max(_calls_left(graph, target, view), *shapes, 0)
            shapes[left] = graph.nodes.outputs[view][0].shape
        facts.setdefault(source, {})[input_nr] = json.dumps(list(shapes.items()))
    rows = {op: tuple(map(row.get, range(max(row) + 1))) for op, row in facts.items()}
    return Annotation(_NAME, {}, inputs={**rows, **(known.inputs if known else {})})


def shape_leaving(graph: Graph, row: int, unit: int) -> Shape:
    """In which shape the tensor of an edge, by its row, leaves a call that its target is in."""
    edges, nodes = graph.edges, graph.nodes
    target, output_nr = edges.targets[row], edges.output_nrs[row]
    outputs = nodes.outputs[target]
    shape: Shape = outputs[output_nr].shape if output_nr < len(outputs) else None
    known = graph.annotations.get(_NAME)
    facts = known.inputs.get(edges.sources[row], ()) if known is not None else ()
    fact = facts[edges.input_nrs[row]] if edges.input_nrs[row] < len(facts) else None
    if isinstance(fact, str):
        depth = _depth(graph, target, unit)
        for left, given in json.loads(fact):
            if left < depth:
                shape = None if given is None else tuple(given)
    return shape


def _calls_left(graph: Graph, op: int, view: int) -> int:
    """How many of the calls around an op are not around a view of what it made."""
    calls, call = graph.modules, graph.nodes.modules[view]
    if call == graph.nodes.modules[op]:
        return 0
    around = {NONE}
    while call != NONE:
        around.add(call)
        call = _parent(graph, call)
    left, call = 0, graph.nodes.modules[op]
    while call not in around:
        left += bool(calls[call].type)
        call = _parent(graph, call)
    return left


def _depth(graph: Graph, op: int, unit: int) -> int:
    """How many calls are around an op within a unit, itself included."""
    call, depth = graph.nodes.modules[op], 0
    while call not in (unit, NONE):
        depth += bool(graph.modules[call].type)
        call = _parent(graph, call)
    return depth + bool(graph.modules[unit].type)


def _parent(graph: Graph, call: int) -> int:
    parent = graph.modules[call].parent
    return NONE if parent is None else parent
