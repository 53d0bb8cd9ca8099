"""Which node of one graph is which node of another."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import itemgetter

from graphviz_cli.diff.alignment import Aligner, Token
from graphviz_cli.graph.model import NONE, Column, Graph, NodeKind

Pair = tuple[int, int]

TENSORS = (NodeKind.LEAF, NodeKind.CONSTANT)
"""The kinds of nodes that are no ops."""

_KIND, _NAME, _PATH, _OUTPUTS, _LEAVES, _SOURCE, _TEXT = range(7)

_LEVELS = (
    (_KIND, _NAME, _PATH, _OUTPUTS, _LEAVES, _SOURCE),
    (_KIND, _NAME, _PATH, _TEXT),
    (_KIND, _NAME, _PATH, _OUTPUTS, _LEAVES),
    (_KIND, _NAME, _PATH),
    (_KIND, _NAME, _OUTPUTS),
)
"""What two ops must have in common; each line is for those between the ones that are matched
already. None asks what an op is connected to, leaves excepted: an op that is put in between leaves
its neighbours what they were."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Pairs of nodes, one of each graph."""

    new_of: array[int]
    """For each node of the old graph that of the new one, or NONE."""
    old_of: array[int]
    """The other way round."""
    is_counted: bool
    """The graphs differ so much that ops were paired by how often they occur, not by place."""


def match(old: Graph, new: Graph) -> Matching:
    """Pair the nodes of two graphs; from `new` to `old` the pairs are the same.

    Ops are aligned in the order of the forward pass by module, name, shapes, leaves and source,
    leaves and constants are paired by name, nameless ones by the ops that take them. About linear
    for graphs that are alike; for others the search is given up after some seconds.
    """
    pairs = _Pairs(old, new)
    pairs.extend(_by_name(old, new))
    rows = _rows(old, new, pairs)
    aligner = Aligner()
    in_order: list[Pair] = []
    for ours, theirs in zip(sequences(old), sequences(new)):
        in_order += _aligned(aligner, (ours, theirs), rows)
    in_order = [(one, to) for one, to in in_order if _are_nested(home(old, one), home(new, to))]
    pairs.extend(in_order)
    pairs.extend(_by_takers(old, new, in_order))
    pairs.extend(_by_count(old, new, pairs, rows))
    return Matching(pairs.new_of, pairs.old_of, aligner.gave_up)


class _Pairs:
    """The pairs that were found so far."""

    def __init__(self, old: Graph, new: Graph) -> None:
        self.new_of = array("i", [NONE]) * len(old.nodes)
        self.old_of = array("i", [NONE]) * len(new.nodes)

    def extend(self, pairs: Iterable[Pair]) -> None:
        """Add those of which neither node has a partner."""
        for one, other in pairs:
            if self.new_of[one] == NONE and self.old_of[other] == NONE:
                self.new_of[one] = other
                self.old_of[other] = one


def sequences(graph: Graph) -> tuple[list[int], list[int]]:
    """The ops in the order of the forward pass, and what has no place in it (cuts, modules)."""
    numbers = graph.nodes.sequence_nrs
    ops = sorted({*range(len(graph.nodes))}.difference(_tensors(graph)))
    rest = [node for node in ops if numbers[node] == NONE]
    return sorted((n for n in ops if numbers[n] != NONE), key=numbers.__getitem__), rest


def home(graph: Graph, node: int) -> str:
    """The path of the module that a node is in, empty outside of all."""
    call = graph.nodes.modules[node]
    return "" if call == NONE else graph.modules[call].path


def _tensors(graph: Graph) -> list[int]:
    return sorted(chain.from_iterable(map(graph.nodes.ids, TENSORS)))


def _by_name(old: Graph, new: Graph) -> Iterator[Pair]:
    """Leaves and constants that have a name in common; those that bear it first come first."""
    ours, theirs = _named(old), _named(new)

    def rank(name: str) -> tuple[int, str]:
        return ours[name][0][0] + theirs[name][0][0], name

    for name in sorted(ours.keys() & theirs.keys(), key=rank):
        yield from ((one, other) for (_, one), (_, other) in zip(ours[name], theirs[name]))


def _named(graph: Graph) -> Mapping[str, Sequence[Pair]]:
    """For each name where it stands among those of a node, and the node, for all that bear it."""
    named = defaultdict(list)
    for node in _tensors(graph):
        for place, name in enumerate(graph.nodes.user_names[node]):
            named[name].append((place, node))
    return named


