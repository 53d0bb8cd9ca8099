"""The values of a call, and those among them that have lost their history."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, TypeAlias

import torch

from graphviz_cli.capture.cut_records import Cut, Lineage, Place, Source

Placed: TypeAlias = tuple[Place, torch.Tensor]
"""A tensor and its place among the arguments of a call."""

_SEVERAL: Final = 64
"""How many cuts a single value is known to come from, the newest."""
_MOST_PAST: Final = 1_000
"""Of how many values, the newest, is known after a backward pass what cut them."""
_NESTING: Final = 3
_CONTAINERS: Final = frozenset((list, tuple, dict))


@dataclass(slots=True)
class Call:
    """A torch call that has ended."""

    function: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None
    value: Any
    start: int
    end: int
    """The range of the sequence numbers of the ops that it made."""
    frame: FrameType
    """From where it was called."""
    destroyed: Source | None = None
    """What `before` said."""
    name: str = ""
    tensors: Sequence[Placed] = ()
    """Those that its value depends on."""

    @property
    def target(self) -> torch.Tensor | None:
        """The first argument, which some functions change."""
        first = self.args[0] if self.args else None
        return first if isinstance(first, torch.Tensor) else None

    @property
    def outputs(self) -> Sequence[Any]:
        """What it gave."""
        return self.value if isinstance(self.value, tuple | list) else (self.value,)


class Lineages:
    """Tensors without a history by weak reference, with the cuts that they come from."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], Lineage]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, tensor: object) -> Lineage:
        """The cuts that a tensor comes from."""
        known = self._known.get(id(tensor))
        return () if known is None or known[0]() is not tensor else known[1]

    def of_all(self, tensors: Iterable[object]) -> Lineage:
        """The cuts that some tensors come from."""
        if not self._known:
            return ()
        return joined(cut for tensor in tensors for cut in self.of(tensor))

    def note(self, tensor: object, lineage: Lineage) -> None:
        """A tensor comes from some cuts, and from no other."""
        if not isinstance(tensor, torch.Tensor) or not lineage:
            return
        key, known = id(tensor), self._known

        def gone(reference: weakref.ref[torch.Tensor]) -> None:
            if key in known and known[key][0] is reference:
                del known[key]

        known[key] = weakref.ref(tensor, gone), lineage

    def drop(self, tensor: object) -> None:
        """A tensor has got a history."""
        self._known.pop(id(tensor), None)

    def pass_by(self) -> None:
        """Let go of the graphs; that a value was cut from one stays known, once for each place."""
        known = [*self._known.items()][-_MOST_PAST:]
        self._known.clear()
        for key, (reference, lineage) in known:
            past = {(cut.kind, cut.origin): cut for cut in lineage if cut.pass_by()}
            if past:
                self._known[key] = reference, tuple(past.values())


def joined(cuts: Iterable[Cut]) -> Lineage:
    """The cuts without repetition, the newest if there are too many."""
    return tuple(dict.fromkeys(cuts))[-_SEVERAL:]


def tensors_in(args: Iterable[Any], kwargs: Mapping[str, Any] | None = None) -> list[Placed]:
    """The tensors among the arguments of a call, also within lists, with their places."""
    found: list[Placed] = []
    for position, argument in enumerate(args):
        if isinstance(argument, torch.Tensor):
            found.append(((position,), argument))
        elif argument.__class__ in _CONTAINERS:
            _add(argument, (position,), found)
    for key, argument in kwargs.items() if kwargs else ():
        if argument is not None:
            _add(argument, (key,), found)
    return found


def _add(value: Any, place: Place, found: list[Placed]) -> None:
    if isinstance(value, torch.Tensor):
        found.append((place, value))
    elif len(place) <= _NESTING and isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _add(item, (*place, position), found)
    elif len(place) <= _NESTING and isinstance(value, dict):
        for key, item in value.items():
            _add(item, (*place, str(key)), found)
