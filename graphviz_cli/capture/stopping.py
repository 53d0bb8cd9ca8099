"""How the user's program is ended from within, whatever it catches."""

from __future__ import annotations

import sys
from dis import opmap
from types import FrameType

from graphviz_cli.capture.callers import is_library, outward


class ProgramStopped(BaseException):
    """Ends the user's program once its graph was taken.

    No Exception, so that `except Exception` lets it pass.
    """


def stopping(frame: FrameType | None, *, in_handlers: bool) -> ProgramStopped:
    """What to raise in the function that `frame` has called, to end the program.

    It is raised again where a bare `except:` swallows it; with `in_handlers` even within those.
    """
    stopped = ProgramStopped()
    if sys.gettrace() is None:
        insistence = _Insistence(stopped, in_handlers=in_handlers)
        for caller in outward(frame):
            if not is_library(caller.f_code):
                caller.f_trace = insistence
        sys.settrace(insistence)
    return stopped


def end_insistence() -> None:
    """Do not raise again what was to end the program."""
    if isinstance(sys.gettrace(), _Insistence):
        sys.settrace(None)


class _Insistence:
    """A trace function that raises again once a bare `except:` has swallowed the stop.

    It has one shot, since Python removes a trace function that raises. A program that swallows this
    as well is stopped at its next backward call, and then also `in_handlers`, from where it cannot
    go back into the same `try`.
    """

    def __init__(self, stopped: ProgramStopped, *, in_handlers: bool) -> None:
        self._stopped = stopped
        self._in_handlers = in_handlers

    def __call__(self, frame: FrameType, event: str, argument: object) -> _Insistence | None:
        if event == "call":
            return None
        is_due = event == "line" and (self._in_handlers or not self._is_handled())
        if is_due and not _enters_handler(frame):
            raise self._stopped
        return self

    def _is_handled(self) -> bool:
        """The stop is on its way through the user's handlers and clean-up, which must run."""
        current = sys.exception()
        seen: set[int] = set()
        while current is not None and id(current) not in seen:
            if current is self._stopped:
                return True
            seen.add(id(current))
            current = current.__context__
        return False


def _enters_handler(frame: FrameType) -> bool:
    """The next instruction makes the exception that is on its way the handled one."""
    return frame.f_code.co_code[frame.f_lasti] == opmap["PUSH_EXC_INFO"]
