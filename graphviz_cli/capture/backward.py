"""Where a program enters autograd's engine, and how it is stopped there."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from dis import opmap
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch.autograd.graph import GradientEdge

from graphviz_cli.capture import private
from graphviz_cli.capture.callers import is_library, outward, starting_points
from graphviz_cli.capture.live import visit

Output = torch.Tensor | GradientEdge


def node_of(output: Output) -> Any:
    """The backward op that made a tensor, or None."""
    return output.node if isinstance(output, GradientEdge) else output.grad_fn


class ProgramStopped(BaseException):
    """Ends the user's program once its graph was taken.

    No Exception, so that `except Exception` lets it pass.
    """


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


class BackwardCalls:
    """Watches all calls of the engine in this process, and stops the program at the N-th.

    Within the block the function through which each Python call of `backward()` and `grad()` goes
    is ours. Calls within a running backward pass (the recomputation of a checkpoint) or a
    `torch.func` transform do not count, nor do those of child processes, nor calls that torch
    refuses because nothing requires a gradient. After each call that is not taken, and leaves
    nothing of its graph, `passed` is called.
    """

    def __init__(self, step: int, passed: Callable[[], None] | None = None) -> None:
        self.count = 0
        self.taken: BackwardCall | None = None
        self.stopped = False
        self._step = step
        self._passed = passed
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
        if isinstance(sys.gettrace(), _Insistence):
            sys.settrace(None)

    def _watching(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_backward(outputs: Sequence[Output], *args: Any, **options: Any) -> Any:
            if not self._counts(outputs):
                return original(outputs, *args, **options)
            with self._lock:
                self.count += 1
                due = self.taken is None and self.count == self._step
                if due:
                    vectors = tuple(args[0]) if args and args[0] is not None else ()
                    call = _backward_call(tuple(outputs), sys._getframe(1))
                    self.taken = replace(call, vectors=vectors)
            if self.taken is None:
                result = original(outputs, *args, **options)
                if self._passed is not None and not any(args[1:3]):
                    self._passed()
                return result
            if due and self.count > 1 and _is_freed(outputs):
                # Torch raises where an earlier call has freed what it needs: the user's to see.
                original(outputs, *args, **options)
            was_stopped, self.stopped = self.stopped, True
            raise _stop(sys._getframe(1), in_handlers=was_stopped)

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


def _backward_call(outputs: tuple[Output, ...], frame: FrameType | None) -> BackwardCall:
    frames = list(outward(frame))
    users = [f for f in frames if not is_library(f.f_code)]
    namespaces = tuple(dict(f.f_locals) for f in reversed(users))
    texts = starting_points(frames[0]) if frames else []
    names = []
    for position, output in enumerate(outputs):
        text = ""
        if len(texts) == len(outputs):
            text = texts[position]
        elif texts:
            text = f"{texts[0]}.{position}"
        names.append(_name(output, text, namespaces))
    return BackwardCall(outputs, tuple(names), namespaces)


def _name(output: Output, text: str, namespaces: Sequence[dict[str, Any]]) -> str:
    """The user's variable that holds a tensor, else the expression that gave it."""
    for namespace in reversed(namespaces):
        variables = [name for name, value in namespace.items() if value is output]
        if variables:
            return text if text in variables else variables[0]
    return text


def _stop(frame: FrameType | None, *, in_handlers: bool) -> ProgramStopped:
    stopped = ProgramStopped()
    if sys.gettrace() is None:
        insistence = _Insistence(stopped, in_handlers=in_handlers)
        for caller in outward(frame):
            if not is_library(caller.f_code):
                caller.f_trace = insistence
        sys.settrace(insistence)
    return stopped


class _Insistence:
    """A trace function that raises again once a bare `except:` has swallowed the stop.

    It has one shot, since Python removes a trace function that raises. A program that swallows this
    as well is stopped at its next backward call, and then also `in_handlers`, from where it cannot
    go back into the same `try`.
    """

    def __init__(self, stopped: ProgramStopped, *, in_handlers: bool) -> None:
        self._stopped = stopped
        self._in_handlers = in_handlers

    def __call__(self, frame: FrameType, event: str, argument: object) -> _Insistence | None:
        if event == "call":
            return None
        is_due = event == "line" and (self._in_handlers or not self._is_handled())
        if is_due and not _enters_handler(frame):
            raise self._stopped
        return self

    def _is_handled(self) -> bool:
        """The stop is on its way through the user's handlers and clean-up, which must run."""
        current = sys.exception()
        seen: set[int] = set()
        while current is not None and id(current) not in seen:
            if current is self._stopped:
                return True
            seen.add(id(current))
            current = current.__context__
        return False


def _enters_handler(frame: FrameType) -> bool:
    """The next instruction makes the exception that is on its way the handled one."""
    return frame.f_code.co_code[frame.f_lasti] == opmap["PUSH_EXC_INFO"]


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
