"""Graphs that a backward pass has already used up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph, SavedState


@dataclass(frozen=True, slots=True)
class FreedGraph:
    """An op whose saved tensors an earlier backward pass has released.

    Going through it again raises "Trying to backward through the graph a second time". Two losses
    that share a part of the graph do this, and so does a hidden state that is carried from one
    step to the next.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for all freed ops, at the one nearest to a root."""
        saved = graph.nodes.saved
        if SavedState.FREED not in saved.states.values or graph.provenance.partial:
            return  # after a failure it is told which of them an earlier pass has freed
        freed = [
            node
            for node in range(len(graph.nodes))
            if SavedState.FREED in saved.states[saved.offsets[node] : saved.offsets[node + 1]]
        ]
        if freed:
            first = graph.nodes[freed[0]]
            count = "1 op has" if len(freed) == 1 else f"{len(freed):,} ops have"
            yield Finding(
                check="freed-graph",
                severity=Severity.ERROR,
                message=f"{count} been used by an earlier backward(), the nearest to the root is "
                f"{first.name}.",
                nodes=tuple(freed),
                source=first.source,
                hint="Detach what is carried over, add the losses up before backward(), or pass "
                "retain_graph=True to the first call.",
            )
