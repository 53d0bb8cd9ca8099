"""Every torch call that makes nodes, with the place in the program from which it was made."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from graphviz_cli.capture import private
from graphviz_cli.capture.frames import Origin, Sites
from graphviz_cli.capture.modules import ModuleCalls
from graphviz_cli.capture.private import next_sequence_nr
from graphviz_cli.capture.source import CHANGED, SINGLE

NAMELESS = 0
"""In place of a mask: the last node that the call made need not be that of its value."""

_WIDEST_MASK = 62


class TorchCalls(TorchFunctionMode):
    """Columns with a row for each torch call that made nodes, in the order in which they ended.

    A TorchFunctionMode, since a TorchDispatchMode changes the graph: under it torch calls other
    ops (`ReshapeAliasBackward0` becomes `ViewBackward0`).
    """

    def __init__(self, module_calls: ModuleCalls) -> None:
        super().__init__()
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
        self._apply: Any = None
        self._watching_apply: Any = None

    def watch(self) -> None:
        """Begin to note the torch calls of this thread."""
        self.thread = threading.get_ident()
        # No TorchFunctionMode sees this one way of making nodes.
        self._apply = vars(torch.autograd.Function)["apply"]
        self._watching_apply = classmethod(self._watched(self._apply.__func__))
        _set_apply(self._watching_apply)
        self.__enter__()  # type: ignore[no-untyped-call]

    def unwatch(self) -> None:
        """Leave torch as it was."""
        private.remove_function_mode(self)
        if vars(torch.autograd.Function)["apply"] is self._watching_apply:
            _set_apply(self._apply)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function and note the nodes that this made."""
        start = next_sequence_nr()
        value = function(*args, **kwargs) if kwargs else function(*args)
        if next_sequence_nr() != start:
            self._note(start, value, sys._getframe(1), args)
        return value

    def _watched(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        def watched_apply(function: Any, *args: Any, **kwargs: Any) -> Any:
            start = next_sequence_nr()
            value = apply(function, *args, **kwargs)
            if next_sequence_nr() != start:
                self._note(start, value, sys._getframe(1), ())
            return value

        return watched_apply

    def _note(self, start: int, value: Any, frame: FrameType, args: tuple[Any, ...]) -> None:
        # In a backward pass torch takes the modes along to its other threads.
        if threading.get_ident() != self.thread:
            return
        end = next_sequence_nr()
        mask = NAMELESS
        if isinstance(value, torch.Tensor):
            self._last_value = id(value)
            # The node of a view that was changed in place is made when it is next asked for.
            if not (args and value is args[0] and value._is_view()):
                mask = SINGLE
        elif value is None:
            mask = CHANGED
        elif end == start + 1 and isinstance(value, tuple | list) and len(value) <= _WIDEST_MASK:
            mask = sum(
                1 << position
                for position, item in enumerate(value)
                if isinstance(item, torch.Tensor) and item.requires_grad
            )
        number = self._number(self._sites.origin(mask, frame, self._outer_sites))
        self.starts.append(start)
        self.ends.append(end)
        self.origin_numbers.append(number)

    def note_module_value(self, module: torch.nn.Module, value: Any, frame: FrameType) -> None:
        """A module's call, which torch runs in `frame`, is about to give `value`."""
        # Its node is known only where a torch call gave the very same tensor and made no more.
        if not self.ends or id(value) != self._last_value or self.ends[-1] != next_sequence_nr():
            return
        if (
            isinstance(value, torch.Tensor)
            and private.is_computed(value)
            and not module._forward_hooks
        ):
            self.passed_on.append(self.ends[-1] - 1)
            self.receivers.append(self._number(self._sites.receivers(SINGLE, frame.f_back)))

    def _number(self, origin: Origin) -> int:
        number = self._numbers.get(origin)
        if number is None:
            number = self._numbers[origin] = len(self.origins)
            self.origins.append(origin)
        return number


def _set_apply(apply: Any) -> None:
    torch.autograd.Function.apply = apply  # type: ignore[method-assign]
