"""Which module call made an op: every call as a range of autograd's sequence numbers.

A node takes its number when its op begins, so the nodes that a call made are those whose numbers
lie between what the counter said before and after it. Nothing is done per op.
"""

from __future__ import annotations

import sys
import weakref
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch

from graphviz_cli.capture.frames import UNSOUGHT, Site, Unsought
from graphviz_cli.capture.private import next_sequence_nr
from graphviz_cli.capture.private_calls import module_parts, running_modules
from graphviz_cli.graph.model import NONE, ModuleCall

Running = tuple[int, int]
"""A call that is running: its index, and the number of the place where its module is called."""

OPEN: Final = 2**62
"""The end of a call that is still running."""
_MOST_PLACES: Final = 10_000
"""So many modules that live for a single call have a place of their own."""


class _Place:
    """A module where it is called from: what one path stands for."""

    __slots__ = ("called", "children", "index", "is_stranger", "module", "name", "owner", "type")

    def __init__(
        self, index: int, module: torch.nn.Module | None, owner: _Place | None, name: str
    ) -> None:
        self.index = index
        self.module = _dead if module is None else weakref.ref(module)
        self.type = type(module).__name__
        self.owner = owner
        """The place to whose path `name` is appended."""
        self.name = name
        self.is_stranger = False
        """No module that was running owns it: the user may have a name for it."""
        self.called = False
        self.children: dict[int, _Place] = {}
        """By the id of a module that was called from here; `module()` tells if it still is that."""


def _dead() -> torch.nn.Module | None:
    return None


