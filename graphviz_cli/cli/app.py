"""Running a command, and the one place where every error ends."""

from __future__ import annotations

from graphviz_cli import __version__
from graphviz_cli.cli.streams import Streams
from graphviz_cli.errors import GraphvizCliError

_INTERNAL = 70
"""Exit status of a failure of this program itself: EX_SOFTWARE of sysexits.h."""


def run(arguments: list[str], streams: Streams) -> int:
    """Do what the arguments say and return the exit status; every error is told here."""
    try:
        return _run(arguments, streams)
    except GraphvizCliError as error:
        from graphviz_cli.cli.report import report

        report(streams, error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the other end of the pipe had enough, as in `| head`.
        return 0
    except KeyboardInterrupt:
        # A terminal has shown ^C, without ending the line.
        streams.say("\nInterrupted." if streams.err_is_terminal else "Interrupted.")
        return 130
    except MemoryError:
        from graphviz_cli.cli.report import say_error

        say_error(streams, "There is not enough memory.", "A smaller picture needs less: --depth 1")
        return _INTERNAL
    except Exception as error:
        from graphviz_cli.cli.report import say_error, show_exception

        if "-v" in arguments or "--verbose" in arguments:
            show_exception(streams, error)
        say_error(
            streams,
            f"Internal error: {type(error).__name__}: {error}",
            "This is a mistake of graphviz-cli, please report it; -v shows where it happened.",
        )
        return _INTERNAL


def _run(arguments: list[str], streams: Streams) -> int:
    # The two that are asked most do not wait for click.
    if arguments in (["--version"], ["-V"]):
        streams.write(f"graphviz-cli {__version__}\n".encode())
        return 0
    if arguments in (["--help"], ["-h"]):
        from graphviz_cli.cli.help import help_text

        streams.write(help_text().encode())
        return 0
    from graphviz_cli.cli.parser import parse

    action = parse(arguments)
    return 0 if action is None else action(streams)
