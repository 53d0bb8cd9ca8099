"""Gradients that are lost on the way from the root."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, prod, sqrt
from typing import ClassVar

from graphviz_cli.checks.flow import Flow, apart
from graphviz_cli.checks.measured import GRADIENT, Arrival
from graphviz_cli.checks.naming import learning, named
from graphviz_cli.drawing.format import number_text
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph

_HEARD = 1e-3
"""A use counts whose part of the gradient is at least so much of the largest one."""
_CURE = (
    "Slopes below 1 multiply: use ReLU or GELU for sigmoid and tanh, an initialisation for the "
    "activation (kaiming, xavier), normalisation, or residual connections."
)
_CURE_IN_TIME = (
    "What lies further back is hardly learnt from: use a gated cell (LSTM, GRU), an orthogonal "
    "initialisation, a loss at every step, or attention."
)


@dataclass(frozen=True, slots=True)
class VanishingGradient:
    """Parameters whose gradient is a ten-millionth of that of others, or less.

    Compared are root mean squares (norm / sqrt(elements)) of the parameters' gradients with the
    largest among them, so that neither their shapes nor the scale of the loss matter. Of the
    parameters of a module the largest counts: the bias of an attention's keys, or one before a
    normalisation, has no effect and a gradient of mere rounding errors.

    A parameter that is used at every step of a sequence gets its gradient from the last steps all
    the same. So it is told, too, when the first half of its uses adds less than that, and no more
    than `uses` of them a thousandth of what the one adds that adds most. In an LSTM or a GRU
    as torch initialises them it is some 12, in an RNN 10.
    """

    needs: ClassVar[tuple[str, ...]] = (GRADIENT,)

    ratio: float = 1e-7
    """The least part of the largest that is no finding."""
    uses: int = 8
    """So many uses, or fewer, that add anything noticeable are a finding."""

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for all parameters, and one for those that are used over and over."""
        if GRADIENT not in graph.annotations:
            return
        flow = Flow(graph)
        sizes = {leaf: flow.size(leaf) for leaf in learning(graph)}
        if not sizes or not isfinite(sum(sizes.values())):
            return  # to say where it begins is the business of another check
        yield from self._small(graph, flow, sizes)
        yield from self._forgotten(graph, flow, list(sizes))

    def _small(self, graph: Graph, flow: Flow, sizes: dict[int, float]) -> Iterator[Finding]:
        of_modules: dict[str, float] = {}
        for leaf, size in sizes.items():
            module = _module(graph, leaf)
            of_modules[module] = max(size, of_modules.get(module, 0.0))
        largest = max(sizes, key=lambda leaf: (sizes[leaf], -leaf))
        lost = [
            leaf
            for leaf, size in sizes.items()
            if size > 0 and of_modules[_module(graph, leaf)] < self.ratio * sizes[largest]
        ]
        if not lost:
            return
        worst = min(lost, key=lambda leaf: (sizes[leaf], leaf))
        steps = apart(flow.way(worst), flow.way(largest))
        if prod(step.factor for step in steps) > sqrt(self.ratio):
            return  # it is not lost: that of the other one has grown
        least, most = (
            number_text(choose(sizes[leaf] for leaf in lost) / sizes[largest])
            for choose in (min, max)
        )
        where, op = flow.told(steps, shrinks=True)
        verb = "gets" if len(lost) == 1 else "get"
        span = least if least == most else f"{least} to {most}"
        yield Finding(
            check="vanishing-gradient",
            severity=Severity.WARNING,
            message=f"{named(graph, lost)} {verb} {span} times as much gradient as "
            f"{graph.nodes[largest].label}, per element; on the way to "
            f"{graph.nodes[worst].label} {where}.",
            nodes=(op, *lost),
            source=graph.nodes.sources[op],
            hint=_CURE,
        )

    def _forgotten(self, graph: Graph, flow: Flow, leaves: Sequence[int]) -> Iterator[Finding]:
        found: dict[int, tuple[int, int, Arrival]] = {}
        for leaf in leaves:
            arrivals = flow.arrivals(leaf)
            norms = [arrival.numbers.norm for arrival in arrivals]
            most = max(norms, default=0.0)
            heard = sum(norm >= _HEARD * most for norm in norms)
            early = norms[: len(norms) // 2]
            if heard <= self.uses < len(early) and max(early) < self.ratio * most:
                first = next(a for a in arrivals if a.numbers.norm >= self.ratio * most)
                found[leaf] = len(norms), heard, first
        if not found:
            return
        # Of the one that is used most; the others differ by a use or two.
        leaf, (count, heard, first) = max(found.items(), key=lambda item: (item[1][0], -item[0]))
        steps = apart(flow.way(leaf, first), flow.way(leaf))
        where, op = flow.told(steps or flow.way(leaf, first), shrinks=True)
        yield Finding(
            check="vanishing-gradient",
            severity=Severity.WARNING,
            message=f"{named(graph, [*found])} {'learns' if len(found) == 1 else 'learn'} from "
            f"{heard:,} of {count:,} uses alone, and what each of the others adds to the gradient "
            f"is less than a thousandth of the most; from the last of them back {where}.",
            nodes=(op, *found),
            source=graph.nodes.sources[op],
            hint=_CURE_IN_TIME,
        )


def _module(graph: Graph, leaf: int) -> str:
    """The name of the module that a parameter belongs to; of one without dots its own."""
    label = graph.nodes[leaf].label
    return label.rpartition(".")[0] or f"{label}#{leaf}"
