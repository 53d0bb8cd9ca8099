"""Parameters whose gradient is there, and zero."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.checks.measured import GRADIENT, OUTPUT, Measured
from graphviz_cli.checks.naming import learning, located, named
from graphviz_cli.drawing.format import number_text, op_text
from graphviz_cli.graph.finding import Finding, Severity, listed
from graphviz_cli.graph.model import Graph, Role
from graphviz_cli.graph.traversal import Adjacency, topological_order
from graphviz_cli.transforms.hide import is_view

_MOST_CAUSES = 8
"""How many places are told that make one gradient zero."""

_SMALL = {"float16": 6e-5, "float64": 1e-305, "complex128": 1e-305}
_USUALLY_SMALL = 1e-35
"""Where less than that arrives, a product is soon too small for its type to tell it from 0."""


@dataclass(frozen=True, slots=True)
class ZeroGradient:
    """Parameters whose gradient is exactly zero everywhere, as opposed to None.

    Nothing tells such a parameter from one that learns: it has a gradient, and an optimizer updates
    it, by weight decay and momentum alone. Told is the nearest op on the way from the root that
    received something else and sent on zeros: a ReLU whose inputs are all negative, a factor 0, a
    round. Small gradients that are not zero are the business of `vanishing-gradient`, and zeros
    beside NaN or infinities that of `non-finite`. Where the factor is a parameter that begins with
    zeros and learns, it is a note: the first step ends it.
    """

    needs: ClassVar[tuple[str, ...]] = (GRADIENT, OUTPUT)

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for all parameters that share the places that make their gradients zero."""
        measured, leaves = Measured(graph, GRADIENT), learning(graph)
        outputs, roots = Measured(graph, OUTPUT), {root.node for root in graph.roots}
        if not all(map(outputs.is_finite, roots)) or not all(map(measured.is_finite, leaves)):
            return
        zero = [
            leaf
            for leaf in leaves
            if (numbers := measured.at(leaf)) is not None and numbers.zeros == 1
        ]
        if zero:
            yield from _Causes(graph, measured).findings(zero)