class ModuleCalls:
    """All module calls of one thread, as columns in the order in which they began."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.ends = array("q")
        self.left = NONE
        """The call that ended last."""
        self.outer_sites: list[Site | Unsought | None] = []
        """For each call that is running the nearest place in the user's code around it."""
        self._parents = array("i")
        self._place_numbers = array("i")
        self._places: list[_Place] = []
        self._outside = _Place(NONE, None, None, "")
        self._stack: list[tuple[int, _Place]] = []
        self._descendants: dict[int, dict[int, str]] = {}
        """By the number of a place."""
        self._strangers: dict[tuple[int, str], list[_Place]] = {}
        """By the number of the place that called them, and by class."""
        self.forgotten = 0, 0
        """The range of sequence numbers that calls may have made which were dropped."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def depth(self) -> int:
        """How many calls are running."""
        return len(self._stack)

    def enter(self, module: torch.nn.Module) -> None:
        """A call of `module` begins."""
        parent, caller = self._stack[-1] if self._stack else (NONE, self._outside)
        place = caller.children.get(id(module))
        if place is None or place.module() is not module:
            place = self._place(module)
            parent = self._stack[-1][0] if self._stack else NONE
        self._stack.append((len(self.starts), place))
        self.outer_sites.append(UNSOUGHT)
        self._place_numbers.append(place.index)
        self._parents.append(parent)
        self.starts.append(next_sequence_nr())
        self.ends.append(OPEN)

    def leave(self, module: torch.nn.Module) -> None:
        """The innermost running call of `module` ends, and with it all that began within it."""
        stack = self._stack
        if stack and stack[-1][1].module() is module:
            self._close()
        elif any(place.module() is module for _, place in stack):
            while stack[-1][1].module() is not module:
                self._close()
            self._close()

    @property
    def running(self) -> Running | None:
        """The innermost call."""
        return (self._stack[-1][0], self._stack[-1][1].index) if self._stack else None

    def index(self, running: Running | None) -> int:
        """The index of a call that was running then; NONE for one that was dropped since."""
        if running is None:
            return NONE
        call, place = running
        if call < len(self._place_numbers) and self._place_numbers[call] == place:
            return call
        return self._place_numbers.index(place) if place in self._place_numbers else NONE

    def leave_all(self) -> None:
        """End all calls that are still running."""
        while self._stack:
            self._close()

    def forget(self, oldest: int, newest: int) -> None:
        """Drop the calls between so many, about, less those that are running."""
        running = [call for call, _ in self._stack]
        first = len(self.starts) - newest
        # What follows a call that was made by none but running ones was made by none before it.
        while first < len(self.starts) and self._parents[first] not in (NONE, *running):
            first += 1
        begin, end = self.forgotten
        self.forgotten = (
            begin if end else self.starts[oldest],
            self.starts[first] if first < len(self.starts) else next_sequence_nr(),
        )
        kept = [*range(oldest), *(call for call in running if oldest <= call < first)]
        moved = {call: number for number, call in enumerate(kept)}
        shift = first - len(moved)
        for column in (self.starts, self.ends, self._parents, self._place_numbers):
            column[:first] = array(column.typecode, [column[call] for call in moved])
        moved[NONE] = NONE
        for number, parent in enumerate(self._parents):
            self._parents[number] = moved.get(parent, parent - shift)
        self._stack = [(moved.get(call, call - shift), place) for call, place in self._stack]
        self.left = NONE

    @property
    def called(self) -> Iterator[torch.nn.Module]:
        """The modules that were called and are alive."""
        return (module for place in self._places if (module := place.module()) is not None)

    @property
    def strangers(self) -> list[torch.nn.Module]:
        """Those of them that no other owned that was running."""
        known = (place for place in self._places if place.is_stranger)
        return [module for place in known if (module := place.module()) is not None]

    def _close(self) -> None:
        call, place = self._stack.pop()
        self.left = call
        self.outer_sites.pop()
        end = self.ends[call] = next_sequence_nr()
        if not place.called:
            place.called = True
            return
        made_nothing = self.starts[call] == end and call == len(self.starts) - 1
        # Dropped, or a long evaluation would fill the memory. (With gradients, it may be the
        # frozen part of a model that is being trained.)
        if made_nothing and not torch.is_grad_enabled():
            for column in (self.starts, self.ends, self._parents, self._place_numbers):
                column.pop()

    def _place(self, module: torch.nn.Module) -> _Place:
        """Where `module` is called now, for the first time from there."""
        caller, name, owner = self._outside, None, None
        if self._stack:
            caller = owner = self._stack[-1][1]
            name = self._name_within(owner, module)
            if not name:
                self.forget_interrupted()
                caller = self._stack[-1][1] if self._stack else self._outside
                for _, owner in reversed(self._stack):
                    name = self._name_within(owner, module)
                    if name is not None:
                        break
        if name is None:
            place = self._stranger(caller, module)
        else:
            place = _Place(len(self._places), module, owner, name)
            self._places.append(place)
        caller.children[id(module)] = place
        return place

    def _stranger(self, caller: _Place, module: torch.nn.Module) -> _Place:
        """The place of a module that none of those that are running owns.

        Modules that live at the same time are told apart by number; one that was made for a single
        call (`nn.ReLU()(x)`) takes the place of its dead predecessor.
        """
        known = self._strangers.setdefault((caller.index, type(module).__name__), [])
        for position, place in enumerate(known):
            if place.module() is None:
                if len(self._places) < _MOST_PLACES:
                    # The user may have a name for this one, which the dead one never had.
                    heir = _Place(len(self._places), module, place.owner, place.name)
                    heir.is_stranger, heir.called = True, place.called
                    self._places.append(heir)
                    known[position] = place = heir
                else:
                    place.module = weakref.ref(module)
                return place
        number = f"_{len(known) + 1}" if known else ""
        owner = caller if self._stack else None
        place = _Place(len(self._places), module, owner, type(module).__name__ + number)
        place.is_stranger = True
        self._places.append(place)
        known.append(place)
        return place

    def _name_within(self, place: _Place, module: torch.nn.Module) -> str | None:
        """The shortest dotted name of `module` in the module at `place`; "" is that itself."""
        owner = place.module()
        if owner is None or owner is module:
            return None if owner is None else ""
        for name, part in module_parts(owner):
            if part is module:
                return name
        if place.index not in self._descendants:
            self._descendants[place.index] = _descendants(owner)
        found = self._descendants[place.index].get(id(module))
        if found is None:
            return None
        # Modules come and go, and their ids with them.
        for name in found.split("."):
            owner = None if owner is None else dict(module_parts(owner)).get(name)
        return found if owner is module else None

    def forget_interrupted(self) -> None:
        """End calls that ended unnoticed: torch runs no hook after what is no Exception.

        See `Module._call_impl` in torch/nn/modules/module.py.
        """
        running = running_modules(sys._getframe())
        while self._stack and id(self._stack[-1][1].module()) not in running:
            self._close()

    def table(self, top_names: Mapping[int, str]) -> tuple[ModuleCall, ...]:
        """The calls with their paths; `top_names` as in `Attribution.modules`."""
        paths: list[str] = []
        for place in self._places:
            module = place.module()
            if place.is_stranger and module is not None and id(module) in top_names:
                paths.append(top_names[id(module)])
            else:
                owner = "" if place.owner is None else paths[place.owner.index]
                paths.append(_joined(owner, place.name))
        seen: Counter[str] = Counter()
        calls = []
        for parent, number in zip(self._parents, self._place_numbers):
            path = paths[number]
            caller = None if parent == NONE else parent
            calls.append(ModuleCall(path, self._places[number].type, caller, nth=seen[path]))
            seen[path] += 1
        return tuple(calls)


def _joined(owner: str, name: str) -> str:
    """The path of a part; what `torch.compile` puts around a module is no part of it."""
    names = [part for part in name.split(".") if part not in ("", "_orig_mod")]
    return ".".join([owner, *names] if owner else names)


def _descendants(module: torch.nn.Module) -> dict[int, str]:
    """All parts of a module by id, with the shortest of their dotted names."""
    names = {id(module): ""}
    owners = [(module, "")]
    for owner, prefix in owners:  # grows while it is read
        for name, part in module_parts(owner):
            if part is not None and id(part) not in names:
                names[id(part)] = prefix + name
                owners.append((part, f"{prefix}{name}."))
    return names


def keep_calls(
    calls: Sequence[ModuleCall], used: Iterable[int]
) -> tuple[tuple[ModuleCall, ...], array[int]]:
    """Only the calls in `used` and those around them, with `nth` counted among them.

    Returns them and, for every old index, the new one or NONE. `used` may hold NONE.
    """
    kept = bytearray(len(calls))
    for number in set(used):
        at = None if number == NONE else number
        while at is not None and not kept[at]:
            kept[at] = True
            at = calls[at].parent
    renumbered = array("i", [NONE]) * len(calls)
    seen: Counter[str] = Counter()
    result: list[ModuleCall] = []
    for number, call in enumerate(calls):
        if kept[number]:
            renumbered[number] = len(result)
            parent = None if call.parent is None else renumbered[call.parent]
            result.append(replace(call, parent=parent, nth=seen[call.path]))
            seen[call.path] += 1
    return tuple(result), renumbered
