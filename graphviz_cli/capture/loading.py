"""Import the file or module of a target, and find in it what the target names."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from graphviz_cli.capture.callers import begin
from graphviz_cli.capture.contents import is_path, lookup
from graphviz_cli.capture.script import compile_source, find_module
from graphviz_cli.capture.target import Target, read_source
from graphviz_cli.capture.usercode import user_code
from graphviz_cli.errors import UsageError


def import_folder(target: Target) -> str:
    """What Python puts first on the import path for a target: absolute, and without links."""
    if target.path is None:
        return os.getcwd()  # noqa: PTH109 - `sys.path` holds plain text
    if target.path.is_dir():
        return os.path.abspath(target.path)  # noqa: PTH100 - a folder keeps its links, as in Python
    folder = Path(os.path.realpath(target.path)).parent
    if not target.is_program:
        while (folder / "__init__.py").is_file():
            folder = folder.parent
    return str(folder)


@contextlib.contextmanager
def imported(target: Target) -> Iterator[ModuleType]:
    """Import what a target names, within `python_state`; a lone file's module is forgotten later.

    Raises UsageError if there is no such module, TargetError if it fails.
    """
    if target.path is None:
        yield _import(target.module or "")
        return
    name = _dotted_name(target.path)
    if "." in name or target.path.name == "__init__.py":
        module = _import(name)
        if not target.path.samefile(module.__file__ or os.devnull):
            raise UsageError(f"{name} is {module.__file__}, not {target.path}.")
        yield module
        return
    place = os.path.abspath(target.path)  # noqa: PTH100 - `__file__` keeps links, as in Python
    code = compile_source(read_source(target.path), place)
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None:  # a suffix that Python does not import
        raise UsageError(f"{target.path} is no .py file.", hint=f"To run it: {target.path}")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with user_code(f"Importing {target.path}"):
            begin(exec, code, module.__dict__)
        yield module
    finally:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before


def attribute(module: ModuleType, target: Target) -> object:
    """What a target names in its module, by a path such as `nets.unet` or `models.0`.

    Raises UsageError, with what the module has, if it is not there.
    """
    path = target.attribute or ""
    where = target.text.rpartition(":")[0]
    if not is_path(path):
        raise UsageError(
            f"{path!r} is no name.", hint=f"Write {where}:NAME, where NAME may be a.b or a.0."
        )
    try:
        with user_code(f"{path} of {where}", let_pass=(AttributeError, LookupError)):
            return begin(lookup, module, path)
    except (AttributeError, LookupError):
        raise UsageError(f"{where} has no {path!r}.", hint=_suggestion(module, path)) from None


def _suggestion(module: ModuleType, path: str) -> str | None:
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and (
            not (inspect.isclass(value) or inspect.isroutine(value))
            or value.__module__ == module.__name__
        )
    ]
    names = [name for name in vars(module) if not name.startswith("_")]
    head, dot, _ = path.partition(".")
    if dot and head in names:
        return f"It has {head!r}, but that has no such part."
    close = difflib.get_close_matches(head, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"It has {', '.join(own[:8])}{', ...' if len(own) > 8 else ''}." if own else None


def _dotted_name(path: Path) -> str:
    """The name by which a file of a package is imported; that of a lone file is its stem."""
    real = Path(os.path.realpath(path))
    parts = [] if real.name == "__init__.py" else [real.stem]
    folder = real.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) == 1 and real.name != "__init__.py":
        stem = parts[0]
        known = sys.modules.get(stem)
        # A file may have the name of a module that is in use already (random.py, torch.py).
        return stem if known is None else f"{stem}_"
    return ".".join(parts)


def _import(name: str) -> ModuleType:
    find_module(name)
    with user_code(f"Importing {name}"):
        return begin(importlib.import_module, name)