class _Causes:
    """What makes gradients zero in one graph."""

    def __init__(self, graph: Graph, measured: Measured) -> None:
        self._graph = graph
        self._measured = measured
        self._values = Measured(graph, OUTPUT)
        self._adjacency = Adjacency(graph)

    def findings(self, zero: Sequence[int]) -> Iterator[Finding]:
        causes = self._of_nodes()
        groups: dict[object, tuple[list[int], list[int]]] = {}
        for leaf in zero:
            makers, leaves = groups.setdefault(self._kind(causes[leaf]), ([], []))
            makers += causes[leaf]
            leaves.append(leaf)
        for makers, leaves in groups.values():
            nodes = list(dict.fromkeys(makers))
            verb = "gets" if len(leaves) == 1 else "get"
            passes = all(map(self._begins_with_zeros, nodes))
            yield Finding(
                check="zero-gradient",
                severity=Severity.NOTE if passes else Severity.WARNING,
                message=f"{named(self._graph, leaves)} {verb} a gradient that is 0 everywhere: "
                f"{self._told(nodes)}.",
                nodes=(*dict.fromkeys((*nodes, *leaves)),),
                source=self._graph.nodes.sources[nodes[0]],
                hint=_PASSES if passes else self._cure(nodes[0]),
            )

    def _of_nodes(self) -> Mapping[int, tuple[int, ...]]:
        """For each node that received zeros the nearest nodes that made them, itself if it did."""
        causes: dict[int, tuple[int, ...]] = {}
        for node in topological_order(self._adjacency):
            if not self._receives_zeros(node):
                continue
            found: dict[int, None] = {}
            is_made_here = False
            for arrival in self._measured.arriving(self._adjacency, node):
                if arrival.numbers.is_zero:
                    found |= dict.fromkeys(causes.get(arrival.source, (arrival.source,)))
                else:
                    is_made_here = True
            causes[node] = (*found,)[:_MOST_CAUSES] if found and not is_made_here else (node,)
        return causes

    def _begins_with_zeros(self, node: int) -> bool:
        """A factor of an op is a parameter that is 0 everywhere, and whose gradient is not."""
        names, roles = self._graph.nodes.names, self._graph.nodes.roles
        pending = [*self._adjacency.successors_of(node)]
        for source in pending:  # grows while it is read
            if roles[source] is Role.PARAMETER:
                value, gradient = self._values.at(source), self._measured.at(source)
                if value is not None and value.is_zero and gradient and not gradient.is_zero:
                    return True
            elif is_view(names[source]):
                pending += self._adjacency.successors_of(source)
        return False

    def _receives_zeros(self, node: int) -> bool:
        received = self._measured.at(node)
        return received is not None and received.is_zero

    def _kind(self, nodes: Sequence[int]) -> object:
        """What causes have in common that are told together: names, line and cure."""
        names, source = self._graph.nodes.names, self._graph.nodes.sources[nodes[0]]
        place = () if source is None else (source.file, source.line)
        return frozenset(names[node] for node in nodes), place, self._cure(nodes[0])

    def _told(self, nodes: Sequence[int]) -> str:
        graph, node = self._graph, nodes[0]
        if self._receives_zeros(node):
            if self._adjacency.predecessors_of(node):
                return f"what arrives at {located(graph, node)} adds up to 0"
            roots = [root.name for root in graph.roots if root.node in nodes]
            return f"the backward pass of {listed(roots)} starts from 0"
        makers = listed([*dict.fromkeys(located(graph, maker) for maker in nodes)])
        if len(nodes) > 1:
            return f"{makers} turn what they receive into zeros"
        norm = number_text(self._measured.norms.get(node, 0.0))
        return f"{makers} turns what it receives (norm {norm}) into zeros"

    def _cure(self, node: int) -> str:
        """What to do about it; empty where nothing usual fits."""
        if self._receives_zeros(node):
            if self._adjacency.predecessors_of(node):
                return "Either the parts cancel each other, or a hook of the program writes zeros."
            return "It is the gradient that backward() was given."
        nodes, received = self._graph.nodes, self._measured.at(node)
        most = math.inf if received is None else max(received.magnitudes)
        for target in self._adjacency.successors_of(node):
            for spec in nodes.outputs[target]:
                if most < _SMALL.get(spec.dtype, _USUALLY_SMALL):
                    return f"It was too small for {spec.dtype} to tell it from 0 any longer."
        name = op_text(nodes.names[node])
        return next((cure for ops, cure in _CURES if re.fullmatch(ops, name)), "")


_PASSES = "The parameter that it is multiplied with begins with zeros (LoRA, a residual branch), \
and learns: the first step ends it."
_CURES: Sequence[tuple[str, str]] = (
    (
        r"(Leaky)?Relu\d?|Threshold|Hard\w+|Clamp\w*|Elu|Maximum|Minimum",
        "All of its inputs lie where its slope is 0. A ReLU that is dead for a whole batch hardly "
        "recovers: look at the learning rate, the initialisation and the bias before it.",
    ),
    (
        r"Round|Floor|Ceil|Trunc|Sign|Sgn|Heaviside|FloorDivide|Fix",
        "Its derivative is 0 everywhere: use a smooth op or a straight-through estimator.",
    ),
    (
        r"Mul|Div|\w*[mM]m|Mv|Dot|Linear|\w*Convolution\w*",
        "What it is multiplied with is 0, or next to it: an input or a mask of zeros, dead units, "
        "an expert that was not chosen, a weight that was initialised so.",
    ),
    (
        r"Where|Masked\w*|Index\w*|Gather|Scatter\w*|Select\w*|Slice\w*|Embedding",
        "Nothing was chosen of what comes from there.",
    ),
)
"""Patterns for the names of ops without `Backward0`; the first that fits counts."""
