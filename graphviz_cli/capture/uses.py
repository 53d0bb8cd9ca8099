"""Where a program first uses its parameters, and where it last wrote to its tensors."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

import torch
from torch import nn

from graphviz_cli.capture import private
from graphviz_cli.capture.bookkeeping import is_bookkeeping
from graphviz_cli.capture.cut_values import Call
from graphviz_cli.capture.frames import Origin
from graphviz_cli.capture.source import CHANGED, SINGLE

_ASSIGNMENTS: Final = frozenset(("__setitem__", "data.__set__"))
_MOST_WRITES: Final = 10_000


class Uses:
    """Told of torch calls; keeps no value alive. `locate` gives the origin of a call."""

    def __init__(self, locate: Callable[[FrameType, int], Origin]) -> None:
        self._locate = locate
        self._used: dict[int, tuple[weakref.ref[torch.Tensor], Origin]] = {}
        self._within: dict[int, tuple[weakref.ref[torch.Tensor], str]] = {}
        self._writes: dict[int, Origin] = {}

    @property
    def has_writes(self) -> bool:
        """Whether anything was written to."""
        return bool(self._writes)

    def of(self, parameter: object) -> Origin | None:
        """Where a parameter first entered an op."""
        known = self._used.get(id(parameter))
        return known[1] if known is not None and known[0]() is parameter else None

    def hider_of(self, parameter: object) -> str | None:
        """The custom Function within which a parameter was used."""
        known = self._within.get(id(parameter))
        return known[1] if known is not None and known[0]() is parameter else None

    def write_to(self, address: int) -> Origin | None:
        """Where the memory at an address was last written to."""
        return self._writes.get(address)

    def note(self, call: Call) -> None:
        """A call has taken its tensors."""
        used = self._used
        for _, tensor in call.tensors:
            if tensor.__class__ is nn.Parameter and id(tensor) not in used:
                origin = self._locate(call.frame, SINGLE)
                used[id(tensor)] = weakref.ref(tensor, _forgetting(used, id(tensor))), origin

    def note_hidden(self, parameters: Iterable[torch.Tensor], function: str) -> None:
        """A custom Function has used some parameters."""
        within = self._within
        for parameter in parameters:
            reference = weakref.ref(parameter, _forgetting(within, id(parameter)))
            within[id(parameter)] = reference, function

    def note_write(self, call: Call) -> None:
        """A call has changed its first argument."""
        if call.target is None or len(self._writes) >= _MOST_WRITES or is_bookkeeping(call.frame):
            return
        address = private.address_of_tensor(call.target)
        if address is not None:
            self._writes[address] = self._locate(call.frame, mask_of(call.name))

    def clear(self) -> None:
        """Forget all."""
        self._used.clear()
        self._within.clear()
        self._writes.clear()


def mask_of(function: str) -> int:
    """What a call of a torch function gives its value to: a variable, or what it changes."""
    return CHANGED if function in _ASSIGNMENTS else SINGLE


def _forgetting(known: dict[int, Any], key: int) -> Callable[[Any], None]:
    def gone(reference: Any) -> None:
        if key in known and known[key][0] is reference:
            del known[key]

    return gone
