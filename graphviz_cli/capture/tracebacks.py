"""The user's exceptions without this program's frames."""

from __future__ import annotations

import importlib
import os
from types import CodeType, FunctionType, TracebackType

import torch

from graphviz_cli.capture import private_calls
from graphviz_cli.capture.callers import is_ours, is_torch, real_path, variables_of

_OVERRIDES = os.path.realpath(torch.overrides.__file__)
_IMPORTLIB = os.path.realpath(importlib.__file__)


def cut(error: BaseException) -> BaseException:
    """Take this program's frames out of an exception's traceback, and of those that led to it."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        current.__traceback__ = _rebuilt(_kept(current.__traceback__))
        pending += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions
    return error


def _kept(traceback: TracebackType | None) -> list[TracebackType]:
    entries: list[TracebackType] = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    kept: list[TracebackType] = []
    for position, entry in enumerate(entries):
        if not is_ours(entry.tb_frame.f_code):
            kept.append(entry)
            continue
        # A recorded function of torch's is on the stack twice: before it was handed to the
        # recorder, and after. The user shall see it once.
        while kept and real_path(kept[-1].tb_frame.f_code.co_filename) == _OVERRIDES:
            kept.pop()
        follower = entries[position + 1].tb_frame.f_code if position + 1 < len(entries) else None
        if kept and kept[-1].tb_frame.f_code is follower and is_torch(follower):
            kept.pop()
    while kept and _is_importing(kept[0].tb_frame.f_code):
        kept.pop(0)
    return _without_hooks(kept)


def _without_hooks(entries: list[TracebackType]) -> list[TracebackType]:
    """Calls of modules as they look where nobody listens, if only we do.

    Torch runs a module's hooks and its `forward` in a frame of its own, and only if it has any.
    """
    plain, hooked = private_calls.call_without_hooks(), private_calls.module_call_code()
    kept: list[TracebackType] = []
    for entry in entries:
        is_hooked = bool(kept) and entry.tb_frame.f_code in hooked
        if plain is not None and is_hooked and _only_we_listen(entry):
            kept[-1] = TracebackType(None, kept[-1].tb_frame, *plain)
        else:
            kept.append(entry)
    return kept


def _only_we_listen(entry: TracebackType) -> bool:
    module = variables_of(entry.tb_frame)["self"]
    hooks = [getattr(hook, "__func__", hook) for hook in private_calls.call_hooks(module)]
    return all(isinstance(hook, FunctionType) and is_ours(hook.__code__) for hook in hooks)


def _is_importing(code: CodeType) -> bool:
    file = code.co_filename
    return file.startswith("<frozen importlib") or real_path(file) == _IMPORTLIB


def _rebuilt(entries: list[TracebackType]) -> TracebackType | None:
    rebuilt: TracebackType | None = None
    for entry in reversed(entries):
        rebuilt = TracebackType(rebuilt, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rebuilt
