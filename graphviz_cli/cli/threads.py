"""Threads of a program that was stopped half-way, which nobody will tell to end."""

from __future__ import annotations

import atexit
import os
import threading

from graphviz_cli.cli.streams import Streams

PATIENCE = 10.0


def limit_the_wait(streams: Streams, status: int) -> None:
    """Let the process end with `status` even if a thread of the user's program never does.

    Python waits at exit for every thread that is no daemon. A script that was stopped at its
    backward call may not have reached the line that ends its threads, so they get 10 seconds;
    then atexit functions run and the process ends. To be called last.
    """
    if not any(_is_waited_for(thread) for thread in threading.enumerate()):
        return

    def end() -> None:
        streams.note(f"A thread of the program still ran {PATIENCE:.0f} s after its end: left it.")
        atexit._run_exitfuncs()
        os._exit(status)

    limit = threading.Timer(PATIENCE, end)
    limit.daemon = True
    limit.start()
    atexit.register(limit.cancel)


def _is_waited_for(thread: threading.Thread) -> bool:
    return not thread.daemon and thread is not threading.main_thread()
