"""Where numbers that are not finite begin, in the forward pass and in the backward pass."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from graphviz_cli.checks.measured import (
    GRADIENT,
    OUTPUT,
    Measured,
    Numbers,
    ranges,
    saved_text,
)
from graphviz_cli.graph.model import NONE, Graph, NodeKind
from graphviz_cli.graph.traversal import Adjacency
from graphviz_cli.transforms.hide import is_view

INPUT = "non-finite-input"
"""Annotation: what is not finite and goes into an op from outside the graph, in a phrase."""

ORDER = "output-order"
"""Annotation: the rank of an op among all torch calls that made something that is not finite."""

_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028e38,
    "float64": sys.float_info.max, "complex64": 3.4028e38, "complex128": sys.float_info.max,
}  # fmt: skip

_OVER_MASKED = re.compile(r"_?((Log)?Softmax|Logsumexp|SafeSoftmax|ScaledDotProduct\w*)Backward\d*")
"""Ops that -inf is given to on purpose; only a row of nothing else makes NaN."""


class Way(StrEnum):
    """How something that is not finite came to be."""

    OP = "op"
    """An op made it of finite numbers."""
    LEAF = "leaf"
    """A leaf held it before the forward pass."""
    INPUT = "input"
    """It went into an op from outside the graph."""
    SUM = "sum"
    """Finite gradients add up to more than there are numbers for."""
    HOOK = "hook"
    """A hook of the program turned the finite gradient into it."""
    SEED = "seed"
    """The backward pass started from it."""


class Origin(NamedTuple):
    """A place where it begins."""

    way: Way
    node: int
    """The op or the leaf."""
    input_nr: int = NONE
    """In the backward pass, with OP: the input whose gradient it is."""
    spoiled: int = NONE
    """In the forward pass: the op that made NaN of the infinity."""


class Origins:
    """Traces what is not finite to where it begins, in a graph with measured numbers."""

    def __init__(self, graph: Graph, adjacency: Adjacency) -> None:
        self.gradients = Measured(graph, GRADIENT)
        self.outputs = Measured(graph, OUTPUT)
        self._graph = graph
        self._adjacency = adjacency

    def of_values(self, nodes: Iterable[int]) -> list[Origin]:
        """Where the values of some nodes that are not finite begin, first what was computed first.

        NaN is followed to the op none of whose inputs is NaN. If an input of that is infinite, the
        infinity is followed further, to the op that made it, except into a softmax over -inf.
        """
        pending = [(node, NONE) for node in nodes]
        seen = {node for node, _ in pending}
        origins = []
        for node, spoiled in pending:  # grows while it is read
            guilty, begins = self._guilty(node)
            if begins is not None:
                origins.append(Origin(begins, node, spoiled=spoiled))
            for source in guilty:
                if source not in seen:
                    seen.add(source)
                    is_nan = (numbers := self.value(source)) is None or numbers.has_nan
                    own = self.value(node)
                    makes_nan = not is_nan and own is not None and own.has_nan
                    pending.append((source, node if makes_nan else spoiled))
        order = self._graph.annotations.get(ORDER)
        ranks = {} if order is None else order.values
        turns = self._graph.nodes.sequence_nrs
        # Ranks tell more than turns do (of writes in place), but those nobody saw have none.
        is_ranked = all(origin.way is Way.LEAF or origin.node in ranks for origin in origins)
        when = {o: float(ranks.get(o.node, NONE)) if is_ranked else turns[o.node] for o in origins}
        return sorted(origins, key=lambda origin: (when[origin], origin.node))

    def value(self, node: int) -> Numbers | None:
        """What a node computed.

        Of an op that nobody saw that is what a view of it shows, or the extremes of what it saved.
        """
        names, outputs = self._graph.nodes.names, self._graph.nodes.outputs
        known, seen = self.outputs.at(node), node
        while known is None and len(outputs[seen]) == 1:
            users = self._adjacency.predecessors_of(seen)
            seen = next((user for user in users if is_view(names[user])), NONE)
            if seen == NONE:
                break
            known = self.outputs.at(seen)
        saved = {} if known is not None else ranges(saved_text(self._graph, node))
        if "result" in saved:
            least, largest = saved["result"]
            return Numbers(abs(least) + abs(largest), least, largest, 0.0, 0.0, 0.0)
        return known

    def _guilty(self, node: int) -> tuple[list[int], Way | None]:
        """The inputs that a node's value is not finite because of; if none, how it came to be."""
        own = self.value(node)
        kinds, names = self._graph.nodes.kinds, self._graph.nodes.names
        if kinds[node] is not NodeKind.FUNCTION:
            return [], Way.LEAF
        phrases = self._graph.annotations.get(INPUT)
        phrase = "" if phrases is None else str(phrases.values.get(node, ""))
        inputs = [(i, n) for i in self.inputs(node) if (n := self.value(i)) is not None]
        faulty = [(source, numbers) for source, numbers in inputs if not numbers.is_finite]
        nans = [source for source, numbers in faulty if numbers.has_nan]
        infinite = [source for source, numbers in faulty if numbers.has_infinite]
        if own is None or not own.has_nan:
            return (infinite, None) if infinite else ([], Way.INPUT if phrase else Way.OP)
        if nans or "NaN" in phrase:
            return nans, None if nans else Way.INPUT
        if infinite and _OVER_MASKED.fullmatch(names[node]) and _only_masked(n for _, n in faulty):
            return [], Way.OP
        if infinite:
            return infinite, None
        return [], Way.INPUT if phrase else Way.OP

    def inputs(self, node: int) -> Iterator[int]:
        """What is known and goes into an op, also across a cut and ops that were not seen."""
        return (source for source in self._before(node) if self.value(source) is not None)

    def unseen(self, node: int) -> list[int]:
        """Ops that nobody saw between an op and what is known to go into it, nearest first.

        The function that made it made them on the way. Views change nothing and do not count.
        """
        kinds, names = self._graph.nodes.kinds, self._graph.nodes.names
        return [
            source
            for source in self._before(node)
            if kinds[source] is NodeKind.FUNCTION
            and not is_view(names[source])
            and self.value(source) is None
        ]

    def _before(self, node: int) -> Iterator[int]:
        """The inputs of an op, and those of each that is not known."""
        pending = list(dict.fromkeys(self._adjacency.successors_of(node)))
        seen = set(pending)
        for source in pending:  # grows while it is read
            yield source
            if self.value(source) is None:
                further = set(self._adjacency.successors_of(source)) - seen
                seen |= further
                pending += sorted(further)

    def of_gradients(self) -> list[Origin]:
        """Where the gradients that are not finite begin, in the order in which the engine runs.

        Only those count that flow on to a leaf, or to where the backward pass ended: what a
        `torch.where` throws away harms nobody.
        """
        gradients, norms = self.gradients, self.gradients.norms
        pending = [
            node
            for node in sorted(norms)
            if not gradients.is_finite(node) and not gradients.sends(node)
        ]
        seen = set(pending)
        origins: dict[Origin, None] = {}
        for node in pending:  # grows while it is read
            arrivals = gradients.arriving(self._adjacency, node)
            faulty = [arrival for arrival in arrivals if not arrival.numbers.is_finite]
            for source, input_nr, *_ in faulty:
                if gradients.is_finite(source):
                    origins[Origin(Way.OP, source, input_nr)] = None
                elif source not in seen:
                    seen.add(source)
                    pending.append(source)
            if not faulty:
                origins[Origin(self._way_of_arrival(node), node)] = None
        turns = self._graph.nodes.sequence_nrs
        # A leaf's turn comes at once, and it begins nothing that goes on.
        return sorted(origins, key=lambda o: (-turns[o.node], o.node, o.input_nr))

    def cause(self, origin: Origin) -> Origin | None:
        """Where in the forward pass began what the op was given that spoils a gradient."""
        node = origin.node
        if origin.way is not Way.OP:
            return None
        values = {source: self.value(source) for source in self.inputs(node)}
        faulty = {i: found for i, found in values.items() if found and not found.is_finite}
        if _OVER_MASKED.fullmatch(self._graph.nodes.names[node]) and _only_masked(faulty.values()):
            return None
        return next((o._replace(spoiled=node) for o in self.of_values(faulty)), None)

    def _way_of_arrival(self, node: int) -> Way:
        """How finite gradients became another when they arrived."""
        totals: dict[int, float] = {}
        arrivals = list(self.gradients.arriving(self._adjacency, node))
        for arrival in arrivals:
            most = totals.get(arrival.output_nr, 0.0) + max(arrival.numbers.magnitudes)
            totals[arrival.output_nr] = most
        outputs = self._graph.nodes.outputs[node]
        for output_nr, total in totals.items() if len(arrivals) > 1 else ():
            dtype = outputs[output_nr].dtype if output_nr < len(outputs) else ""
            # Rounding alone may carry the sum over the edge.
            if total >= 0.999 * _LARGEST.get(dtype, sys.float_info.max):
                return Way.SUM
        is_root = any(root.node == node for root in self._graph.roots)
        return Way.SEED if is_root else Way.HOOK


def _only_masked(faulty: Iterable[Numbers]) -> bool:
    """All of it is -inf, as what masks write."""
    return all(not numbers.has_nan and numbers.largest < float("inf") for numbers in faulty)
