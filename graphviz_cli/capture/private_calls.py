"""What observing module calls and torch calls relies on, without torch's promise to keep it.

Like `private.py`: each name behind one function, and a test for each.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable
from types import CodeType, FrameType
from typing import Any

import torch
from torch import overrides
from torch.overrides import TorchFunctionMode
from torch.utils._contextlib import context_decorator


def module_parts(module: torch.nn.Module) -> Iterable[tuple[str, torch.nn.Module | None]]:
    """Name and module of each direct part; `named_children` costs ten times as much."""
    return module._modules.items()


def module_call_code() -> tuple[CodeType, ...]:
    """The code of the frame in which torch runs a module's hooks and its `forward`.

    There is one such frame on the stack for every module call that has hooks. Empty where this
    torch calls modules otherwise.
    """
    return tuple(
        constant
        for constant in torch.nn.Module._call_impl.__code__.co_consts
        if isinstance(constant, CodeType) and constant.co_name == "inner"
    )


def call_without_hooks() -> tuple[int, int] | None:
    """Where torch runs the `forward` of a module that has no hooks.

    Offset and line of the call in the code of `nn.Module._call_impl`; None where there is none.
    """
    for instruction in dis.get_instructions(torch.nn.Module._call_impl):
        if instruction.opname == "CALL_FUNCTION_EX" and instruction.positions is not None:
            return instruction.offset, instruction.positions.lineno or 0
    return None


def call_hooks(module: torch.nn.Module) -> list[Any]:
    """The hooks that torch runs at a call of a module: its own, and those of all modules."""
    names = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    tables = [getattr(module, f"_{name}") for name in names]
    tables += [getattr(torch.nn.modules.module, f"_global_{name}") for name in names]
    return [hook for table in tables for hook in table.values()]


def decorator_code() -> tuple[CodeType, ...]:
    """The code of the frame between a function under `@torch.no_grad()` and its caller.

    `torch/utils/_contextlib.py`. Empty where this torch decorates otherwise.
    """
    return tuple(
        constant
        for constant in context_decorator.__code__.co_consts
        if isinstance(constant, CodeType) and constant.co_name == "decorate_context"
    )


def running_modules(frame: FrameType | None) -> set[int]:
    """The ids of the modules whose calls are on the stack of `frame`."""
    code = torch.nn.Module._call_impl.__code__
    found = set()
    while frame is not None:
        if frame.f_code is code:
            found.add(id(frame.f_locals["self"]))
        frame = frame.f_back
    return found


def remove_function_mode(mode: TorchFunctionMode) -> int | None:
    """Take a mode off this thread's stack, from wherever in it.

    Returns how many modes are below its place, or None if it was not there.
    """
    torch_overrides: Any = overrides
    modes = torch_overrides._get_current_function_mode_stack()
    if mode not in modes:
        return None
    above = []
    while (top := torch_overrides._pop_mode()) is not mode:
        above.append(top)
    for other in reversed(above):
        torch_overrides._push_mode(other)
    return len(modes) - len(above) - 1


def insert_function_mode(mode: TorchFunctionMode, below: int) -> None:
    """Put a mode onto this thread's stack, above the lowest `below` of those that are there."""
    torch_overrides: Any = overrides
    depth = len(torch_overrides._get_current_function_mode_stack())
    others = [torch_overrides._pop_mode() for _ in range(max(depth - below, 0))]
    torch_overrides._push_mode(mode)
    for other in reversed(others):
        torch_overrides._push_mode(other)
