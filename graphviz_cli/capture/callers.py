"""Which stack frames are the user's, and what their source says."""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")

_NAME_LENGTH = 40
_REFERENCES = 3
"""To what only a frame and the variable with which we look at it refer, and the question."""


@cache
def real_path(file: str) -> str:
    """The path of a source file without links."""
    try:
        return os.path.realpath(file)
    except OSError:  # a relative one, and the program has deleted its working folder
        return file


def _folder(path: str) -> str:
    return os.path.realpath(path) + os.sep


_PACKAGE = _folder(os.path.join(__file__, "..", ".."))  # noqa: PTH118
_TORCH = _folder(os.path.join(torch.__file__, ".."))  # noqa: PTH118
_LIBRARIES = (
    *{
        _folder(path)
        for name, path in sysconfig.get_paths().items()
        if name in ("stdlib", "platstdlib", "purelib", "platlib")
    },
    _TORCH,
)
_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}
"""Also those of a user, of another environment and of the system."""


def is_ours(code: CodeType) -> bool:
    """The code is this program's."""
    return real_path(code.co_filename).startswith(_PACKAGE)


def is_torch(code: CodeType) -> bool:
    """The code is torch's."""
    return real_path(code.co_filename).startswith(_TORCH)


def is_library(code: CodeType) -> bool:
    """The code is Python's, torch's or that of another installed distribution."""
    return is_library_file(code.co_filename)


@cache
def is_library_file(file: str) -> bool:
    """Code of this file is Python's, torch's or that of another installed distribution."""
    place = real_path(file)
    return (
        file.startswith("<frozen")
        or place.startswith(_LIBRARIES)
        or not _PACKAGE_FOLDERS.isdisjoint(Path(place).parts)
    )


def begin(function: Callable[..., Result], *args: Any, **options: Any) -> Result:
    """Call into the user's program: its part of the stack begins here."""
    return function(*args, **options)


def outward(frame: FrameType | None) -> Iterator[FrameType]:
    """From a frame on outwards to `begin`, those that are neither torch's nor ours."""
    while frame is not None and frame.f_code is not begin.__code__:
        if not is_ours(frame.f_code) and not is_torch(frame.f_code):
            yield frame
        frame = frame.f_back


def variables_of(frame: FrameType) -> dict[str, Any]:
    """A copy of a frame's variables.

    Before Python 3.13 a function's frame keeps what it told when it was asked, and so every value
    alive until the function returns. So that is emptied, unless the program has asked as well.
    """
    kept = frame.f_locals
    found = dict(kept)
    is_copy = frame.f_code.co_flags & inspect.CO_OPTIMIZED and isinstance(kept, dict)
    if is_copy and sys.getrefcount(kept) <= _REFERENCES:
        kept.clear()
    return found


def starting_points(frame: FrameType) -> list[str]:
    """What a frame's running `x.backward()`, `backward(x)` or `grad(x, ...)` starts from, as text.

    Empty where the source cannot be read or the call is none of these.
    """
    text = _running_call(frame.f_code, frame.f_lasti)
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return []
    if not isinstance(call, ast.Call):
        return []
    started: ast.expr | None = None
    function = ast.unparse(call.func)
    if function in ("backward", "grad") or function.endswith((".autograd.backward", ".grad")):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        started = given.get("outputs") or given.get("tensors")
        started = started or (call.args[0] if call.args else None)
    elif isinstance(call.func, ast.Attribute) and call.func.attr == "backward":
        started = call.func.value
    if started is None:
        return []
    parts = started.elts if isinstance(started, ast.List | ast.Tuple) else [started]
    return [_shortened(ast.get_source_segment(text, part) or "") for part in parts]


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1] + "…"


def _running_call(code: CodeType, instruction: int) -> str:
    """The expression that an instruction belongs to, in brackets since it may span lines."""
    place = next(islice(code.co_positions(), instruction // 2, None), None)
    if place is None or None in place:
        return ""
    line, end_line, column, end_column = (number or 0 for number in place)
    # Columns count bytes of UTF-8.
    lines = [text.encode() for text in linecache.getlines(code.co_filename)[line - 1 : end_line]]
    if len(lines) != end_line - line + 1:
        return ""
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    return f"({b''.join(lines).decode(errors='replace')}\n)"
