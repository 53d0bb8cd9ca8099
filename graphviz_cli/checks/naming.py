"""What findings call ops, leaves and their places."""

from __future__ import annotations

from collections.abc import Sequence

from graphviz_cli.graph.fates import grouped
from graphviz_cli.graph.finding import listed
from graphviz_cli.graph.model import Graph, NodeKind, Role
from graphviz_cli.graph.verdict import Status, Verdict

_MOST_NAMES = 3


def called(graph: Graph, node: int) -> str:
    """`SqrtBackward0 (y) in body.3`: an op, the variable and the module; a leaf by its name."""
    facts = graph.nodes[node]
    if facts.kind is not NodeKind.FUNCTION:
        return facts.label
    names = f" ({facts.names[0]})" if facts.names else ""
    path = "" if facts.module is None else graph.modules[facts.module].path
    return facts.name + names + (f" in {path}" if path else "")


def located(graph: Graph, node: int) -> str:
    """`SqrtBackward0 (y) in body.3 at train.py:9`; without the line where that is not known."""
    source = graph.nodes.sources[node]
    place = "" if source is None else f" at {source.file}:{source.line}"
    return called(graph, node) + place


def learning(graph: Graph) -> list[int]:
    """The parameters among the leaves; all leaves of a program that has none."""
    leaves = graph.nodes.ids(NodeKind.LEAF)
    return [n for n in leaves if graph.nodes.roles[n] is Role.PARAMETER] or leaves


def named(graph: Graph, leaves: Sequence[int]) -> str:
    """`net.0..9.* (20 parameters) and w`: leaves by few names; by their number if that is many."""
    groups = grouped(graph, dict.fromkeys(leaves, Verdict(Status.REACHED)))
    noun = "parameters" if graph.nodes.roles[leaves[0]] is Role.PARAMETER else "leaves"
    if len(groups) <= _MOST_NAMES:
        return listed([group.named_as(noun) for group in groups])
    first = ", ".join(group.pattern for group in groups[:_MOST_NAMES])
    return f"{len(leaves):,} {noun} ({first}, ...)"
