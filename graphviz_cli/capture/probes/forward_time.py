"""How long every module call takes in the forward pass."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.graph.model import NONE, Annotation, Combine


@dataclass(slots=True)
class _Call:
    """A module call: the sequence numbers that its ops got, and when it ran."""

    parent: int
    first: int
    started: Any
    end: int = 0
    ended: Any = None
    seconds: float = 0.0


@dataclass(slots=True)
class ForwardTime:
    """Seconds that each module call takes, what it calls not counted.

    They stand at the last of the ops that the call made itself, and add up: a module that is drawn
    as one box, or an open one in the text tree, shows all of its time. Ops outside modules, and
    calls of which no op is in the graph, have none. On a GPU its own clock counts.
    """

    needs_backward: ClassVar[bool] = False

    _calls: list[_Call] = field(default_factory=list, init=False)
    _stack: list[tuple[int, int]] = field(default_factory=list, init=False)
    _thread: int = field(default=0, init=False)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Look at the clock before and after each module's forward."""
        from torch.nn.modules import module as modules

        self._thread = threading.get_ident()
        before = modules.register_module_forward_pre_hook(self._enter)
        after = modules.register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()
            self._stack.clear()

    def backward(self, live: LiveBackward) -> AbstractContextManager[object]:
        """Nothing is measured there."""
        return nullcontext()

    def _enter(self, module: Any, args: Any) -> None:
        if threading.get_ident() == self._thread:
            from graphviz_cli.capture import private
            from graphviz_cli.capture.probes.clock import gpu_is_in_use, mark

            now = mark(on_gpu=gpu_is_in_use())
            parent = self._stack[-1][0] if self._stack else NONE
            self._stack.append((len(self._calls), id(module)))
            self._calls.append(_Call(parent, private.next_sequence_nr(), now))

    def _leave(self, module: Any, args: Any, value: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        from graphviz_cli.capture import private
        from graphviz_cli.capture.probes.clock import gpu_is_in_use, mark

        now = mark(on_gpu=gpu_is_in_use())
        # A call that an exception ended without running its hooks is still on the stack.
        while self._stack:
            number, called = self._stack.pop()
            if called == id(module):
                call = self._calls[number]
                call.end, call.ended = private.next_sequence_nr(), now
                return

    def annotations(self, live: LiveBackward) -> Iterator[Annotation]:
        """For each call that has an op in the graph its time without that of the calls within."""
        from graphviz_cli.capture.probes.clock import seconds

        calls = self._calls
        for call in calls:
            if call.ended is not None:
                call.seconds = seconds(call.started, call.ended)
        own = [call.seconds for call in calls]
        for call in calls:
            if call.parent != NONE and call.ended is not None:
                own[call.parent] -= call.seconds
        values: dict[int, float] = {}
        places = self._places(live)
        for number, call in enumerate(calls):
            if call.ended is not None and number in places:
                node = places[number]
                values[node] = values.get(node, 0.0) + max(own[number], 0.0)
        yield Annotation("forward-time", dict(sorted(values.items())), "s", Combine.SUM)

    def _places(self, live: LiveBackward) -> dict[int, int]:
        """For each call the last op that it made itself, else the last of a call within it."""
        from graphviz_cli.capture import private

        calls = self._calls
        starts = [call.first for call in calls]
        own: dict[int, tuple[int, int]] = {}
        inner: dict[int, tuple[int, int]] = {}
        for node, number in enumerate(private.sequence_nrs(live.nodes)):
            if number == private.UNNUMBERED:
                continue
            at = bisect_right(starts, number) - 1
            while at != NONE and not calls[at].first <= number < calls[at].end:
                at = calls[at].parent
            if at != NONE:
                own[at] = max(own.get(at, (NONE, NONE)), (number, node))
            while at != NONE:
                inner[at] = max(inner.get(at, (NONE, NONE)), (number, node))
                at = calls[at].parent
        return {at: node for at, (_, node) in {**inner, **own}.items()}
