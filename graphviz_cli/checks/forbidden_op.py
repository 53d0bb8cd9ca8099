"""Ops that must not be in the graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph, NodeKind


@dataclass(frozen=True, slots=True)
class ForbiddenOp:
    """An op that must not be in the graph: `forbidden-op:name=CopySlices`.

    The name is autograd's, and may hold `*` and `?`: `forbidden-op:name=Exp*`.
    """

    name: str
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for all ops of a name that were made at one line."""
        forbidden = {name for name in graph.nodes.names.values if fnmatchcase(name, self.name)}
        places: dict[tuple[str, str, int], list[int]] = {}
        for node in graph.nodes.ids(NodeKind.FUNCTION) if forbidden else ():
            name, source = graph.nodes.names[node], graph.nodes.sources[node]
            if name in forbidden:
                place = (source.file, source.line) if source else ("", 0)
                places.setdefault((name, *place), []).append(node)
        for (name, _, _), nodes in places.items():
            times = f" {len(nodes):,} times" if len(nodes) > 1 else ""
            yield Finding(
                check="forbidden-op",
                severity=Severity.ERROR,
                message=f"{name} is in the graph{times}.",
                nodes=tuple(nodes),
                source=graph.nodes.sources[nodes[0]],
            )
