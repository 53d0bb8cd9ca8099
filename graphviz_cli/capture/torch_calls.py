"""Every torch call that makes nodes, with the place in the program from which it was made."""

from __future__ import annotations

import sys
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

from graphviz_cli.capture import private, private_calls
from graphviz_cli.capture.cut_values import Call
from graphviz_cli.capture.cuts import Cuts
from graphviz_cli.capture.frames import Origin, Sites
from graphviz_cli.capture.modules import ModuleCalls
from graphviz_cli.capture.private import next_sequence_nr
from graphviz_cli.capture.source import CHANGED, SINGLE

NAMELESS = 0
"""In place of a mask: the last node that the call made need not be that of its value."""

_WIDEST_MASK = 62

Locate: TypeAlias = Callable[[FrameType, int], Origin]
"""Gives the origin of a call by its frame and a mask."""


class Listener(Protocol):
    """Hears of every torch call that is watched; it may look at the values, not change or keep any.

    A call within a running module that is watched from outside only (`TorchCalls.pause`) is not
    told of, but that of the module is.
    """

    def called(self, call: Call, locate: Locate) -> None:
        """A torch call, or a custom Function's `apply`, has ended."""

    def passed(self) -> None:
        """A backward pass was made that leaves nothing of its graph."""


_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener hear of what is watched while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell_of_pass() -> None:
    """Tell all listeners that a backward pass was made that leaves nothing of its graph."""
    for listener in _listeners:
        listener.passed()


class TorchCalls(TorchFunctionMode):
    """Columns with a row for each torch call that made nodes, in the order in which they ended.

    A TorchFunctionMode, since a TorchDispatchMode changes the graph: under it torch calls other
    ops (`ReshapeAliasBackward0` becomes `ViewBackward0`).
    """

    def __init__(self, module_calls: ModuleCalls, *, cuts: bool = False) -> None:
        super().__init__()
        self.cuts = Cuts(self._locate, module_calls) if cuts else None
        """Told of every call; None if nobody shall be."""
        self.starts = array("q")
        self.ends = array("q")
        self.origins: list[Origin] = []
        """The distinct ones, by number."""
        self.origin_numbers = array("i")
        self.passed_on = array("q")
        """Nodes whose value then was what a module's call gave,"""
        self.receivers = array("i")
        """and the number of the origin that says who received it."""
        self.thread: int | None = None
        """The only one that is watched; None for none."""
        self._numbers: dict[Origin, int] = {}
        self._sites = Sites()
        self._outer_sites = module_calls.outer_sites
        self._last_value = 0
        self._below: int | None = None
        """While paused, how many modes are below the place of this one."""

    def watch(self) -> None:
        """Begin to note the torch calls of this thread."""
        self.thread = threading.get_ident()
        _watch_custom_functions(self)
        self.__enter__()  # type: ignore[no-untyped-call]

    def unwatch(self) -> None:
        """Leave torch as it was."""
        private_calls.remove_function_mode(self)
        _unwatch_custom_functions(self)

    def pause(self) -> bool:
        """Note nothing until `resume`, where there are no gradients; False if it is paused already.

        Under any mode some of torch's modules compute another way than without gradients they
        otherwise do (`TransformerEncoder`, `MultiheadAttention`: their fast path).
        """
        if self._below is not None:
            return False
        self._below = private_calls.remove_function_mode(self)
        return self._below is not None

    def resume(self) -> bool:
        """End a pause; False if there was none."""
        if self._below is None:
            return False
        private_calls.insert_function_mode(self, self._below)
        self._below = None
        return True

    def forget(self, oldest: int, newest: int) -> None:
        """Drop the calls between so many."""
        dropped = slice(oldest, len(self.ends) - newest)
        begin, end = self.starts[oldest], self.ends[dropped.stop - 1]
        passed_on = slice(bisect_left(self.passed_on, begin), bisect_left(self.passed_on, end))
        del self.passed_on[passed_on], self.receivers[passed_on]
        del self.starts[dropped], self.ends[dropped], self.origin_numbers[dropped]

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function and note the nodes that this made."""
        cuts = self.cuts
        destroyed = None if cuts is None else cuts.before(function, args)
        start = next_sequence_nr()
        value = function(*args, **kwargs) if kwargs else function(*args)
        end = next_sequence_nr()
        if end != start:
            self.note(start, value, sys._getframe(1), args)
        if (cuts is not None or _listeners) and threading.get_ident() == self.thread:
            frame = sys._getframe(1)
            call = Call(function, args, kwargs, value, start, end, frame, destroyed)
            if cuts is not None:
                cuts.after(call)
            self.tell(call)
        return value

    def tell(self, call: Call) -> None:
        """Tell the listeners of a call."""
        for listener in _listeners:
            listener.called(call, self._locate)

    def note_module_without_gradients(
        self, module: torch.nn.Module, args: tuple[Any, ...], value: Any, frame: FrameType
    ) -> None:
        """A module's call during a pause, which torch runs in `frame`, has given `value`."""
        if (self.cuts is not None or _listeners) and frame.f_back is not None:
            kwargs = frame.f_locals.get("kwargs")
            number = next_sequence_nr()
            call = Call(module, (*args, kwargs), None, value, number, number, frame.f_back)
            if self.cuts is not None:
                self.cuts.module_called(module, call)
            self.tell(call)

    def _locate(self, frame: FrameType, mask: int) -> Origin:
        return self._sites.origin(mask, frame, self._outer_sites)

    def note(self, start: int, value: Any, frame: FrameType, args: tuple[Any, ...]) -> None:
        """The call that `frame` made with `args` gave `value` and made nodes from `start` on."""
        # In a backward pass torch takes the modes along to its other threads.
        if threading.get_ident() != self.thread:
            return
        end = next_sequence_nr()
        mask = NAMELESS
        if isinstance(value, torch.Tensor):
            self._last_value = id(value)
            # The node of a view that was changed in place is made when it is next asked for.
            if not (args and value is args[0] and private.is_view(value)):
                mask = SINGLE
        elif value is None:
            mask = CHANGED
        elif end == start + 1 and isinstance(value, tuple | list) and len(value) <= _WIDEST_MASK:
            computed = [isinstance(v, torch.Tensor) and private.is_computed(v) for v in value]
            mask = sum(1 << position for position, is_output in enumerate(computed) if is_output)
        number = self._number(self._sites.origin(mask, frame, self._outer_sites))
        self.starts.append(start)
        self.ends.append(end)
        self.origin_numbers.append(number)

    def module_called(self) -> None:
        """A module's call begins."""
        self._sites.ended = None

    def note_module_value(self, module: torch.nn.Module, value: Any, frame: FrameType) -> None:
        """A module's call, which torch runs in `frame`, is about to give `value`."""
        self._sites.ended = id(frame)
        if self.cuts is not None:
            outer = frame.f_back
            self.cuts.passed(value, lambda: self._sites.receivers(SINGLE, outer))
        # Its node is known only where a torch call gave the very same tensor and made no more.
        if not self.ends or id(value) != self._last_value or self.ends[-1] != next_sequence_nr():
            return
        if (
            isinstance(value, torch.Tensor)
            and private.is_computed(value)
            and not (module._forward_hooks or module._backward_hooks or module._backward_pre_hooks)
        ):
            self.passed_on.append(self.ends[-1] - 1)
            self.receivers.append(self._number(self._sites.receivers(SINGLE, frame.f_back)))

    def _number(self, origin: Origin) -> int:
        number = self._numbers.get(origin)
        if number is None:
            number = self._numbers[origin] = len(self.origins)
            self.origins.append(origin)
        return number


