"""How large the values are that every op computed in the forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.capture.probes.numbers import facts
from graphviz_cli.graph.model import Annotation, Combine, NodeKind

if TYPE_CHECKING:
    from graphviz_cli.capture.frames import Origin
    from graphviz_cli.capture.probes.call_values import CallValues, Value
    from graphviz_cli.capture.probes.statistics import Summary

ORDER = "output-order"
"""Annotation: of an op that gave NaN or infinities how many torch calls before it had done so."""

NON_FINITE_INPUT = "non-finite-input"
"""Annotation: what an op took from outside the graph that holds NaN or infinities, as a clause."""


@dataclass(slots=True)
class Output:
    """Norm, least, largest, mean, and shares of zeros, NaN and infinities of every op's result.

    Of leaves those of their own elements, as they were when they entered the graph. `output` is the
    norm, the others are `output-min`, `output-max`, `output-mean`, `output-zeros`, `output-nan` and
    `output-inf`. Where NaN or infinities came up, `output-order` tells which op had them first, and
    `non-finite-input` what brought them in from outside the graph. Nothing is told of ops that a
    function of torch made on the way to its result.
    """

    needs_backward: ClassVar[bool] = False

    _values: Any = field(default=None, init=False)
    _sources: Any = field(default=None, init=False)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Measure what every torch call gives."""
        from graphviz_cli.capture.probes.call_values import CallValues
        from graphviz_cli.capture.source import Sources
        from graphviz_cli.capture.torch_calls import listening

        self._values, self._sources = CallValues(), Sources()
        with listening(self._values):
            yield

    def backward(self, live: LiveBackward) -> AbstractContextManager[object]:
        """Nothing is measured there."""
        return nullcontext()

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """The numbers about ops and leaves, then where NaN and infinities come from."""
        values = self._values
        if values is None:
            return
        from torch import Tensor

        outputs = live.graph.nodes.outputs
        of_nodes = dict(_leaves(live, values))
        ops = dict(_ops(live, values))
        for root, tensor in zip(live.graph.roots, live.roots):
            # Nobody sees what TorchScript or a compiled function computes.
            is_only = isinstance(tensor, Tensor) and len(outputs[root.node]) == 1
            if is_only and root.node not in ops and root.node not in of_nodes:
                of_nodes[root.node] = [values.of_tensor(tensor, None)]
        values.settle()
        of_nodes.update((node, values.of_ops[op]) for node, op in ops.items())
        summaries: dict[int, Summary] = {}
        for node, parts in sorted(of_nodes.items()):
            summary = _summary(live, node, parts)
            if summary is not None:
                summaries[node] = summary
        if not summaries:
            return
        yield from facts("output", summaries, {})
        ranks, taken = values.ranks(), values.taken()
        order = {
            node: ranks[values.of_ops[op][0].call]
            for node, op in sorted(ops.items())
            if node in summaries and any(v.first is not None for v in values.of_ops[op])
        }
        if order:
            yield Annotation(ORDER, order, combine=Combine.OWN)
        phrases = {
            node: self._phrase(taken[op], live)
            if op in taken
            else f"a number is {_written(values.numbers[op])}"
            for node, op in sorted(ops.items())
            if op in taken or op in values.numbers
        }
        if phrases:
            yield Annotation(NON_FINITE_INPUT, phrases, combine=Combine.FIRST)

    def _phrase(self, value: Value, live: LiveBackward) -> str:
        """`x / x.std() (train.py:9) gave NaN`, `the buffer running_var holds inf`."""
        summary = value.summary
        assert summary is not None
        what = "NaN" if summary.nans else _written(summary.largest, summary.least)
        if value.origin is None:
            tensor = None if value.tensor is None else value.tensor()
            if tensor is not None and live.names is not None:
                known = live.names.of(tensor)
                if known.names:
                    return f"the {known.role} {known.names[0]} holds {what}"
            user = "" if value.user is None else self._place(value.user)
            return f"an input of {user} holds {what}" if user else f"an input holds {what}"
        return f"{self._place(value.origin) or 'a torch call'} gave {what}"

    def _place(self, origin: Origin) -> str:
        """`x / x.std() (train.py:9)`; empty where it is not known."""
        mask, site, *_ = origin
        if site is None:
            return ""
        place = self._sources.location(site, mask)
        where = f"{place.file}:{place.line}"
        return f"{place.text} ({where})" if place.text else where


def _leaves(live: LiveBackward, values: CallValues) -> Iterator[tuple[int, list[Value]]]:
    from graphviz_cli.capture import private

    count, kinds = len(live.nodes), live.graph.nodes.kinds
    numbers = private.sequence_nrs(live.nodes)
    first: dict[int, int] = {}
    for source, target in zip(live.graph.edges.sources, live.graph.edges.targets):
        if source < count and target < count and kinds[target] is NodeKind.LEAF:
            first[target] = min(first.get(target, numbers[source]), numbers[source])
    for node in range(count):
        if kinds[node] is NodeKind.LEAF:
            yield node, [values.of_tensor(live.nodes[node].variable, first.get(node))]


def _ops(live: LiveBackward, values: CallValues) -> Iterator[tuple[int, int]]:
    """The nodes whose values are known, each with its sequence number.

    Threads count for themselves: of two nodes with one number, nobody knows which is meant.
    """
    from graphviz_cli.capture import private

    numbers = private.sequence_nrs(live.nodes)
    counts = Counter(numbers)
    for node, number in enumerate(numbers):
        if number in values.of_ops and counts[number] == 1:
            yield node, number


def _summary(live: LiveBackward, node: int, parts: list[Value]) -> Summary | None:
    """The numbers of all outputs of a node; None where they are not known, or not of this node."""
    from graphviz_cli.capture.probes.statistics import Summary

    summaries = [part.summary for part in parts if part.summary is not None]
    if not summaries or len(summaries) < len(parts):
        return None
    sizes = [spec.numel for spec in live.graph.nodes.outputs[node]]
    known = [size for size in sizes if size is not None]
    # Of another size is what another thread made, which counts for itself.
    if len(known) == len(sizes) and sum(known) != sum(s.numel for s in summaries):
        return None
    return Summary.of(summaries)


def _written(*numbers: float) -> str:
    """The first number that is not finite."""
    number = next(number for number in numbers if not abs(number) < float("inf"))
    return f"{number}".replace("nan", "NaN")
