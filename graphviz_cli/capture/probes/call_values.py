"""The values that torch calls take and give, measured while they are at hand."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import torch
from torch import nn

from graphviz_cli.capture import private
from graphviz_cli.capture.bookkeeping import is_bookkeeping
from graphviz_cli.capture.contents import contents
from graphviz_cli.capture.cut_kinds import is_write, name_of
from graphviz_cli.capture.cut_values import Call, tensors_in
from graphviz_cli.capture.cuts import MOST_LOOKS
from graphviz_cli.capture.frames import Origin
from graphviz_cli.capture.probes.statistics import Statistics, Summary
from graphviz_cli.capture.torch_calls import Locate
from graphviz_cli.capture.uses import mask_of
from graphviz_cli.graph.model import NONE

_MOST_PENDING: Final = 30_000
"""How many tensors' numbers may wait on their devices; to fetch them means to wait for those."""
_MOST_KEPT: Final = 20_000
"""How many ops' values outlive a backward pass."""

_Stamp: TypeAlias = tuple[int, int | None, int]
"""Differs between two looks at a tensor if its elements may: version, address, writes there. To
write to `x.data` does not change the version of `x`."""


@dataclass(slots=True, eq=False)
class Value:
    """What a call took or gave, without the tensor."""

    call: int = NONE
    """The number of the call that gave it; NONE if it comes from outside of all."""
    origin: Origin | None = None
    """Where that call is, if it made no node."""
    user: Origin | None = None
    """The first call that took it, if it comes from outside."""
    tensor: weakref.ref[torch.Tensor] | None = None
    """The tensor, if it comes from outside."""
    parents: Sequence[Value] = ()
    """What the call took that is not in the graph, until the numbers are there."""
    summary: Summary | None = None
    """None until they are, and for ever where the elements cannot be read."""
    first: Value | None = None
    """Where its NaN or infinities come from; None if it has none."""

    def settle(self, summary: Summary) -> None:
        """The numbers are there; those of the parents have been before."""
        self.summary = summary
        if summary.nans or summary.infinite:
            self.first = next((p.first for p in self.parents if p.first is not None), self)
        self.parents = ()


_UNSET: Final = Value()
"""Of memory in which nothing was written yet (`torch.empty`): what it holds tells nothing."""