def _rows(old: Graph, new: Graph, pairs: _Pairs) -> tuple[list[Token], list[Token]]:
    """What a node can be told by, as numbers that mean the same in both graphs."""
    ours: dict[int, str] = {n: min(old.nodes.user_names[n], default="") for n in _tensors(old)}
    theirs: dict[int, str] = {n: min(new.nodes.user_names[n], default="") for n in _tensors(new)}
    for one in ours:
        other = pairs.new_of[one]
        if other != NONE:
            common = {*old.nodes.user_names[one]}.intersection(new.nodes.user_names[other])
            ours[one] = theirs[other] = min(common)
    columns: tuple[list[list[int]], list[list[int]]] = [], []
    for (values, codes), (others, other_codes) in zip(_columns(old, ours), _columns(new, theirs)):
        # In an order of their own, so that what is found does not depend on which graph is first.
        numbers = {value: n for n, value in enumerate(sorted({*values, *others}, key=repr))}
        columns[0].append([*map([numbers[value] for value in values].__getitem__, codes)])
        columns[1].append([*map([numbers[value] for value in others].__getitem__, other_codes)])
    return [*zip(*columns[0])], [*zip(*columns[1])]


def _columns(
    graph: Graph, names: Mapping[int, str]
) -> Iterator[tuple[Sequence[Hashable], Sequence[int]]]:
    """The values of each column, and which of them every node has."""
    nodes, edges = graph.nodes, graph.edges
    leaves: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for source, target, input_nr in zip(edges.sources, edges.targets, edges.input_nrs):
        if name := names.get(target):
            leaves[source].append((input_nr, name))
    taken = Column.of(tuple(leaves.get(node, ())) for node in range(len(nodes)))
    yield nodes.kinds.values, nodes.kinds.codes
    yield nodes.names.values, nodes.names.codes
    # NONE is the last place.
    yield [*(call.path for call in graph.modules), ""], nodes.modules
    yield nodes.outputs.values, nodes.outputs.codes
    yield taken.values, taken.codes
    yield nodes.sources.values, nodes.sources.codes
    texts = [
        source and (source.file, source.function, source.text) for source in nodes.sources.values
    ]
    yield texts, nodes.sources.codes


def _aligned(
    aligner: Aligner, nodes: tuple[list[int], list[int]], rows: tuple[list[Token], list[Token]]
) -> list[Pair]:
    """Pair two sequences of nodes, level by level, in their order."""
    ours, theirs = nodes
    found: list[Pair] = []
    for level in _LEVELS:
        token = itemgetter(*level)
        refined: list[Pair] = []
        for (one, other), (end, other_end) in pairwise(
            [(-1, -1), *found, (len(ours), len(theirs))]
        ):
            refined.append((one, other))
            if end - one > 1 and other_end - other > 1:
                between = aligner.aligned(
                    [token(rows[0][node]) for node in ours[one + 1 : end]],
                    [token(rows[1][node]) for node in theirs[other + 1 : other_end]],
                )
                refined += [(one + 1 + i, other + 1 + j) for i, j in between]
        found = refined[1:]
    return [(ours[i], theirs[j]) for i, j in found]


def _are_nested(path: str, other: str) -> bool:
    """Whether one of two modules is the other or is within it."""
    outer, inner = sorted((path, other), key=len)
    return not outer or f"{inner}.".startswith(f"{outer}.")


def _by_takers(old: Graph, new: Graph, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Leaves and constants that the same ops take at the same place, if either has no name."""
    ours, theirs = _taken(old), _taken(new)
    for one, other in pairs:
        for input_nr, tensor in ours.get(one, {}).items():
            partner = theirs.get(other, {}).get(input_nr)
            if partner is not None and not (
                old.nodes.user_names[tensor] and new.nodes.user_names[partner]
            ):
                yield tensor, partner


def _taken(graph: Graph) -> Mapping[int, Mapping[int, int]]:
    """For the ops that take leaves or constants these, by the number of the input."""
    tensors = {*_tensors(graph)}
    edges = graph.edges
    taken: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for source, target, input_nr in zip(edges.sources, edges.targets, edges.input_nrs):
        if target in tensors:
            taken[source][input_nr] = target
    return taken


def _by_count(
    old: Graph, new: Graph, pairs: _Pairs, rows: tuple[list[Token], list[Token]]
) -> Iterator[Pair]:
    """Equals among what is left, by id: ops that changed places, and nameless leaves."""
    left: defaultdict[Token, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, (graph, partners) in enumerate(((old, pairs.new_of), (new, pairs.old_of))):
        for node, partner in enumerate(partners):
            is_tensor = graph.nodes.kinds[node] in TENSORS
            if partner == NONE and not (is_tensor and graph.nodes.user_names[node]):
                left[rows[side][node]][side].append(node)
    for ours, theirs in left.values():
        yield from zip(ours, theirs)
