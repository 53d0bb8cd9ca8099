"""What is known of an op that made NaN or infinities."""

from __future__ import annotations

import re

from graphviz_cli.checks.culprits import Deed
from graphviz_cli.checks.measured import Numbers, Range, ranges, saved_text
from graphviz_cli.checks.origins import Origin, Origins
from graphviz_cli.drawing.formula import filled, input_name, readable
from graphviz_cli.graph.model import Graph, TensorSpec
from graphviz_cli.graph.traversal import Adjacency

_SAME = re.compile(r"(\S+) to \1(?=,|$)")
_FORMULA = 80
_NEAR = 32
"""How many ops a `torch.where` may be away."""


class Evidence:
    """Ranges, formulas and sizes, of ops of one graph."""

    def __init__(self, graph: Graph, adjacency: Adjacency, origins: Origins) -> None:
        self._graph = graph
        self._nodes = graph.nodes
        self._adjacency = adjacency
        self._origins = origins

    def deed(self, origin: Origin, made: Numbers) -> Deed:
        """An op and its numbers, as the table of usual reasons asks for them."""
        node = origin.node
        is_forward = origin.input_nr < 0
        known = self.given(node) if is_forward else ranges(saved_text(self._graph, node))
        received = self._origins.gradients.at(node)
        is_masked = below_where = False
        if not is_forward and received is not None:
            known["grad"] = received.least, received.largest
            is_masked = made.has_nan and received.zeros >= made.nans + made.infinite
            below_where = is_masked and self._is_below_where(node)
        specs = [spec for i in self._origins.inputs(node) for spec in self._nodes.outputs[i]]
        return Deed(
            op=self._nodes.names[node],
            dtype=spec.dtype if (spec := self.made(origin)) else "",
            is_forward=is_forward,
            has_nan=made.has_nan,
            has_infinite=made.has_infinite,
            ranges=known,
            numel=specs[0].numel if len(specs) == 1 else None,
            is_masked=is_masked,
            below_where=below_where,
        )

    def formula(self, origin: Origin) -> str:
        """`grad self = grad / (2 * result)`; empty where torch tells none, or one that is long."""
        operator = self._graph.operators.get(self._nodes.names[origin.node])
        name = "" if operator is None else input_name(operator.inputs, origin.input_nr)
        if operator is None or not name:
            return ""
        text = dict(filled(operator, {})).get(re.sub(r"\[\d+\]$", "", name), "")
        if not any("complex" in spec.dtype for spec in self._nodes.outputs[origin.node]):
            text = readable(text).replace("·", "*")
        return f"grad {name} = {text}" if 0 < len(text) <= _FORMULA else ""

    def saved(self, node: int, formula: str = "") -> str:
        """The ranges of what an op saved; only what a formula speaks of if there is one."""
        text = _SAME.sub(r"\1", saved_text(self._graph, node))
        parts = text.split(", ")
        words = re.findall(r"\w+", formula)
        used = [part for part in parts if part.partition(":")[0] in words]
        return ", ".join(used) or text

    def given(self, node: int) -> dict[str, Range]:
        """Least and largest element of each tensor that went into an op and is known, by name."""
        operator = self._graph.operators.get(self._nodes.names[node])
        names = () if operator is None else operator.inputs
        found: dict[str, Range] = {}
        edges, offsets = self._graph.edges, self._adjacency.offsets
        for edge in range(offsets[node], offsets[node + 1]):
            source = edges.targets[edge]
            numbers = self._origins.value(source)
            name = input_name(names, edges.input_nrs[edge])
            # Of several outputs the numbers are known together only.
            if numbers is not None and name and len(self._nodes.outputs[source]) == 1:
                found[name] = numbers.least, numbers.largest
        for name, known in ranges(saved_text(self._graph, node)).items():
            if not name.startswith("result"):
                found.setdefault(name, known)
        return found

    def numel(self, node: int) -> int | None:
        """The elements of all outputs of a node together."""
        sizes = [spec.numel for spec in self._nodes.outputs[node]]
        known = [size for size in sizes if size is not None]
        return sum(known) if sizes and len(known) == len(sizes) else None

    def made(self, origin: Origin) -> TensorSpec | None:
        """What tensor is not finite; None if it is one of several."""
        if origin.input_nr < 0:
            specs = self._nodes.outputs[origin.node]
            return specs[0] if len(specs) == 1 else None
        edges, offsets = self._graph.edges, self._adjacency.offsets
        for edge in range(offsets[origin.node], offsets[origin.node + 1]):
            if edges.input_nrs[edge] == origin.input_nr:
                specs = self._nodes.outputs[edges.targets[edge]]
                nr = edges.output_nrs[edge]
                return specs[nr] if nr < len(specs) else None
        return None

    def _is_below_where(self, node: int) -> bool:
        pending = [node]
        for user in pending:  # grows while it is read
            if self._nodes.names[user].startswith("WhereBackward"):
                return True
            if len(pending) < _NEAR:
                pending += set(self._adjacency.predecessors_of(user)).difference(pending)
        return False
