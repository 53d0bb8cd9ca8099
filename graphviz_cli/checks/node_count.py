"""A limit for the size of the graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph


@dataclass(frozen=True, slots=True)
class NodeCount:
    """More backward ops than allowed: `node-count:max=1000`.

    A graph that grows from step to step usually carries a tensor over without detaching it.
    """

    max: int
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """At most one finding."""
        count = sum(graph.nodes.sizes)
        if count > self.max:
            yield Finding(
                check="node-count",
                severity=Severity.ERROR,
                message=f"The graph has {count:,} backward ops, {self.max:,} are allowed.",
                nodes=tuple(dict.fromkeys(root.node for root in graph.roots)),
                hint="If it grows with every step, detach() what one step hands to the next.",
            )
