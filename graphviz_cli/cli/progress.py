"""A line on the terminal that says what takes so long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from graphviz_cli.cli.streams import Streams

_PATIENCE = 1.0
_ERASE = "\r\x1b[K"


@contextmanager
def progress(streams: Streams, doing: str) -> Iterator[None]:
    """Show `doing` and the seconds, from the second on, if stderr is a terminal.

    Only around our own work: a thread of ours must not live while the user's program runs, which
    may fork or write to the terminal itself.
    """
    if streams.quiet or not streams.err_is_terminal:
        yield
        return
    done = Event()
    thread = Thread(target=_tick, args=(streams, doing, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tick(streams: Streams, doing: str, done: Event) -> None:
    start = time.monotonic()
    shown = False
    while not done.wait(_PATIENCE):
        shown = True
        streams.put(f"{_ERASE}{doing} {time.monotonic() - start:.0f} s")
    if shown:
        streams.put(_ERASE)
