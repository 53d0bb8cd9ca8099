"""The cuts that belong to a graph: which they are, and between which of its nodes they stand."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import get_gradient_edge

from graphviz_cli.capture import private
from graphviz_cli.capture.cut_records import Cut, Join, Source
from graphviz_cli.capture.cuts import Cuts
from graphviz_cli.capture.operators import operators
from graphviz_cli.capture.slots import free_inputs, saved_at, told_slot
from graphviz_cli.graph.model import Edge, EdgeTable

_LEAF = "AccumulateGrad"


@dataclass(frozen=True, slots=True)
class _Joint:
    """Where a cut value goes on: slot `input_nr` of a node, known by its id."""

    node: int
    input_nr: int
    cut: Cut


class CutGraph:
    """Finds the cuts of a graph while it is walked, and what lies behind them.

    `beyond` is for `visit`. In the graph are the cuts whose value some op of it took, and those
    behind them; and of the others those that are the only reason why one of `parameters` gets no
    gradient, and writes through `.data` after the value was used. `own` gives UNNUMBERED for the
    numbers of nodes that another thread may have made.
    """

    def __init__(
        self,
        cuts: Cuts,
        parameters: Iterable[torch.Tensor],
        own: Callable[[Sequence[int]], Sequence[int]],
    ) -> None:
        self._cuts = cuts
        self._joins = cuts.joins
        self._own = own
        self._rebirths = [
            (leaf, birth.lineage)
            for birth in cuts.rebirths
            if (leaf := birth.leaf()) is not None and leaf.requires_grad
        ]
        self._ends = cuts.ends[::-1]
        self._parameters = {id(p): p for p in parameters if p.requires_grad and p.is_leaf}
        self._found: dict[int, Cut] = {}
        self._joints: list[_Joint] = []
        self._behind: dict[tuple[int, int], Any] = {}
        """The node of each source, by its key."""
        self._waiting: list[Cut] = []
        self._used_up: list[Source] = []
        """Those that an earlier backward pass went through: shown only where they explain."""
        self._is_explained = False
        self._first_uses: dict[Any, int] | None = None
        """The number of the first op that took what a node made."""

    def beyond(self, nodes: Sequence[Any], ids: Mapping[Any, int], known: int) -> list[Any]:
        """Where to go on after `nodes`, of which the first `known` were there before."""
        if not known:
            self._reached = len(nodes)
        self._join(nodes, ids, known)
        starts = self._starts()
        if not self._is_explained and all(start in ids for start in starts):
            self._is_explained = True
            starts += self._explain(nodes, ids)
            starts += self._starts()
        return starts

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """All cuts of the graph, in the order in which the program made them."""
        return tuple(sorted(self._found.values(), key=lambda cut: cut.number))

    def notes(self) -> tuple[str, ...]:
        """What could not be seen of the cuts, a sentence each."""
        return ("Not seen: all cuts, as there are too many.",) if self._cuts.is_full else ()

    def edges(self, nodes: Sequence[Any], edges: EdgeTable) -> EdgeTable:
        """The edges with those of the cuts, whose ids follow behind the nodes'."""
        cuts = self.cuts
        if not cuts:
            return edges
        ids = {cut.number: len(nodes) + k for k, cut in enumerate(cuts)}
        places = {node: place for place, node in enumerate(nodes)}
        added: list[Edge] = []
        for cut in cuts:
            targets = [
                (places[self._behind[source.key]], source.output_nr)
                for source in cut.sources.values()
                if self._behind.get(source.key) in places
            ]
            targets += [(ids[c.number], 0) for c in cut.lineage if c.number in ids]
            added += [Edge(ids[cut.number], t, k, nr) for k, (t, nr) in enumerate(targets)]
        added += _acyclic(
            [Edge(j.node, ids[j.cut.number], j.input_nr) for j in dict.fromkeys(self._joints)],
            [*zip(edges.sources, edges.targets), *((e.source, e.target) for e in added)],
            leaves={place for node, place in places.items() if _is_leaf(node)},
        )
        return merged(edges, added)

    def _join(self, nodes: Sequence[Any], ids: Mapping[Any, int], known: int) -> None:
        """Match joins with nodes that are new."""
        if self._joins:
            numbers = self._own(private.sequence_nrs(nodes[known:]))
            new = {
                number: known + position
                for position, number in enumerate(numbers)
                if number != private.UNNUMBERED
            }
            for join in self._joins:
                taking = [new[n] for n in range(join.start, join.end) if n in new]
                if taking:
                    self._joints += _joints(join, nodes, taking)
                    self._include(cut for _, _, lineage in join.taken for cut in lineage)
        for leaf, lineage in self._rebirths:
            place = ids.get(get_gradient_edge(leaf).node)
            if place is not None and place >= known:
                self._joints += [_Joint(place, 0, cut) for cut in lineage]
                self._include(lineage)

    def _include(self, lineage: Iterable[Cut]) -> None:
        pending = list(lineage)
        while pending:
            cut = pending.pop()
            if cut.number not in self._found:
                self._found[cut.number] = cut
                self._waiting.append(cut)
                pending += cut.lineage

    def _starts(self) -> list[Any]:
        """The nodes of the sources of the cuts that are new."""
        starts = []
        for cut in self._waiting:
            for source in cut.sources.values():
                node = self._behind[source.key] = _node_of(source)
                (number,) = private.sequence_nrs([node])
                if number < self._cuts.horizon:
                    self._used_up.append(source)
                else:
                    starts.append(node)
        self._waiting.clear()
        return starts

    def _explain(self, nodes: Sequence[Any], ids: Mapping[Any, int]) -> list[Any]:
        """Include, of the cuts whose value went nowhere, those that tell something.

        Returns the nodes of used-up sources that do so.
        """
        missing = {
            key: parameter
            for key, parameter in self._parameters.items()
            if get_gradient_edge(parameter).node not in ids
            and self._cuts.uses.hider_of(parameter) is None
        }
        seen: set[Any] = set()
        starts = []
        for source in self._used_up if missing else ():
            explained = missing.keys() & set(map(id, _leaves_behind([source], ids, seen)))
            if explained:
                starts.append(_node_of(source))
                for key in explained:
                    del missing[key]
        if self._cuts.has_no_root:
            self._include(self._newest_end(ids))
        for cut in self._ends:
            if cut.number in self._found:
                continue
            if cut.written is not None:
                if self._was_used_before(cut, nodes, ids):
                    self._include([cut])
                continue
            if not missing:
                continue
            sources = [s for c in _with_earlier(cut) for s in c.sources.values()]
            explained = missing.keys() & set(map(id, _leaves_behind(sources, ids, seen)))
            if explained:
                self._include([cut])
                for key in explained:
                    del missing[key]
        return starts

    def _newest_end(self, ids: Mapping[Any, int]) -> list[Cut]:
        """The last cut that the program made of something in the graph, if there is one."""
        for cut in self._ends:
            if cut.written is None and any(_node_of(s) in ids for s in cut.sources.values()):
                return [cut]
        return []

    def _was_used_before(self, cut: Cut, nodes: Sequence[Any], ids: Mapping[Any, int]) -> bool:
        """Whether an op of the graph took a tensor before it was written to behind its back."""
        if self._first_uses is None:
            takers = nodes[: self._reached]
            self._first_uses = {}
            for taker, number in zip(takers, private.sequence_nrs(takers)):
                for child, _ in taker.next_functions:
                    known = self._first_uses.get(child, number)
                    self._first_uses[child] = min(known, number)
        written = cut.written or 0
        used = [self._first_uses.get(_node_of(source)) for source in cut.sources.values()]
        return any(number is not None and number < written for number in used)


