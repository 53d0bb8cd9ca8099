"""Which module call, which expression and which variable made a backward op.

An observer of the user's program that never touches a node: torch numbers the nodes of a thread as
it makes them, so what is noted are ranges of these numbers.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from array import array
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from graphviz_cli.capture.cuts import Cuts
from graphviz_cli.capture.frames import Origin
from graphviz_cli.capture.modules import OPEN, ModuleCalls, Running
from graphviz_cli.capture.number_line import NumberLine
from graphviz_cli.capture.other_threads import OtherThreads
from graphviz_cli.capture.private import UNNUMBERED
from graphviz_cli.capture.source import CHANGED, Sources
from graphviz_cli.capture.torch_calls import NAMELESS, TorchCalls
from graphviz_cli.graph.model import NONE, Column, ModuleCall, SourceLocation

_MOST_CALLS: Final = 20_000
"""So many calls are noted before half of them is dropped."""
_OLDEST_CALLS: Final = 5_000
"""So many are kept from the beginning: what a program computes before its loop lives on."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Attributed:
    """What is known of some backward ops, in the order in which they were asked for."""

    modules: array[int]
    """Index of the module call that made the op, or NONE."""
    sources: Column[SourceLocation | None]
    names: Column[tuple[str, ...]]
    """Variables that hold the op's output, of the innermost function first; of an op with several
    outputs in their order."""