class CallValues:
    """A listener that measures the results of torch calls, and what they take from outside.

    A result counts for the op that the call made last of it; the ops that were made on the way have
    no value that anybody saw. Every tensor is measured once as long as it is not written to. None
    is kept, and nothing waits for a device, unless tens of thousands of tensors are pending.
    """

    def __init__(self) -> None:
        self.of_ops: dict[int, list[Value]] = {}
        """The outputs of ops, by sequence number."""
        self.numbers: dict[int, float] = {}
        """A NaN or infinite number of Python's that an op took."""
        self._taken: list[tuple[Sequence[int], Sequence[Value]]] = []
        self._bad_calls: set[int] = set()
        self._statistics = Statistics()
        self._pending: dict[int, Value] = {}
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], _Stamp | None, Value]] = {}
        """Tensors that are not in the graph, by id."""
        self._leaves: dict[
            int, tuple[weakref.ref[torch.Tensor], list[tuple[int, _Stamp, Value]]]
        ] = {}
        """The leaves that entered an op; each value holds from a sequence number on."""
        self._writes: dict[int | None, int] = {}
        self._functions: dict[Any, tuple[str, bool]] = {}
        self._calls = 0
        self._looks = 0

    def called(self, call: Call, locate: Locate) -> None:
        """Measure what a call took and gave."""
        # What a checkpoint computes again is no part of the forward pass, and within a transform
        # of torch.func tensors stand for others.
        if private.is_inside_backward() or private.is_inside_transform():
            return
        with private.undisturbed(), torch.no_grad():
            name, writes = self._function(call.function)
            given = _given(call, writes=writes)
            if given and (call.end != call.start or not is_bookkeeping(call.frame)):
                if len(self._pending) >= _MOST_PENDING:
                    self.settle()
                call.name = name
                self._note(call, given, locate, writes=writes)

    def passed(self) -> None:
        """A backward pass has used up its graph."""
        self._looks = 0
        if len(self.of_ops) > _MOST_KEPT:
            self.settle()
            self.of_ops.clear()
            self.numbers.clear()
            self._taken.clear()
            self._leaves.clear()

    def settle(self) -> None:
        """Fetch the numbers of all tensors that were measured since the last time."""
        for value, summary in zip(self._pending.values(), self._statistics.fetch(), strict=True):
            value.settle(summary)
            if value.first is not None and value.call != NONE:
                self._bad_calls.add(value.call)
        self._statistics, self._pending = Statistics(), {}
        self._taken = [
            (ops, values)
            for ops, values in self._taken
            if any(value.first is not None for value in values)
        ]

    def of_tensor(self, tensor: torch.Tensor, op: int | None) -> Value:
        """A leaf as it was when it entered the op with a sequence number; else as it is now."""
        known = self._leaves.get(id(tensor))
        if known is None or known[0]() is not tensor:
            with private.undisturbed(), torch.no_grad():
                return self._measured(tensor)
        value = known[1][0][2]
        for start, _, later in known[1]:
            if op is not None and start <= op:
                value = later
        return value

    def ranks(self) -> dict[int, int]:
        """Of each call that gave NaN or infinities, by its number, how many did before."""
        return {call: rank for rank, call in enumerate(sorted(self._bad_calls))}

    def taken(self) -> dict[int, Value]:
        """Where the NaN or infinities come from that an op took from outside the graph."""
        found: dict[int, Value] = {}
        for ops, values in self._taken:
            first = next(value.first for value in values if value.first is not None)
            found.update((op, first) for op in ops if first is not None)
        return found

    def _function(self, function: Any) -> tuple[str, bool]:
        known = self._functions.get(function)
        if known is None:
            name = name_of(function)
            known = self._functions[function] = name, is_write(name)
        return known

    def _note(
        self, call: Call, given: Sequence[torch.Tensor], locate: Locate, *, writes: bool
    ) -> None:
        self._calls += 1
        makes_ops = call.end != call.start
        site = partial(locate, call.frame, mask_of(call.name))
        placed = tensors_in(call.args, call.kwargs)
        inputs = [tensor for place, tensor in placed if place[0] != _OUT]
        written = given if writes or len(inputs) < len(placed) else ()
        if _updates_statistics(call):
            updated = [tensor for tensor in inputs[1:] if not tensor.requires_grad]
            inputs = [tensor for tensor in inputs if not _is_among(tensor, updated)]
            self._wrote_to(updated)
        taken = self._take(inputs, written, call.start if makes_ops else None, site)
        ops: list[int] = []
        for tensor in given:
            is_new = not _is_among(tensor, inputs)
            if not is_new:
                # The node of a view that was written to is made when it is next asked for.
                viewed = private.viewed(tensor)
                is_new = writes and viewed is tensor
                tensor = viewed
            if writes:
                self._wrote_to([tensor])
            if tensor.requires_grad:
                op = self._op(tensor, call, is_new=is_new) if makes_ops else None
                if op is not None and (op in ops or op not in self.of_ops):
                    ops.append(op)
                    value = self._measured(tensor)
                    value.call = self._calls
                    self.of_ops.setdefault(op, []).append(value)
            elif _has_infinities(tensor):
                self._give(tensor, call, taken, site)
        if ops:
            if taken:
                self._taken.append((tuple(ops), taken))
            for number in (*call.args, *(call.kwargs or {}).values()):
                if number.__class__ is float and not math.isfinite(number):
                    self.numbers.update(dict.fromkeys(ops, number))

    def _take(
        self,
        inputs: Iterable[torch.Tensor],
        written: Sequence[torch.Tensor],
        start: int | None,
        site: Callable[[], Origin],
    ) -> list[Value]:
        """What is not in the graph of what a call took; leaves are noted if it made ops."""
        found = []
        for tensor in inputs:
            if _is_among(tensor, written):
                known = self._known.get(id(tensor))
                if known is not None and known[0]() is tensor:
                    found.append(known[2])  # what it was before
            elif not tensor.requires_grad:
                if _has_infinities(tensor):
                    found.append(self._outside(tensor, site))
            elif start is not None and tensor.is_leaf:
                self._enter(tensor, start)
        return found

    def _outside(self, tensor: torch.Tensor, site: Callable[[], Origin]) -> Value:
        stamp = self._stamp(tensor)
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == stamp:
            return known[2]
        value = self._measured(tensor)
        value.tensor, value.user = weakref.ref(tensor), site()
        self._known[id(tensor)] = value.tensor, stamp, value
        return value

    def _enter(self, leaf: torch.Tensor, start: int) -> None:
        stamp = self._stamp(leaf)
        known = self._leaves.get(id(leaf))
        if known is None or known[0]() is not leaf:
            known = self._leaves[id(leaf)] = weakref.ref(leaf), []
        if not known[1] or known[1][-1][1] != stamp:
            known[1].append((start, stamp, self._measured(leaf)))

    def _give(
        self, tensor: torch.Tensor, call: Call, taken: Sequence[Value], site: Callable[[], Origin]
    ) -> None:
        """A call has given a tensor that is not in the graph."""
        stamp: _Stamp | None = self._stamp(tensor)
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is not tensor:
            known = None
        if known is not None and known[1] == stamp:
            return
        if "empty" in call.name:
            value = _UNSET
        elif (known is not None and known[2] is _UNSET) or self._is_unset(private.viewed(tensor)):
            # Which part of it was written to cannot be told.
            stamp, value = None, _UNSET
        else:
            value = self._measured(tensor)
            value.call, value.parents = self._calls, taken
            value.origin = site()
        self._known[id(tensor)] = weakref.ref(tensor), stamp, value

    def _is_unset(self, tensor: torch.Tensor) -> bool:
        known = self._known.get(id(tensor))
        return known is not None and known[0]() is tensor and known[2] is _UNSET

    def _measured(self, tensor: torch.Tensor) -> Value:
        value = Value()
        try:
            row = self._statistics.add(tensor)
        except RuntimeError:  # an element type without the functions that are needed
            row = None
        if row is not None:
            self._pending[row] = value
        return value

    def _wrote_to(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor in tensors:
            address = private.address_of_tensor(tensor)
            self._writes[address] = self._writes.get(address, 0) + 1

    def _stamp(self, tensor: torch.Tensor) -> _Stamp:
        address = private.address_of_tensor(tensor)
        version = NONE if tensor.is_inference() else tensor._version
        return version, address, self._writes.get(address, 0)

    def _op(self, tensor: torch.Tensor, call: Call, *, is_new: bool) -> int | None:
        """The sequence number of the op that a call made for its output `tensor`."""
        if is_new and call.end == call.start + 1:
            return None if tensor.is_leaf else call.start
        self._looks += 1
        if tensor.is_leaf or self._looks > MOST_LOOKS:
            return None
        try:
            (number,) = private.sequence_nrs([tensor.grad_fn])
        except RuntimeError:  # a view out of several that was written to
            return None
        return number if call.start <= number < call.end else None


_OUT: Final = "out"
_IN_TRAINING: Final = {
    "batch_norm": ("training", False),
    "instance_norm": ("use_input_stats", True),
}
"""The argument that says whether a normalisation computes its statistics; the sixth of all."""


def _given(call: Call, *, writes: bool) -> list[torch.Tensor]:
    """The tensors that a call gave or changed."""
    if isinstance(call.value, torch.Tensor):
        return [call.value]
    if call.value is None:
        return [tensor for _, tensor in tensors_in(call.args[:1])] if writes else []
    if isinstance(call.function, nn.Module):
        return [tensor for _, tensor in contents(call.value, torch.Tensor)]
    return [tensor for _, tensor in tensors_in(call.outputs)]


def _updates_statistics(call: Call) -> bool:
    """Whether a normalisation writes to its running mean and variance instead of reading them.

    This does not change their version (`aten/src/ATen/native/Normalization.cpp`).
    """
    if call.name not in _IN_TRAINING:
        return False
    name, default = _IN_TRAINING[call.name]
    given = call.args[5] if len(call.args) > 5 else (call.kwargs or {}).get(name, default)
    return bool(given)


def _is_among(tensor: torch.Tensor, tensors: Iterable[torch.Tensor]) -> bool:
    return any(tensor is other for other in tensors)


def _has_infinities(tensor: torch.Tensor) -> bool:
    """Its type has NaN and infinities."""
    return tensor.is_floating_point() or tensor.is_complex()