def _node_of(source: Source) -> Any:
    return source.node if source.leaf is None else get_gradient_edge(source.leaf).node


def _is_leaf(node: Any) -> bool:
    return bool(node.name().endswith(_LEAF))


def _with_earlier(cut: Cut) -> list[Cut]:
    """A cut and all that its value comes from."""
    known = {cut.number}
    cuts = [cut]
    for last in cuts:  # grows while it is read
        for earlier in last.lineage:
            if earlier.number not in known:
                known.add(earlier.number)
                cuts.append(earlier)
    return cuts


def _leaves_behind(
    sources: Iterable[Source], ids: Mapping[Any, int], seen: set[Any]
) -> Iterator[torch.Tensor]:
    """The leaves that some tensors come from, less those behind nodes in `ids` or `seen`."""
    pending = [_node_of(source) for source in sources]
    while pending:
        node = pending.pop()
        if node in ids or node in seen:
            continue
        seen.add(node)
        if _is_leaf(node):
            yield node.variable
        pending += (child for child, _ in node.next_functions if child is not None)


# Into which input of which op a value went


def _joints(join: Join, nodes: Sequence[Any], taking: Sequence[int]) -> Iterator[_Joint]:
    """Of the nodes that a call made those that took the values, and where."""
    free = {node: slots for node in taking if (slots := free_inputs(nodes[node]))}
    known = operators(nodes[node].name() for node in taking)
    for place, address, lineage in join.taken:
        node, slot = next(iter(free), taking[-1]), 0
        operator = known.get(nodes[node].name())
        found = saved_at(address, nodes, free, known) if len(free) > 1 else None
        if found is not None:
            node, slot = found
        elif node in free:
            slots = free[node]
            told = None if operator is None else told_slot(operator, join.op, place)
            slot = told if told in slots else slots[0]
        for cut in lineage:
            yield _Joint(node, slot, cut)


# Edges


def _acyclic(
    joints: Sequence[Edge], edges: Sequence[tuple[int, int]], leaves: set[int]
) -> list[Edge]:
    """Those of the joints that close no circle: a leaf may hold what was computed from itself."""
    safe = [edge for edge in joints if edge.source not in leaves]
    doubtful = [edge for edge in joints if edge.source in leaves]
    if not doubtful:
        return safe
    after: dict[int, list[int]] = {}
    for source, target in (*edges, *((edge.source, edge.target) for edge in safe)):
        after.setdefault(source, []).append(target)
    for edge in doubtful:
        pending, seen = [edge.target], {edge.target}
        while pending:
            for target in after.get(pending.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        if edge.source not in seen:
            safe.append(edge)
            after.setdefault(edge.source, []).append(edge.target)
    return safe


def merged(edges: EdgeTable, added: Sequence[Edge]) -> EdgeTable:
    """The edges and the added ones, ascending by source and input."""
    if not added:
        return edges
    rows = [*zip(edges.sources, edges.input_nrs, edges.targets, edges.output_nrs)]
    rows += [(edge.source, edge.input_nr, edge.target, edge.output_nr) for edge in added]
    # Stable, so that edges of one slot keep their order, and the real one comes first.
    rows.sort(key=lambda row: row[:2])
    columns = [array("i", column) for column in zip(*rows)]
    return EdgeTable(columns[0], columns[2], columns[1], columns[3])
