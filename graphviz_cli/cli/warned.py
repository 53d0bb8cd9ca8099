"""What torch warned the user's program of."""

from __future__ import annotations

import sys
import warnings
from types import FrameType, TracebackType
from typing import Any, Self, cast

from graphviz_cli.graph.model import SourceLocation


class Warned:
    """Context manager that listens to torch's warnings, each of which is shown as ever.

    What torch says of the line of ours that calls an op is said of the line that would have called
    it without us, and the program's filters are asked about that. A program that puts a function of
    its own in the place of `warnings.showwarning` is left alone: then nothing is heard.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, SourceLocation | None]] = []
        """Text, and the line of the user's that led to it."""

    def __enter__(self) -> Self:
        self._original = warnings.showwarning
        warnings.showwarning = cast(Any, self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if warnings.showwarning == self._listen:
            warnings.showwarning = self._original

    def _listen(self, message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
        line = _line_of_ours(filename)
        if line is not None:
            # Else Python would show it for one line of the program only.
            line.f_globals.get("__warningregistry__", {}).clear()
            _give_to(_beyond_ours(line), message, category)
            return
        if _is_torchs(filename):
            # Torch gives its own line; the user's is wanted.
            from graphviz_cli.capture.places import place_of_caller

            self.messages.append((str(message), place_of_caller()))
        self._original(message, category, filename, lineno, *rest)


def _is_torchs(filename: str) -> bool:
    return "/torch/" in filename.replace("\\", "/")


def _line_of_ours(filename: str) -> FrameType | None:
    """The frame that runs a line of this program's that is warned of; None for another's line."""
    from graphviz_cli.capture.callers import is_ours

    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename != filename:
        frame = frame.f_back
    return frame if frame is not None and is_ours(frame.f_code) else None


def _beyond_ours(frame: FrameType) -> FrameType:
    from graphviz_cli.capture.callers import is_ours

    while is_ours(frame.f_code) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _give_to(frame: FrameType, message: Any, category: Any) -> None:
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
