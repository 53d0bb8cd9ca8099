"""Ops whose derivative is zero everywhere."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph, NodeKind
from graphviz_cli.graph.verdict import reached_nodes

_ZERO = re.compile(r"\s*(zeros_like\(\w+\)|at::zeros(_symint)?\(.*\))\s*")


@dataclass(frozen=True, slots=True)
class ZeroGradientOp:
    """An op that passes on a gradient of zero, by its formula: round, floor, sign, ...

    The parameters before it do get a gradient, but it is zero, and they never learn. A
    straight-through estimator, `x + (x.round() - x).detach()`, keeps the gradient and is not
    reported.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding an op."""
        zero = {
            name: [i for i, formula in enumerate(operator.formulas) if _ZERO.fullmatch(formula)]
            for name, operator in graph.operators.items()
        }
        edges = graph.edges
        ops: dict[int, list[str]] = {}
        for source, input_nr in zip(edges.sources, edges.input_nrs):
            name = graph.nodes.names[source]
            if input_nr in zero.get(name, ()):
                ops.setdefault(source, []).append(graph.operators[name].inputs[input_nr])
        reached = reached_nodes(graph) if ops else ()
        for node, inputs in ops.items():
            if graph.nodes.kinds[node] is not NodeKind.FUNCTION or node not in reached:
                continue
            name = graph.nodes.names[node]
            yield Finding(
                check="zero-gradient-op",
                severity=Severity.WARNING,
                message=f"{name} gives {', '.join(dict.fromkeys(inputs))} a gradient of zero.",
                nodes=(node,),
                source=graph.nodes.sources[node],
                hint="For a gradient, use a smooth op or a straight-through estimator.",
            )
