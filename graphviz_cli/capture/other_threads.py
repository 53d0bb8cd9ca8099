"""How far the other threads have numbered their nodes, for torch counts in each from 0 on."""

from __future__ import annotations

import functools
import threading
from types import TracebackType
from typing import Any, Final, Self

from graphviz_cli.capture.private import next_sequence_nr

_HANDING_OVER: Final = (
    (threading.Thread, "_bootstrap_inner"),
    (threading.Condition, "notify"),
)
"""What a thread comes through before another can have what it made: its own end, and the waking of
a thread that waits for an event, a queue or a future."""


class OtherThreads:
    """Context manager that notes the numbers of all threads but the one that has entered it.

    Not noticed is what a thread hands over while it runs on and wakes nobody by `threading`: in a
    list that others look into, or as a worker of a `multiprocessing.pool.ThreadPool`.
    """

    def __init__(self) -> None:
        self._thread: int | None = None
        self._next: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        if not _watching:
            for owner, name in _HANDING_OVER:
                original = vars(owner)[name]
                ours = _looking_after(original)
                setattr(owner, name, ours)
                _replaced.append((owner, name, original, ours))
        _watching.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _watching.remove(self)
        if not _watching:
            for owner, name, original, ours in _replaced:
                if vars(owner)[name] is ours:
                    setattr(owner, name, original)
            _replaced.clear()

    def look(self) -> None:
        """Note how far the thread has come that calls this."""
        thread = threading.get_ident()
        if thread != self._thread:
            # The system gives the identity of a thread that has ended to another.
            self._next[thread] = max(next_sequence_nr(), self._next.get(thread, 0))

    @property
    def first_own(self) -> int:
        """The first number that none of them has given, nor any after it."""
        return max([*self._next.values()], default=0)


_watching: list[OtherThreads] = []
_replaced: list[tuple[type, str, Any, Any]] = []
"""Whose attribute, its name, what stood there and what stands there while any of them watches."""


def _looking_after(original: Any) -> Any:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            for threads in tuple(_watching):
                threads.look()

    return call
