"""How errors are told: ours in one line and a hint, the user's as Python shows them."""

from __future__ import annotations

import sys

from graphviz_cli.cli.streams import Streams
from graphviz_cli.errors import GraphvizCliError, TargetError
from graphviz_cli.graph.finding import Finding


def report(streams: Streams, error: GraphvizCliError) -> None:
    """Show an error, and before it the exception of the user's program that caused it."""
    if isinstance(error, TargetError) and error.__cause__ is not None:
        show_exception(streams, error.__cause__)
    say_error(streams, error.message, error.hint)


def say_error(streams: Streams, message: str, hint: str | None = None) -> None:
    """Write `error: message` and its hint to stderr."""
    red, dim, off = ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") if streams.color else ("", "", "")
    streams.say(f"{red}error:{off} {message}")
    for line in (hint or "").splitlines():
        streams.say(f"  {dim}{line}{off}")


def say_finding(streams: Streams, finding: Finding) -> None:
    """Write what a warning of torch's means, and the cure, to stderr."""
    yellow, dim, off = ("\x1b[1;33m", "\x1b[2m", "\x1b[0m") if streams.color else ("", "", "")
    place = f"{finding.source.file}:{finding.source.line}: " if finding.source else ""
    streams.say(f"{yellow}{finding.severity}:{off} {place}{finding.message}")
    streams.say(f"  {dim}{finding.hint}{off}")


def show_exception(streams: Streams, error: BaseException) -> None:
    """Show an exception the way that Python, or the user's program's own hook, shows it."""
    if sys.excepthook is not sys.__excepthook__:
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except Exception:
            streams.note("The program's own sys.excepthook failed.")
        else:
            return
    import traceback

    streams.say("".join(traceback.format_exception(error)).rstrip("\n"))
