"""Gradients that grow on the way from the root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from graphviz_cli.checks.flow import Flow, apart
from graphviz_cli.checks.measured import GRADIENT
from graphviz_cli.checks.naming import learning, located, named
from graphviz_cli.drawing.format import number_text
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph

_NEAREST = 4
"""How many ops near the root are compared with; one alone may have a small gradient by chance."""


@dataclass(frozen=True, slots=True)
class ExplodingGradient:
    """Parameters where the gradient arrives a thousand times as large as it left the root's side.

    Compared are root mean squares (norm / sqrt(elements)) of what the ops receive that compute with
    a parameter: those of all ops with the largest of the four ops nearest to the root. So neither
    shapes nor the scale of the loss matter, nor how large the activations are, which the gradient
    of a weight is multiplied with: where they grow as the gradient does, all weights have equal and
    far too large ones. Of a parameter that is used over and over the largest counts.
    """

    needs: ClassVar[tuple[str, ...]] = (GRADIENT,)

    ratio: float = 1e3
    """The least growth that is a finding."""

    def check(self, graph: Graph) -> Iterator[Finding]:
        """At most one finding, for all parameters."""
        if GRADIENT not in graph.annotations:
            return
        flow, turns = Flow(graph), graph.nodes.sequence_nrs
        users = {leaf: flow.users(leaf) for leaf in learning(graph)}
        sizes = {op: flow.size(op) for ops in users.values() for op in ops}
        ops = sorted((op for op in sizes if sizes[op] > 0), key=lambda op: -turns[op])
        if not ops or not isfinite(sum(sizes.values())):
            return
        usual = max(ops[:_NEAREST], key=lambda op: (sizes[op], -op))
        limit = self.ratio * sizes[usual]
        grown = [leaf for leaf in users if any(sizes[op] >= limit for op in users[leaf])]
        if not grown:
            return
        most = max(ops, key=lambda op: (sizes[op], -op))
        where, op = flow.told(apart(flow.way(most), flow.way(usual)), shrinks=False)
        yield Finding(
            check="exploding-gradient",
            severity=Severity.WARNING,
            message=f"The gradient grows on its way to {named(graph, grown)}: "
            f"{located(graph, most)} receives "
            f"{number_text(sizes[most] / sizes[usual])} times as much, per element, as "
            f"{located(graph, usual)}; {where}.",
            nodes=(op, *grown),
            source=graph.nodes.sources[op],
            hint="Weights that are too large multiply: use a smaller initialisation (kaiming, "
            "xavier, orthogonal) or normalisation; clipping (clip_grad_norm_) limits the step.",
        )
