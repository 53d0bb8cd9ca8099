"""The process's own stdout and stderr, whatever the user's program does with its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from graphviz_cli.cli.color import wants_color
from graphviz_cli.errors import OutputError


class Streams:
    """Where data and talk go.

    Both are duplicates of the descriptors that the process was started with, so that a program
    which closes or replaces its own cannot break ours. `out` and `err` are None where the process
    was started without them.
    """

    # No dataclass: importing that module would cost `--help` a third of its time.
    __slots__ = (
        "color",
        "err",
        "err_encoding",
        "err_is_terminal",
        "out",
        "out_encoding",
        "out_is_terminal",
        "quiet",
    )

    def __init__(self, environment: Mapping[str, str]) -> None:
        closed = [number for number in (0, 1, 2) if not _is_open(number)]
        for _ in closed:
            # Else the next file that anybody opens would take its number, and get the prints.
            os.open(os.devnull, os.O_RDWR)
        self.out = None if 1 in closed else os.dup(1)
        self.err = None if 2 in closed else os.dup(2)
        self.out_is_terminal = self.out is not None and os.isatty(self.out)
        self.err_is_terminal = self.err is not None and os.isatty(self.err)
        self.out_encoding: str = getattr(sys.stdout, "encoding", None) or "utf-8"
        self.err_encoding: str = getattr(sys.stderr, "encoding", None) or "utf-8"
        self.color = wants_color("auto", environment, is_terminal=self.err_is_terminal)
        self.quiet = False

    def use(self, options: Mapping[str, object], environment: Mapping[str, str]) -> None:
        """Take `--quiet` and `--color` from the options of a command."""
        self.quiet = bool(options["quiet"])
        choice = str(options["color"])
        self.color = wants_color(choice, environment, is_terminal=self.err_is_terminal)

    def divert(self) -> None:
        """Send to stderr what anything else in this process, or a child of it, writes to stdout."""
        os.dup2(2, 1)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=self.err_is_terminal)

    def write(self, data: bytes) -> None:
        """Write all of `data` to stdout.

        Raises BrokenPipeError when nobody reads any more, OutputError for everything else.
        """
        if self.out is None:
            raise OutputError("Cannot write to stdout: it is closed.")
        try:
            write_all(self.out, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"Cannot write to stdout: {reason(error)}.") from error

    def say(self, text: str) -> None:
        """Write a line to stderr; what cannot be written there is lost."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # closed, or what the user's program put in its place
                continue
        self.put(text + "\n")

    def put(self, text: str) -> None:
        """Write to stderr without ending the line."""
        if self.err is not None:
            try:
                write_all(self.err, text.encode(self.err_encoding, "backslashreplace"))
            except OSError:
                self.err = None

    def note(self, text: str) -> None:
        """Say something that a user who asked for quiet does not want to hear."""
        if not self.quiet:
            self.say(text)

    def width(self) -> int | None:
        """Width of the terminal in characters; None where stdout is none."""
        if self.out is None or not self.out_is_terminal:
            return None
        return os.get_terminal_size(self.out).columns or None

    def encodes(self, text: str) -> bool:
        """Whether stdout's encoding has all characters of a text."""
        try:
            text.encode(self.out_encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True


def write_all(descriptor: int, data: bytes) -> None:
    """Write until nothing is left, also to a pipe that does not block. Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            import select

            select.select([], [descriptor], [])


def reason(error: OSError) -> str:
    """The system's words for what went wrong, to follow a colon."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
