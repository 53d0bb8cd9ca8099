"""Calls into the user's program, and what is told of those that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graphviz_cli.capture.callers import begin
from graphviz_cli.capture.stopping import ProgramStopped
from graphviz_cli.capture.tracebacks import cut
from graphviz_cli.errors import GraphvizCliError, TargetError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call into the user's program."""

    value: Any = None
    failure: TargetError | None = None
    """Set if it raised; the cause is the user's exception without our frames."""
    stopped: bool = False
    """We stopped it, so it did not come to what it does at its end."""
    status: object = None
    """What it gave to `sys.exit`."""


def attempt(what: str, function: Callable[..., Any], *args: Any, **options: Any) -> Outcome:
    """Call into the user's program; `what` names it in what is told of a failure.

    A stop by us and `sys.exit(0)` are its normal end. Raises KeyboardInterrupt, and errors of this
    program.
    """
    try:
        return Outcome(begin(function, *args, **options))
    except (KeyboardInterrupt, GraphvizCliError):
        raise
    except ProgramStopped:
        return Outcome(stopped=True)
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            return Outcome()
        status = error.code if isinstance(error, SystemExit) else None
        return Outcome(failure=failure(error, what), status=status)


@contextmanager
def user_code(
    what: str, *, let_pass: type[BaseException] | tuple[type[BaseException], ...] = ()
) -> Iterator[None]:
    """Run some of the user's code, without which we cannot go on.

    Raises TargetError where it fails, and passes what is in `let_pass`.
    """
    try:
        yield
    except (KeyboardInterrupt, GraphvizCliError):
        raise
    except BaseException as error:
        if isinstance(error, let_pass):
            raise
        told = failure(error, what)
        raise told from told.__cause__


def _missing(error: BaseException) -> str | None:
    """Where a module that cannot be imported should be: often we are in another environment."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    name = error.name.partition(".")[0]
    return f"graphviz-cli ran it with {sys.executable}: is {name} installed for that?"


def failure(error: BaseException, what: str) -> TargetError:
    """What is told of an exception that ended the user's code, with its cause."""
    if not isinstance(error, SystemExit):
        told = TargetError(f"{what} raised {type(error).__name__}.", hint=_missing(error))
        told.__cause__ = cut(error)
        return told
    if not isinstance(error.code, int):
        return TargetError(f"{what} ended itself: {error.code}")
    return TargetError(
        f"{what} ended itself by sys.exit({error.code}).",
        hint="Arguments for a program follow --: graphviz-cli train.py -- --epochs 1"
        if error.code == 2
        else None,
    )
