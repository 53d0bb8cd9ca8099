"""Which leaf gets a gradient, and what keeps it away from those that get none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from graphviz_cli.graph.cut_words import cut_words
from graphviz_cli.graph.model import Graph, NodeKind, Role
from graphviz_cli.graph.traversal import Adjacency, descendants, topological_order

USED = "used"
"""Annotation: where an op of the forward pass first took a tensor, for leaves without consumers."""

UNKNOWN = "unknown"
"""Annotation: why it cannot be told whether a leaf gets a gradient."""

CUT_OP = "cut-op"
"""Annotation: the torch function that lost the gradient, for CUT nodes."""

OPTIMIZER = "optimizer"
"""Annotation: the class of the optimizer that holds a leaf or a constant."""

MODIFIED = "modified"
"""Annotation: a tensor that an op saved was written to since, and where."""

KEPT_ON_CTX = "kept-on-ctx"
"""Annotation: attributes of a custom Function's ctx with tensors, which backward never frees."""

UNRECORDED = "Not recorded: where the gradient is lost."
"""Note in the provenance of a graph that was captured without cuts."""

OPAQUE = ("CompiledFunctionBackward", "CppNode<")
"""How the names of ops begin that need not have a gradient for what they take, and do not tell."""

_MOST_CUTS = 8
"""How many of the cuts between a leaf and the root are told."""


class Status(StrEnum):
    """What `backward()` will do to a leaf."""

    REACHED = "reached"
    UNKNOWN = "unknown"
    """It belongs to a part of the program that cannot be seen."""
    CUT = "cut"
    """Ops lead from it to the root or to a value of the program, but the gradient is lost."""
    DROPPED = "dropped"
    """It was used, but nothing of the result is in the root."""
    FROZEN = "frozen"
    """It requires no gradient."""
    UNUSED = "unused"
    """No op took it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one leaf."""

    status: Status
    cuts: tuple[int, ...] = ()
    """The CUT nodes at which its gradient ends, for CUT; at most 8, those in the root first."""
    is_severed: bool = False
    """For CUT: the value goes on into the root, so a gradient would have been expected."""
    reason: str = ""
    """Where it was used (DROPPED), why nothing can be told (UNKNOWN), or what cannot be told of the
    value after it was lost (CUT)."""


def verdicts(graph: Graph, *, parameters_only: bool = False) -> Mapping[int, Verdict]:
    """The verdict on every leaf, and on every constant that is a parameter, ascending by id.

    Linear in the size of the graph.
    """
    adjacency = Adjacency(graph)
    cuts = frozenset(graph.nodes.ids(NodeKind.CUT))
    starts = [root.node for root in graph.roots]
    reached = reached_nodes(graph)
    in_root = descendants(adjacency, starts) if cuts else reached
    above = _cuts_above(adjacency, cuts, reached, in_root) if cuts else {}
    used = graph.annotations.get(USED)
    unknown = graph.annotations.get(UNKNOWN)
    hidden = _taken_by_opaque_ops(graph, adjacency)

    def verdict(leaf: int) -> Verdict:
        if graph.nodes.kinds[leaf] is NodeKind.CONSTANT:
            return Verdict(Status.FROZEN)
        if leaf in hidden:
            reason = f"it is used within {hidden[leaf]}, which hides its ops"
            return Verdict(Status.UNKNOWN, reason=reason)
        if leaf in reached:
            return Verdict(Status.REACHED)
        if unknown is not None and leaf in unknown.values:
            return Verdict(Status.UNKNOWN, reason=str(unknown.values[leaf]))
        if leaf in above:
            joined = tuple(cut for cut in above[leaf] if cut in in_root)
            if joined:
                return Verdict(Status.CUT, joined, is_severed=True)
            return Verdict(
                Status.CUT, above[leaf], reason=lost_sight(graph, adjacency, above[leaf])
            )
        if UNRECORDED in graph.provenance.notes:
            return Verdict(Status.UNKNOWN, reason="where the gradient is lost was not recorded")
        if used is not None and leaf in used.values:
            return Verdict(Status.DROPPED, reason=str(used.values[leaf]))
        if adjacency.predecessors_of(leaf):
            return Verdict(Status.DROPPED)
        return Verdict(Status.UNUSED)

    leaves = graph.nodes.ids(NodeKind.LEAF) + [
        node
        for node in graph.nodes.ids(NodeKind.CONSTANT)
        if graph.nodes.roles[node] is Role.PARAMETER
    ]
    return {
        leaf: verdict(leaf)
        for leaf in sorted(leaves)
        if not parameters_only or graph.nodes.roles[leaf] is Role.PARAMETER
    }


def reached_nodes(graph: Graph) -> set[int]:
    """The nodes to which a gradient flows from a root; none does to a cut or to a constant."""
    cuts = frozenset(graph.nodes.ids(NodeKind.CUT))
    adjacency = _without(graph, cuts) if cuts else Adjacency(graph)
    constants = graph.nodes.ids(NodeKind.CONSTANT)
    return descendants(adjacency, [root.node for root in graph.roots]).difference(constants)


def _taken_by_opaque_ops(graph: Graph, adjacency: Adjacency) -> Mapping[int, str]:
    """The leaves that are taken by nothing but ops that need not have a gradient for them.

    A compiled region takes all parameters of its modules, and gives none to a detached one.
    """
    if not any(name.startswith(OPAQUE) for name in graph.nodes.names.values):
        return {}
    found = {}
    for leaf in graph.nodes.ids(NodeKind.LEAF):
        takers = {graph.nodes.names[taker] for taker in adjacency.predecessors_of(leaf)}
        if takers and all(name.startswith(OPAQUE) for name in takers):
            found[leaf] = min(takers)
    return found


def lost_sight(graph: Graph, adjacency: Adjacency, cuts: Iterable[int]) -> str:
    """What cannot be told of the values of some cuts, to follow "and"; empty if all can be told."""
    pending = [*cuts]
    seen = {*pending}
    for cut in pending:  # grows while it is read
        escape = cut_words(graph.nodes[cut]).escape
        if escape:
            return f"what Python makes of the value after {escape} cannot be seen"
        for maker in adjacency.predecessors_of(cut):
            if maker not in seen and graph.nodes.kinds[maker] is NodeKind.CUT:
                seen.add(maker)
                pending.append(maker)
    return ""


def _cuts_above(
    adjacency: Adjacency, cuts: frozenset[int], reached: set[int], in_root: set[int]
) -> Mapping[int, tuple[int, ...]]:
    """For the nodes that no gradient reaches the nearest cuts that it would have to come through.

    Of a node's cuts those come first whose value goes on into the root.
    """
    above: dict[int, tuple[int, ...]] = {}
    for node in topological_order(adjacency):
        if node in reached or node in cuts:
            continue
        found: set[int] = set()
        for maker in adjacency.predecessors_of(node):
            found.update((maker,) if maker in cuts else above.get(maker, ()))
        if found:
            ordered = sorted(found, key=lambda cut: (cut not in in_root, cut))
            above[node] = tuple(ordered[:_MOST_CUTS])
    return above


def _without(graph: Graph, nodes: frozenset[int]) -> Adjacency:
    kept = [
        edge
        for edge, (source, target) in enumerate(zip(graph.edges.sources, graph.edges.targets))
        if source not in nodes and target not in nodes
    ]
    return Adjacency.of(
        len(graph.nodes),
        [graph.edges.sources[edge] for edge in kept],
        [graph.edges.targets[edge] for edge in kept],
    )
