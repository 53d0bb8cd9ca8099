"""How long each part of a run took."""

from __future__ import annotations

import time

from graphviz_cli.cli.streams import Streams


class Clock:
    """Says how long each part took, when asked to."""

    def __init__(self, streams: Streams, *, enabled: bool) -> None:
        self.streams = streams
        self.enabled = enabled
        self.start = time.perf_counter()

    def lap(self, what: str) -> None:
        """End a part and begin the next."""
        now = time.perf_counter()
        if self.enabled:
            self.streams.say(f"{now - self.start:8.3f} s  {what}")
        self.start = now