class Attribution:
    """Context manager that notes where the backward ops of the current thread come from.

    It costs a few microseconds per torch call; with `sources=False` only module calls are noted,
    at nothing per torch call. The graph, its values and the random numbers are as without it. What
    was noted can be asked for within the block and after it. With `cuts` (and `sources`) it also
    notes where the gradient is lost, in `self.cuts`.
    """

    def __init__(self, *, sources: bool = True, cuts: bool = False) -> None:
        self._module_calls = ModuleCalls()
        self._torch_calls = TorchCalls(self._module_calls, cuts=cuts) if sources else None
        self._sources = Sources()
        self._other_threads = OtherThreads()
        self._handles: list[Any] = []
        self._thread: int | None = None
        self._paused_at = 0
        """How deep the module call is within which torch calls are not noted."""
        self._known = [0, 0]
        """How many module calls and torch calls there were when `forget` was last called."""

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        _running.add(self)
        self._other_threads.__enter__()
        self._watch_modules()
        if self._torch_calls is not None:
            self._torch_calls.watch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._torch_calls is not None:
            self._torch_calls.unwatch()
        self._unwatch_modules()
        self._other_threads.__exit__(kind, error, traceback)
        self._module_calls.leave_all()
        self.rest()

    def _watch_modules(self) -> None:
        self._handles = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
        ]

    def _unwatch_modules(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def pause(self) -> None:
        """Note nothing until `resume`, and cost nothing.

        Within a torch call, of which `backward` is one, the torch calls cannot be left alone yet.
        """
        if threading.get_ident() == self._thread:
            self._unwatch_modules()
            if self._torch_calls is not None:
                self._torch_calls.pause()

    def resume(self) -> None:
        """End a pause, if there is one."""
        if threading.get_ident() == self._thread and not self._handles:
            self._watch_modules()
            self._module_calls.forget_interrupted()
            if self._torch_calls is not None:
                self._torch_calls.resume()

    def rest(self) -> None:
        """Note nothing more, whatever torch still calls."""
        self._thread = None
        if self._torch_calls is not None:
            self._torch_calls.thread = None
        _running.discard(self)

    def forget(self) -> None:
        """Drop the middle of what was noted, if it is much; to be called after a backward pass.

        What was noted since `forget` was last called stays: graphs for several backward passes can
        be made before the first of them.
        """
        for number, calls in enumerate((self._module_calls, self._torch_calls)):
            if calls is not None:
                count = len(calls.ends)
                newest = max(count - self._known[number], _MOST_CALLS // 2 - _OLDEST_CALLS)
                if count > max(_MOST_CALLS, _OLDEST_CALLS + newest):
                    calls.forget(_OLDEST_CALLS, newest)
                self._known[number] = len(calls.ends)

    @property
    def called(self) -> Iterator[torch.nn.Module]:
        """The modules that were called and are alive."""
        return self._module_calls.called

    @property
    def strangers(self) -> list[torch.nn.Module]:
        """Those of them that no other owned that was running."""
        return self._module_calls.strangers

    def _enter_module(self, module: torch.nn.Module, args: Any) -> None:
        if threading.get_ident() == self._thread:
            self._module_calls.enter(module)
            if self._torch_calls is None:
                return
            self._torch_calls.module_called()
            if torch.is_grad_enabled():
                self._torch_calls.resume()
            elif self._torch_calls.pause():
                self._paused_at = self._module_calls.depth

    def _leave_module(self, module: torch.nn.Module, args: Any, value: Any) -> None:
        if threading.get_ident() != self._thread:
            self._other_threads.look()
            return
        self._module_calls.leave(module)
        if self._torch_calls is None:
            return
        if self._module_calls.depth < self._paused_at and self._torch_calls.resume():
            frame = sys._getframe(1)
            self._torch_calls.note_module_without_gradients(module, args, value, frame)
        self._torch_calls.note_module_value(module, value, sys._getframe(1))

    def modules(self, top_names: Mapping[int, str]) -> tuple[ModuleCall, ...]:
        """All module calls in the order in which they began; `keep_calls` leaves those of a graph.

        `top_names` holds, by `id(module)`, the user's names for modules that were called while
        none was running that owns them. The others of those go by their class, numbered where
        several of it live at the same time.
        """
        return self._module_calls.table(top_names)

    @property
    def cuts(self) -> Cuts | None:
        """Where the gradient was lost; None where that was not asked for."""
        return None if self._torch_calls is None else self._torch_calls.cuts

    def call_of(self, running: Running | None) -> int:
        """The index in `modules()` of a call that was running at a time, or NONE."""
        return self._module_calls.index(running)

    def explain(
        self, origin: Origin, receiver: Origin | None = None
    ) -> tuple[SourceLocation | None, tuple[str, ...]]:
        """The expression that a call stands in, and the variables that receive its value.

        `receiver` is the origin that got the value from the module call that made it.
        """
        mask, site, *receivers = origin
        if site is None:
            return None, ()
        receivers += () if receiver is None else receiver[2:]
        names = [
            name
            for place in receivers
            if place.is_user or not site.is_user
            for name in self._sources.variables(place, mask)
        ]
        return self._sources.location(site, mask), tuple(dict.fromkeys(names))

    def own(self, sequence_nrs: Sequence[int]) -> Sequence[int]:
        """The numbers of nodes, with UNNUMBERED for those that another thread may have made.

        Threads count for themselves, and no node tells its thread.
        """
        first = self._other_threads.first_own
        if not first:
            return sequence_nrs
        return [number if number >= first else UNNUMBERED for number in sequence_nrs]

    def resolve(self, sequence_nrs: Sequence[int]) -> Attributed:
        """What made the nodes with these numbers (`node._sequence_nr()`).

        Nothing is known (NONE, None, no names) of nodes that were made outside the block, and of
        those that another thread may have made.
        """
        line = NumberLine(self.own(sequence_nrs), OPEN)
        calls = self._module_calls
        forgotten, end = calls.forgotten
        painted = line.painted(
            [*calls.starts, forgotten], [*calls.ends, end], [*range(len(calls)), NONE]
        )
        modules = array("i", [painted[position] for position in line.positions])
        if self._torch_calls is None:
            nothing = array("i", bytes(modules.itemsize * len(modules)))
            return Attributed(modules, Column((None,), nothing), Column(((),), nothing))
        expressions = _Expressions(self._torch_calls, self._sources, line)
        return Attributed(modules, expressions.sources(), expressions.names())


class _Expressions:
    """Where in the program the nodes on a line were made, and what variables hold their values."""

    def __init__(self, calls: TorchCalls, sources: Sources, line: NumberLine) -> None:
        self._calls = calls
        self._sources = sources
        self._line = line
        # A call ends after those within it: backwards, the inner ones are painted last.
        self._painted = line.painted(
            reversed(calls.starts), reversed(calls.ends), reversed(calls.origin_numbers)
        )
        self._received: dict[tuple[int, bool], tuple[str, ...]] = {}

    def sources(self) -> Column[SourceLocation | None]:
        """The expressions."""
        numbers = [self._painted[place] for place in self._line.positions]
        locations = {number: self._location(number) for number in dict.fromkeys(numbers)}
        return _column(numbers, locations)

    def names(self) -> Column[tuple[str, ...]]:
        """The variables."""
        calls, line, painted = self._calls, self._line, self._painted
        numbers = {painted[place] for place in line.positions} - {NONE}
        variables = {number: self._variables(number, number) for number in numbers}
        # The last node that a call made is that of its value. One that changed a tensor may have
        # made another, for a view that nobody has: then it is the last that is in the graph.
        places = line.places([end - 1 for end in calls.ends])
        changes = {number for number in numbers if calls.origins[number][0] == CHANGED}
        for index, number in enumerate(calls.origin_numbers) if changes else ():
            if number in changes:
                places[index] = line.last_place(calls.starts[index], calls.ends[index])
        found: dict[int, tuple[str, ...]] = {}
        for place, number in zip(places, calls.origin_numbers):
            names = variables.get(number)
            if names and place not in found:
                found[place] = names
        for place, number in zip(line.places(calls.passed_on), calls.receivers):
            if painted[place] != NONE:
                names = (*found.get(place, ()), *self._variables(number, painted[place]))
                found[place] = tuple(dict.fromkeys(names))
        found[line.length] = ()
        rows = [found.get(place, ()) for place in line.positions]
        return _column(rows, {names: names for names in dict.fromkeys(rows)})

    def _location(self, number: int) -> SourceLocation | None:
        if number == NONE:
            return None
        mask, site, *_ = self._calls.origins[number]
        return None if site is None else self._sources.location(site, mask)

    def _variables(self, number: int, shown: int) -> tuple[str, ...]:
        """What receives the value of one origin: variables of the user's, if `shown` shows such."""
        site = self._calls.origins[shown][1]
        by_user = site is not None and site.is_user
        names = self._received.get((number, by_user))
        if names is None:
            mask, _, *receivers = self._calls.origins[number]
            names = self._received[number, by_user] = tuple(
                name
                for receiver in receivers
                if mask != NAMELESS and (receiver.is_user or not by_user)
                for name in self._sources.variables(receiver, mask)
            )
        return names


def _column(rows: Sequence[Key], values: Mapping[Key, Value]) -> Column[Value]:
    """The column of the rows' values; `values` has those of all rows, by first appearance."""
    numbers: dict[Value, int] = {}
    codes = {key: numbers.setdefault(value, len(numbers)) for key, value in values.items()}
    return Column(tuple(numbers), array("i", [codes[row] for row in rows]))


_running: weakref.WeakSet[Attribution] = weakref.WeakSet()


def _rest_in_child() -> None:
    for attribution in list(_running):
        attribution.rest()


if hasattr(os, "register_at_fork"):
    # The workers of a DataLoader take the hooks along, and would note their calls for nobody.
    os.register_at_fork(after_in_child=_rest_in_child)
