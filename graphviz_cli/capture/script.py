"""Run a program as Python would, and keep its variables whatever becomes of it."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib.util
import linecache
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

import torch

from graphviz_cli.capture.callers import begin
from graphviz_cli.capture.target import Target, read_source
from graphviz_cli.capture.usercode import Outcome, attempt, failure, user_code
from graphviz_cli.errors import TargetError, UsageError

_HEADROOM = 64
"""Frames that recording may put on the stack between two of the user's."""


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled code that is run as `__main__`."""

    code: CodeType
    file: str
    """Absolute path, the program's `__file__`."""
    argument: str
    """What stands in `sys.argv[0]`."""
    spec: ModuleSpec | None = None
    """Of a module that is run by name."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a program left behind."""

    variables: dict[str, Any]
    failure: TargetError | None
    """What ended it before its time; None after its normal end and after a stop by us."""


def load_program(target: Target) -> Program:
    """Find and compile a program, within `python_state`.

    Raises UsageError if there is none, TargetError if it is no Python.
    """
    if target.path is None:
        return _load_module(target.module or "")
    file = target.path / "__main__.py" if target.path.is_dir() else target.path
    place = os.path.abspath(file)  # noqa: PTH100 - `__file__` keeps links, as in Python
    return Program(compile_source(read_source(file), place), place, str(target.path))


def compile_source(source: bytes, file: str) -> CodeType:
    """Compile a source file in the encoding that it declares.

    Raises TargetError, caused by Python's error, where it cannot be compiled.
    """
    try:
        code = compile(source, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _not_python(error, file, source) from error.with_traceback(None)
    # Kept for tracebacks and names, since a program may change the folder or delete itself.
    with contextlib.suppress(SyntaxError, UnicodeDecodeError):
        text = importlib.util.decode_source(source)
        linecache.cache[file] = (len(source), None, text.splitlines(keepends=True), file)
    return code


@contextlib.contextmanager
def python_state(argv: Sequence[str], folder: str) -> Iterator[None]:
    """Give the user's program `sys.argv` and `sys.path[0]`; afterwards all is as before.

    Its standard streams, working folder, `__main__`, recursion limit and autograd mode do not
    outlive the block either.
    """
    argv_before, path_before = sys.argv, list(sys.path)
    main = sys.modules["__main__"]
    streams = sys.stdin, sys.stdout, sys.stderr
    limit = sys.getrecursionlimit()
    grad_enabled = torch.is_grad_enabled()
    try:
        start = os.getcwd()  # noqa: PTH109 - a plain text to go back to
    except FileNotFoundError:
        start = None
    sys.argv = list(argv)
    if not sys.flags.safe_path:
        sys.path[:1] = [folder]
    sys.setrecursionlimit(limit + _depth() + _HEADROOM)
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv_before, path_before
        sys.modules["__main__"] = main
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.setrecursionlimit(limit)
        torch.set_grad_enabled(grad_enabled)
        if start is not None:
            with contextlib.suppress(OSError):
                os.chdir(start)


def run_program(program: Program) -> Run:
    """Run a program in a `__main__` of its own, within `python_state`.

    Raises KeyboardInterrupt. A child process that comes out of the program (after
    `os.fork()`) ends here, as it would have ended.
    """
    main = ModuleType("__main__")
    main.__dict__.update(
        __builtins__=builtins,
        __file__=program.file,
        __annotations__={},
        __cached__=None,
        __spec__=program.spec,
        __loader__=SourceFileLoader("__main__", program.file),
    )
    if program.spec is not None:
        main.__package__ = program.spec.parent
        main.__loader__ = program.spec.loader
        main.__dict__["__cached__"] = program.spec.cached
    sys.modules["__main__"] = main
    process, threads = os.getpid(), set(threading.enumerate())
    outcome = attempt(Path(program.argument).name, exec, program.code, main.__dict__)
    if os.getpid() != process:
        _end_child(outcome)
    if outcome.failure is None and not outcome.stopped:
        _join(threads)
    return Run(main.__dict__, outcome.failure)


def _load_module(module: str) -> Program:
    name, spec = module, find_module(module)
    if spec.submodule_search_locations is not None:
        name = f"{module}.__main__"
        try:
            spec = find_module(name)
        except UsageError:
            raise UsageError(
                f"{module} is a package without a __main__ module.",
                hint=f"Name something in it: {module}:NAME.",
            ) from None
    file = spec.origin or name
    get_code = getattr(spec.loader, "get_code", None)
    try:
        code = None if get_code is None else get_code(name)
    except (SyntaxError, ValueError) as error:
        raise _not_python(error, file) from error.with_traceback(None)
    if code is None:
        raise UsageError(f"{name} is no Python source, so it cannot be run.")
    return Program(code, file, file, spec)


def find_module(name: str) -> ModuleSpec:
    """Where a module is; the packages around it are imported.

    Raises UsageError if there is none, TargetError if one of the packages fails.
    """
    try:
        with user_code(f"Importing {name}", let_pass=ModuleNotFoundError):
            spec = begin(importlib.util.find_spec, name)
    except ModuleNotFoundError as error:
        if not _is_within(name, error.name):
            told = failure(error, f"Importing {name}")
            raise told from told.__cause__
        spec = None
    if spec is None:
        raise _no_such_module(name)
    return spec


def _is_within(name: str, package: str | None) -> bool:
    return package is not None and f"{name}.".startswith(f"{package}.")


def _no_such_module(name: str) -> UsageError:
    file = Path(f"{name.replace('.', '/')}.py")
    hint = "Is it installed here, and is this its folder?"
    if file.is_file():
        hint = f"Did you mean {file.as_posix()}?"
    elif Path(f"{name}.py").is_file():
        hint = f"Did you mean {name}.py?"
    return UsageError(f"There is no module {name}, and no such file.", hint=hint)


def _not_python(error: BaseException, file: str, source: bytes = b"") -> TargetError:
    name = Path(file).name
    if isinstance(error, SyntaxError):
        hint = None
        if not _is_decodable(source):
            hint = "Save it as UTF-8, or declare its encoding: # -*- coding: latin-1 -*-"
        where = f", line {error.lineno}" if error.lineno else ""
        return TargetError(f"{name}{where} is not Python: {error.msg}.", hint=hint)
    return TargetError(f"{name} cannot be compiled: {error or type(error).__name__}.")


def _is_decodable(source: bytes) -> bool:
    try:
        importlib.util.decode_source(source)
    except (SyntaxError, UnicodeDecodeError):
        return False
    return True


def _depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def _join(before: set[threading.Thread]) -> None:
    """Wait for the threads that a program has left running, as Python does at its end."""
    for thread in threading.enumerate():
        if thread not in before and not thread.daemon:
            thread.join()


def _end_child(outcome: Outcome) -> NoReturn:
    failure, status = outcome.failure, outcome.status
    if failure is not None and failure.__cause__ is not None:
        traceback.print_exception(failure.__cause__)
    elif status is not None and not isinstance(status, int):
        print(status, file=sys.stderr)  # noqa: T201 - the child's own last words
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status if isinstance(status, int) else int(failure is not None))
