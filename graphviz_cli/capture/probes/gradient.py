"""How large the gradients are that flow along every edge and into every node."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from graphviz_cli.capture.probes.live import Gradients, LiveBackward
from graphviz_cli.capture.probes.numbers import facts
from graphviz_cli.graph.model import Annotation, Combine, NodeKind

if TYPE_CHECKING:
    from graphviz_cli.capture.probes.statistics import Summary

CHANGED = "gradient-changed"
"""Annotation: a node that receives another gradient than what flows to it over the edges."""

_MODULE_HOOK = "BackwardHookFunctionBackward"
"""What torch puts around a module with a backward hook: it passes the gradient on as it is, and
then the hook runs (torch/nn/modules/_functions.py)."""

_Key = tuple[int, int]
"""An output of a node: its id and the number."""

# Half a unit in the last place, for each of the numbers that torch adds up.
_ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 2.0**-53, "complex128": 2.0**-53}
_USUAL_ROUNDING = 2.0**-24


@dataclass(slots=True)
class Gradient:
    """Norm, least, largest, mean, and shares of zeros, NaN and infinities of every gradient.

    Of what each op and leaf receives, and of what flows over each edge. `gradient` is the norm, the
    others are `gradient-min`, `gradient-max`, `gradient-mean`, `gradient-zeros`, `gradient-nan` and
    `gradient-inf`. `gradient-changed` marks where a hook of the program changes the gradient: what
    arrives there is not the sum of what was sent.
    """

    needs_backward: ClassVar[bool] = True

    _statistics: Any = field(default=None, init=False)
    _received: dict[int, list[int]] = field(default_factory=dict, init=False)
    _sent: dict[int, list[int | None]] = field(default_factory=dict, init=False)
    _arrived: dict[_Key, int] = field(default_factory=dict, init=False)
    _on_the_way: dict[_Key, list[tuple[int, Any]]] = field(default_factory=dict, init=False)
    _seeded: set[_Key] = field(default_factory=set, init=False)
    _sums: dict[_Key, list[int]] = field(default_factory=dict, init=False)
    _targets: list[dict[int, _Key]] = field(default_factory=list, init=False)

    def forward(self) -> AbstractContextManager[object]:
        """Nothing is measured there."""
        return nullcontext()

    @contextmanager
    def backward(self, live: LiveBackward) -> Iterator[None]:
        """Note every gradient before and after each op."""
        from graphviz_cli.capture.probes.statistics import Statistics

        self._statistics = Statistics()
        edges, count = live.graph.edges, len(live.nodes)
        self._targets = [{} for _ in range(count)]
        for source, target, input_nr, output_nr in zip(
            edges.sources, edges.targets, edges.input_nrs, edges.output_nrs
        ):
            if source < count and target < count:
                self._targets[source][input_nr] = target, output_nr
        self._seeded = {(root.node, root.output_nr) for root in live.graph.roots}
        live.observe(self._receive, self._send)
        yield
        self._on_the_way.clear()
        self._targets.clear()

    def _receive(self, node: int, gradients: Gradients) -> None:
        statistics = self._statistics
        rows = self._received[node] = []
        for output_nr, gradient in enumerate(gradients):
            if gradient is None:
                continue
            key = node, output_nr
            sent = self._on_the_way.pop(key, [])
            row: int | None
            if len(sent) == 1 and key not in self._seeded and sent[0][1] == _identity(gradient):
                row = sent[0][0]  # the very tensor that was sent
            else:
                row = statistics.add(gradient)
                if row is not None:
                    self._sums[key] = [sent_row for sent_row, _ in sent]
            if row is not None:
                rows.append(row)
                self._arrived[key] = row

    def _send(self, node: int, inputs: Gradients, outputs: Gradients) -> None:
        statistics = self._statistics
        targets = self._targets[node]
        if not targets:
            return
        rows: list[int | None] = [None] * (max(targets) + 1)
        # Many ops send on what they received, or the same to all of their inputs.
        known: dict[object, int | None] = {}
        for output_nr, gradient in enumerate(outputs):
            if gradient is not None:
                known[_identity(gradient)] = self._arrived.get((node, output_nr))
        for input_nr, gradient in enumerate(inputs):
            if gradient is None or input_nr not in targets:
                continue
            identity = _identity(gradient)
            row = known.get(identity)
            if row is None:
                row = known[identity] = statistics.add(gradient)
            rows[input_nr] = row
            if row is not None:
                self._on_the_way.setdefault(targets[input_nr], []).append((row, identity))
        self._sent[node] = rows

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """The norm first, then the other numbers, then the marks."""
        if self._statistics is None:
            return
        from graphviz_cli.capture.probes.statistics import Summary

        summaries = self._statistics.fetch()
        self._statistics = None  # of long chains that is much memory
        of_nodes = {
            node: Summary.of([summaries[row] for row in rows])
            for node, rows in sorted(self._received.items())
            if rows
        }
        of_edges = {
            node: [None if row is None else summaries[row] for row in rows]
            for node, rows in sorted(self._sent.items())
            if any(row is not None for row in rows)
        }
        yield from facts("gradient", of_nodes, of_edges)
        changed = dict(self._changed(live, summaries))
        if changed:
            yield Annotation(CHANGED, changed, combine=Combine.FIRST)

    def _changed(self, live: LiveBackward, summaries: Sequence[Summary]) -> Iterator[Any]:
        """The nodes that did not receive the sum of what was sent, with a sentence."""
        nodes = live.graph.nodes
        told: set[int] = set()
        for (node, output_nr), rows in sorted(self._sums.items()):
            if (node, output_nr) in self._seeded or node in told or not rows:
                continue
            outputs = nodes.outputs[node]
            dtype = outputs[output_nr].dtype if output_nr < len(outputs) else ""
            received = summaries[self._arrived[node, output_nr]]
            sent = [summaries[row] for row in rows]
            if not _agree(received, sent, _ROUNDING.get(dtype, _USUAL_ROUNDING)):
                told.add(node)
                what = "leaf" if nodes.kinds[node] is NodeKind.LEAF else "op"
                yield (
                    node,
                    f"a hook changed the gradient that the {what} receives"
                    + (f": norm {sent[0].norm:.3g} before" if len(sent) == 1 else ""),
                )
        for node, sent_rows in sorted(self._sent.items()):
            if nodes.names[node] != _MODULE_HOOK:
                continue
            for place, row in enumerate(sent_rows):
                arrived = self._arrived.get((node, place))
                if row is None or arrived is None or row == arrived:
                    continue
                if not _agree(summaries[row], [summaries[arrived]], _USUAL_ROUNDING):
                    yield node, "a backward hook of the module changed the gradient that is sent on"
                    break


def _identity(gradient: Any) -> tuple[object, ...]:
    """Tells a tensor from every other that lives at the same time, and from itself once changed."""
    try:
        place = gradient.data_ptr(), gradient.dtype, gradient.shape, gradient.stride()
    except RuntimeError:  # it has no storage or no shape of its own: sparse, wrapped or nested
        return id(gradient), gradient._version
    return *place, gradient._version


def _agree(received: Summary, sent: Sequence[Summary], rounding: float) -> bool:
    """Whether a gradient is the sum of others, as far as their numbers can tell.

    Sums add up; where there is one only, all numbers must be the same. Only what rounding cannot
    explain counts as different.
    """
    numbers = [received.norm, *(part.norm for part in sent)]
    if not all(map(math.isfinite, numbers)):
        return True  # of NaN and infinities nothing can be told
    scale = sum(numbers) + max(abs(received.least), abs(received.largest))
    slack = 8 * (len(sent) + 1) * rounding * scale * max(1.0, math.sqrt(received.numel))
    if abs(received.total - sum(part.total for part in sent)) > slack:
        return False
    if len(sent) > 1:
        return received.norm <= sum(part.norm for part in sent) + slack
    (only,) = sent
    if only.numel != received.numel:
        return True
    pairs = (
        (received.norm, only.norm),
        (received.least, only.least),
        (received.largest, only.largest),
    )
    return all(abs(a - b) <= slack for a, b in pairs)
