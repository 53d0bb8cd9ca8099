"""Graphs that live only inside functions: the results that nobody has used, and their modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import CodeType, TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from graphviz_cli.capture.callers import is_library_file, is_ours, is_torch

_SITES = 16

Site = tuple[int, int, str]
"""A place in a program: the address of its code (its hash would be that of all it consists of), the
instruction in it, and the file."""


class Frontier(TorchFunctionMode):
    """Keeps the results with a graph that no other op has used yet, the newest of each line.

    Only the newest of each place in the program is kept, and at most 16: a loop that makes a graph
    in each iteration keeps no more of them alive than its own variables do. The tensors are held
    and not their nodes, because the first look at a node makes a Python object for it, and a long
    chain of those overflows the stack when it is freed. The modules that the program calls itself
    are kept in the same way, for the names of their parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self._newest: dict[Site, dict[int, torch.Tensor]] = {}
        self._sites: dict[int, Site] = {}
        self._callers: dict[Site, nn.Module] = {}
        self._parts: set[int] = set()
        self.called: set[int] = set()
        """The modules that were called, by their addresses."""

    def __enter__(self) -> Self:
        self._apply = torch.autograd.Function.__dict__["apply"]
        # A classmethod of Python in torch 2.13, and one of C in 2.14.
        bound = self._apply.__get__
        note = self._note

        def apply(function: Any, *arguments: Any, **options: Any) -> Any:
            result = bound(None, function)(*arguments, **options)
            note(result, (*arguments, *options.values()))
            return result

        # A custom Function is called without any function mode being asked.
        torch.autograd.Function.apply = classmethod(apply)  # type: ignore[assignment]
        self._handle = register_module_forward_pre_hook(self._note_module)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        self._handle.remove()
        torch.autograd.Function.apply = self._apply  # type: ignore[method-assign]

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function and note what it used and made."""
        result = function(*args, **(kwargs or {}))
        self._note(result, (*args, *kwargs.values()) if kwargs else args)
        return result

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What the user's own code made of what is kept, else all of it, oldest first."""
        own = [made for site, made in self._newest.items() if not is_library_file(site[2])]
        return [tensor for made in own or self._newest.values() for tensor in made.values()]

    @property
    def modules(self) -> list[nn.Module]:
        """Modules with parameters that were called from outside any other, oldest first."""
        return list(self._callers.values())

    def _note_module(self, module: nn.Module, arguments: Any) -> None:
        self.called.add(id(module))
        if id(module) in self._parts or next(module.parameters(), None) is None:
            return
        site = _site()
        self._callers.pop(site, None)
        self._callers[site] = module
        if len(self._callers) > _SITES:
            del self._callers[next(iter(self._callers))]
        self._parts = {id(part) for top in self.modules for part in top.modules()}

    def _note(self, result: Any, arguments: Iterable[Any]) -> None:
        # Only `requires_grad` may be asked: the grad_fn of a view that was written to is made when
        # it is looked at, or raises.
        if isinstance(result, torch.Tensor):
            made = [result] if result.requires_grad and torch.is_grad_enabled() else ()
        elif isinstance(result, tuple | list) and torch.is_grad_enabled():
            made = [t for t in result if isinstance(t, torch.Tensor) and t.requires_grad]
        else:
            return
        if not made:
            return
        if self._sites:
            for argument in arguments:
                self._use(argument)
        site = _site()
        for stale in self._newest.pop(site, {}):
            del self._sites[stale]
        unique = {id(tensor): tensor for tensor in made}
        for tensor in unique.values():
            self._use(tensor)
        self._newest[site] = unique
        self._sites.update(dict.fromkeys(unique, site))
        if len(self._newest) > _SITES:
            for stale in self._newest.pop(next(iter(self._newest))):
                del self._sites[stale]

    def _use(self, argument: Any, nesting: int = 2) -> None:
        site = self._sites.pop(id(argument), None)
        if site is not None:
            made = self._newest[site]
            del made[id(argument)]
            if not made:
                del self._newest[site]
        elif nesting and isinstance(argument, tuple | list):
            for item in argument:
                self._use(item, nesting - 1)


def _site() -> Site:
    """The place in the program's code, or in a library other than torch, that is being run."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _is_below(frame.f_code):
        frame = frame.f_back
    return id(frame.f_code), frame.f_lasti, frame.f_code.co_filename


_below: dict[str, bool] = {}


def _is_below(code: CodeType) -> bool:
    known = _below.get(code.co_filename)
    if known is None:
        known = _below[code.co_filename] = is_torch(code) or is_ours(code)
    return known
