"""Cuts that one expression makes again and again as one."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from graphviz_cli.graph.model import NONE, Annotation, Combine, Graph, Node, NodeKind
from graphviz_cli.graph.operations import quotient
from graphviz_cli.graph.traversal import Adjacency, topological_order


@dataclass(frozen=True, slots=True)
class Gather:
    """Draw the cuts that one expression makes in one module call as one, with their number.

    A loop over experts that asks for `scores.argmax(-1)` again for each of them loses the gradient
    as often. The merged cut has all the edges of the single ones. Cuts of which one comes after
    another stay apart, and so does one that is a root. With `inputs=same` only cuts of the very
    same tensors are merged: then the steps of a loop look more alike afterwards, never less. The
    annotation `cuts` counts what was merged.
    """

    inputs: Literal["any", "same"] = "any"

    def apply(self, graph: Graph) -> Graph:
        """The graph with fewer cuts, or the same one if there is nothing to merge."""
        while True:
            # Cuts that were merged keep no others apart, so that there may be more to merge.
            groups = [group for group in self._groups(graph) if len(group) > 1]
            if not groups:
                return graph
            graph = _merged(graph, groups)

    def _groups(self, graph: Graph) -> Iterable[Sequence[int]]:
        """The cuts to merge with each other."""
        alike = _alike(graph)
        if not alike:
            return ()
        adjacency = Adjacency(graph)
        cuts = {cut for group in alike for cut in group}
        kinds: Mapping[int, Hashable]
        if self.inputs == "same":
            kinds = {cut: _read(graph, adjacency, cut) for cut in cuts}
        else:
            kinds = _ranks(adjacency, cuts)
        groups: dict[Hashable, list[int]] = {}
        for number, group in enumerate(alike):
            for cut in group:
                groups.setdefault((number, kinds[cut]), []).append(cut)
        return groups.values()


def _alike(graph: Graph) -> list[list[int]]:
    """The cuts of one kind that one expression makes in one module call, where there are several.

    Nothing is known of those without an expression.
    """
    nodes = graph.nodes
    roots = {root.node for root in graph.roots}
    groups: dict[Hashable, list[int]] = {}
    for cut in nodes.ids(NodeKind.CUT):
        if cut not in roots and nodes.sources[cut] is not None:
            key = (nodes.names.codes[cut], nodes.sources.codes[cut], nodes.modules[cut])
            groups.setdefault(key, []).append(cut)
    return [group for group in groups.values() if len(group) > 1]


def _read(graph: Graph, adjacency: Adjacency, cut: int) -> Hashable:
    """The tensors that a cut is made of."""
    edges = range(adjacency.offsets[cut], adjacency.offsets[cut + 1])
    return frozenset((graph.edges.targets[k], graph.edges.output_nrs[k]) for k in edges)


def _ranks(adjacency: Adjacency, cuts: set[int]) -> Mapping[int, int]:
    """How many of `cuts` lie at most on a path from each of them on, itself included.

    No edge leads to a higher rank, and one that leaves a cut to a lower one only, so merging cuts
    of equal rank closes no circle.
    """
    ranks = array("i", bytes(4 * len(adjacency)))
    for node in reversed(topological_order(adjacency)):
        below = max(map(ranks.__getitem__, adjacency.successors_of(node)), default=0)
        ranks[node] = below + (node in cuts)
    return {cut: ranks[cut] for cut in cuts}


def _merged(graph: Graph, groups: Iterable[Sequence[int]]) -> Graph:
    known = graph.annotations.get("cuts")
    counts = dict(known.values) if known is not None else {}
    representatives = array("i", range(len(graph.nodes)))
    described: dict[int, Node] = {}
    for group in groups:
        first = group[0]
        for cut in group:
            representatives[cut] = first
            counts.setdefault(cut, _repeats(graph, cut))
        described[first] = _described([graph.nodes[cut] for cut in group])
    counted = Annotation("cuts", dict(sorted(counts.items())), combine=Combine.SUM)
    return quotient(graph.annotated(counted), representatives, described)


def _repeats(graph: Graph, node: int) -> int:
    """How many equal nodes a node of repeated calls stands for."""
    factor, call = 1, graph.nodes.modules[node]
    while call != NONE:
        factor *= graph.modules[call].repeats
        parent = graph.modules[call].parent
        call = NONE if parent is None else parent
    return factor


def _described(cuts: Sequence[Node]) -> Node:
    """The first of some cuts, with no more said of its value than is true of all."""
    first, *others = cuts
    return replace(
        first,
        names=first.names if all(cut.names == first.names for cut in others) else (),
        outputs=first.outputs if all(cut.outputs == first.outputs for cut in others) else (),
    )
