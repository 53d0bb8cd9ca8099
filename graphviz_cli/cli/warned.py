"""What torch warned the user's program of."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Any, Self, cast

from graphviz_cli.graph.model import SourceLocation


class Warned:
    """Context manager that listens to torch's warnings, each of which is shown as ever.

    A program that puts a function of its own in the place of `warnings.showwarning` is left alone:
    then nothing is heard.
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
        if _is_torchs(filename):
            # Torch gives its own line; the user's is wanted.
            from graphviz_cli.capture.places import place_of_caller

            self.messages.append((str(message), place_of_caller()))
        self._original(message, category, filename, lineno, *rest)


def _is_torchs(filename: str) -> bool:
    return "/torch/" in filename.replace("\\", "/")