_watching: list[TorchCalls] = []
"""Those that are to hear of custom Functions."""
_torchs_apply: Any = vars(torch.autograd.Function)["apply"]
_watched_apply: Any = _torchs_apply
"""What stood there when the first of them began."""


def _watching_apply(function: Any, *args: Any, **kwargs: Any) -> Any:
    thread = threading.get_ident()
    recorders = [c.cuts for c in _watching if c.cuts is not None and c.thread == thread]
    for cuts in recorders:
        cuts.enter_function()
    start = next_sequence_nr()
    try:
        # A classmethod of Python in torch 2.13, and one of C in 2.14.
        value = _watched_apply.__get__(None, function)(*args, **kwargs)
    except BaseException:
        for cuts in recorders:
            cuts.abandon_function()
        raise
    end = next_sequence_nr()
    if end != start:
        for calls in _watching:
            calls.note(start, value, sys._getframe(1), ())
    for cuts in recorders:
        cuts.leave_function(Call(function, args, kwargs, value, start, end, sys._getframe(1)))
    for calls in _watching if _listeners else ():
        if calls.thread == thread:
            calls.tell(Call(function, args, kwargs, value, start, end, sys._getframe(1)))
    return value


def _new_parameter(cls: Any, data: Any = None, *args: Any, **kwargs: Any) -> Any:
    parameter = _torchs_new_parameter.__func__(cls, data, *args, **kwargs)
    thread = threading.get_ident()
    for calls in _watching:
        if calls.cuts is not None and calls.thread == thread:
            calls.cuts.new_parameter(data, parameter, sys._getframe(1))
    return parameter


_torchs_new_parameter: Any = vars(torch.nn.Parameter)["__new__"]
_our_new_parameter: Any = staticmethod(_new_parameter)


_our_apply: Any = classmethod(_watching_apply)


def _watch_custom_functions(calls: TorchCalls) -> None:
    """Let `calls` hear of custom Functions: no TorchFunctionMode sees this way of making nodes.

    It is one function for all, since a program may keep what it finds: `relu = ReLU.apply`.
    """
    global _watched_apply
    if not _watching:
        _watched_apply = vars(torch.autograd.Function)["apply"]
        torch.autograd.Function.apply = _our_apply  # type: ignore[method-assign]
    if calls.cuts is not None and vars(torch.nn.Parameter)["__new__"] is _torchs_new_parameter:
        # Nor this one, by which a tensor loses its history.
        torch.nn.Parameter.__new__ = _our_new_parameter  # type: ignore[method-assign]
    _watching.append(calls)


def _unwatch_custom_functions(calls: TorchCalls) -> None:
    global _watched_apply
    _watching.remove(calls)
    if not _watching:
        if vars(torch.autograd.Function)["apply"] is _our_apply:
            torch.autograd.Function.apply = _watched_apply  # type: ignore[method-assign]
        _watched_apply = _torchs_apply
        if vars(torch.nn.Parameter)["__new__"] is _our_new_parameter:
            torch.nn.Parameter.__new__ = _torchs_new_parameter  # type: ignore[method-assign]
