"""Where a program enters autograd's engine."""

from __future__ import annotations

import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch.autograd.graph import GradientEdge

from graphviz_cli.capture import private
from graphviz_cli.capture.callers import is_library, outward, starting_points, variables_of
from graphviz_cli.capture.live import visit
from graphviz_cli.capture.stopping import ProgramStopped, end_insistence, stopping

Output = torch.Tensor | GradientEdge


def node_of(output: Output) -> Any:
    """The backward op that made a tensor, or None."""
    return output.node if isinstance(output, GradientEdge) else output.grad_fn


@dataclass(frozen=True, slots=True)
class BackwardCall:
    """A call of `backward()` or `grad()` before the engine has run."""

    outputs: tuple[Output, ...]
    names: tuple[str, ...]
    """What the caller calls the outputs; empty where that is not to be seen."""
    namespaces: tuple[dict[str, Any], ...]
    """The variables of the user's functions on the stack, outermost first."""
    vectors: tuple[torch.Tensor | None, ...] = ()
    """What each output's Jacobian is multiplied with."""


@dataclass(frozen=True, slots=True)
class EngineCall:
    """A call of the engine that counts, still to be made."""

    outputs: tuple[Output, ...]
    arguments: tuple[Any, ...]
    """What follows: vectors, retain_graph, create_graph, inputs, allow_unused."""
    accumulates: bool
    """Into `.grad`; otherwise the gradients are its result."""
    frame: FrameType
    """Where it was called."""
    run: Callable[[], Any]

    @property
    def vectors(self) -> tuple[torch.Tensor | None, ...]:
        """What the outputs' Jacobians are multiplied with; empty where that was left open."""
        return tuple(self.arguments[0] or ()) if self.arguments else ()

    @property
    def keeps_graph(self) -> bool:
        """Something of the graph stays for another call."""
        return any(self.arguments[1:3])

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What alone gets a gradient; empty if all leaves do."""
        return tuple(self.arguments[3]) if len(self.arguments) > 3 else ()


class EngineCalls(ABC):
    """Stands between a program and autograd's engine.

    Within the block the function through which each Python call of `backward()` and `grad()` goes
    is ours, and `called` decides what becomes of it. Calls within a running backward pass (the
    recomputation of a checkpoint) or a `torch.func` transform do not count, nor do those of child
    processes, nor calls that torch refuses because nothing requires a gradient.
    """

    def __init__(self) -> None:
        self.count = 0
        self.within_others = 0
        """How many calls that fill `.grad` were made within a running one, and do not count."""
        self.stopped = False
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._replaced: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        for place, name in private.backward_entry_points():
            original = getattr(place, name)
            self._replaced.append((place, name, original))
            setattr(place, name, self._watching(original))
        self._excepthook = threading.excepthook
        threading.excepthook = self._on_thread_error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for place, name, original in self._replaced:
            setattr(place, name, original)
        self._replaced.clear()
        threading.excepthook = self._excepthook
        end_insistence()

    @abstractmethod
    def called(self, call: EngineCall) -> Any:
        """Make a call, or do not, and give its result. Calls may come from several threads."""

    def stop(self, call: EngineCall) -> ProgramStopped:
        """What to raise in place of the call's result to end the program."""
        was_stopped, self.stopped = self.stopped, True
        return stopping(call.frame, in_handlers=was_stopped)

    def _watching(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_backward(outputs: Sequence[Output], *args: Any, **options: Any) -> Any:
            def run() -> Any:
                return original(outputs, *args, **options)

            accumulates = bool(options.get("accumulate_grad", True))
            if not self._counts(outputs):
                self.within_others += accumulates and private.is_inside_backward()
                return run()
            frame = sys._getframe(1)
            return self.called(EngineCall(tuple(outputs), args, accumulates, frame, run))

        return run_backward

    def _counts(self, outputs: Sequence[Output]) -> bool:
        return (
            os.getpid() == self._process
            and not private.is_inside_backward()
            and not private.is_inside_transform()
            and any(isinstance(o, GradientEdge) or o.requires_grad for o in outputs)
        )

    def _on_thread_error(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is not ProgramStopped:
            self._excepthook(arguments)


class BackwardCalls(EngineCalls):
    """Watches all calls of the engine in this process, and stops the program at the N-th.

    After each call that is not taken, and leaves nothing of its graph, `passed` is called.
    """

    def __init__(self, step: int, passed: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.taken: BackwardCall | None = None
        self._step = step
        self._passed = passed

    def called(self, call: EngineCall) -> Any:
        """Let those before the N-th pass."""
        with self._lock:
            self.count += 1
            due = self.taken is None and self.count == self._step
            if due:
                self.taken = backward_call(call)
        if self.taken is None:
            result = call.run()
            if self._passed is not None and not call.keeps_graph:
                self._passed()
            return result
        if due and self.count > 1 and _is_freed(call.outputs):
            # Torch raises where an earlier call has freed what it needs: the user's to see.
            call.run()
        raise self.stop(call)


def backward_call(call: EngineCall) -> BackwardCall:
    """A call with what its caller's variables tell."""
    outputs, frames = call.outputs, list(outward(call.frame))
    users = [f for f in frames if not is_library(f.f_code)]
    namespaces = tuple(variables_of(frame) for frame in reversed(users))
    texts = starting_points(frames[0]) if frames else []
    names = []
    for position, output in enumerate(outputs):
        text = ""
        if len(texts) == len(outputs):
            text = texts[position]
        elif texts:
            text = f"{texts[0]}.{position}"
        names.append(_name(output, text, namespaces))
    return BackwardCall(outputs, tuple(names), namespaces, call.vectors)


def _name(output: Output, text: str, namespaces: Sequence[dict[str, Any]]) -> str:
    """The user's variable that holds a tensor, else the expression that gave it."""
    for namespace in reversed(namespaces):
        variables = [name for name, value in namespace.items() if value is output]
        if variables:
            return text if text in variables else variables[0]
    return text


def _is_freed(outputs: Sequence[Output]) -> bool:
    """An earlier backward pass has freed something in the graph of these tensors."""
    with private.undisturbed():
        nodes = map(node_of, outputs)
        return any(map(_has_freed, visit(node for node in nodes if node is not None).nodes))


def _has_freed(node: Any) -> bool:
    saved: list[Any] = []
    try:
        if private.is_custom_function(type(node)):
            saved += private.custom_saved(node)
        for _, attribute in private.saved_fields(type(node)):
            field = getattr(node, attribute)
            saved += field if isinstance(field, tuple) else [field]
    except RuntimeError:
        return True
    return any(s.data is None and s.unpack_hook is None and private.is_freed(s) for s in saved)
