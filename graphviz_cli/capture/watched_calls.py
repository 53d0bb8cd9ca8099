"""All backward calls of a program, measured or counted while it runs undisturbed."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from graphviz_cli.capture import engine
from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.backward import EngineCall, EngineCalls
from graphviz_cli.capture.measurements import Measurements
from graphviz_cli.capture.target import WatchPlan
from graphviz_cli.graph.history import Step

Result = TypeVar("Result")


class WatchedCalls(EngineCalls):
    """Measures those of the calls of the engine that are due.

    `attribution` is paused as long as none is. An error in here is noted, and the program goes on.
    """

    def __init__(
        self,
        measurements: Measurements,
        attribution: Attribution,
        plan: WatchPlan,
        told: Callable[[Step], None],
    ) -> None:
        super().__init__()
        self.unmeasured: Counter[str] = Counter()
        """How many calls that were due are not measured, by why."""
        self._measurements = measurements
        self._attribution = attribution
        self._plan = plan
        self._told = told
        self._measuring = threading.RLock()
        self._own_seconds = 0.0
        self._ended: float | None = None
        self._running = 0
        """How many calls the engine is at."""

    def __enter__(self) -> Self:
        super().__enter__()
        with ExitStack() as stack:
            for register, hook in (
                (register_optimizer_step_pre_hook, self._before_step),
                (register_optimizer_step_post_hook, self._after_step),
            ):
                stack.callback(register(hook).remove)
            self._hooks = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hooks.close()
        super().__exit__(kind, error, traceback)

    def called(self, call: EngineCall) -> Any:
        """Measure a call if it is due, and end the program after the last that is asked for."""
        if self.stopped:
            raise self.stop(call)
        with self._lock:
            self.count += 1
            number = self.count
        started = time.perf_counter()
        begun = None
        if self._is_due(number):
            if engine.is_recording_gpu_work():
                self.unmeasured["as a CUDA graph was being recorded"] += 1
            else:
                begun = self._guarded(self._measurements.begin, call, number)
        if begun is None:
            self._guarded(self._measurements.passed)
        own_seconds = time.perf_counter() - started
        with self._lock:
            self._own_seconds += own_seconds
            self._running += 1
        try:
            result = call.run()
        finally:
            with self._lock:
                self._running -= 1
        if begun is not None:
            # What the GPU is still at is the program's work, not ours.
            self._guarded(engine.wait_for_gpu)
        started = time.perf_counter()
        ended = started - self._own_seconds
        if begun is not None:
            seconds = None if self._ended is None else ended - self._ended
            step = self._guarded(self._measurements.end, begun, seconds, own_seconds)
            if step is not None:
                with suppress(Exception):  # of whoever listens
                    self._told(step)
        self._ended = ended
        self._attribution.forget()
        if self._is_due(number + 1):
            self._attribution.resume()
        else:
            self._attribution.pause()
        self._own_seconds += time.perf_counter() - started
        if number == self._plan.until:
            raise self.stop(call)
        return result

    def _is_due(self, number: int) -> bool:
        return (number - 1) % self._plan.every == 0

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if os.getpid() != self._process:
            return
        started = time.perf_counter()
        # An optimizer that takes its steps within a backward pass has not all gradients yet.
        if not self._running:
            self._guarded(self._measurements.before_step, optimizer)
        has_closure = len(args) > 1 or kwargs
        if not has_closure:
            # The step makes no graph. After a call it may be too early, for within a torch
            # function no mode can be taken away.
            self._attribution.pause()
        self._own_seconds += time.perf_counter() - started

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if os.getpid() == self._process and self._is_due(self.count + 1):
            started = time.perf_counter()
            self._guarded(self._measurements.after_step, optimizer)
            self._attribution.resume()
            self._own_seconds += time.perf_counter() - started

    def _guarded(self, function: Callable[..., Result], *arguments: Any) -> Result | None:
        """Call a function of ours, the errors of which are no concern of the program's."""
        try:
            with self._measuring:
                return function(*arguments)
        except Exception as error:
            self.unmeasured[f"as {type(error).__name__} was raised in it"] += 1
            return None
