"""Roots that backward() cannot start from by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph


@dataclass(frozen=True, slots=True)
class NonScalarRoot:
    """A root with more than one element.

    `backward()` needs to be told the gradient of such a root: `y.backward(v)` computes the
    product of v and the Jacobian. A bare `y.backward()` raises "grad can be implicitly created
    only for scalar outputs". Nothing is said of a root whose backward() call was seen.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding a root."""
        if graph.provenance.partial or graph.provenance.step is not None:
            return
        for root in graph.roots:
            node = graph.nodes[root.node]
            spec = node.outputs[root.output_nr] if root.output_nr < len(node.outputs) else None
            if spec is not None and spec.numel not in (None, 1):
                yield Finding(
                    check="non-scalar-root",
                    severity=Severity.NOTE,
                    message=f"The root {root.name} has {spec.numel:,} elements, not one.",
                    nodes=(root.node,),
                    source=node.source,
                    hint="Reduce it (sum, mean, a loss), or give backward() a gradient.",
                )
