"""From the TARGET on the command line to its graph: a saved one is read, a program is run."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from graphviz_cli.cli.clock import Clock
from graphviz_cli.cli.failure import explain_in_hint, explanation_of, explanations_of
from graphviz_cli.cli.progress import progress
from graphviz_cli.cli.request import Program
from graphviz_cli.cli.startup import leave_to_the_system, user_modules_uncollected
from graphviz_cli.cli.streams import Streams, reason
from graphviz_cli.cli.warned import Warned
from graphviz_cli.errors import GraphvizCliError, TargetError, UsageError
from graphviz_cli.graph.finding import Finding
from graphviz_cli.graph.model import Graph


class Obtained(NamedTuple):
    """A graph, and what went wrong while it was made."""

    graph: Graph
    failure: GraphvizCliError | None = None
    """What ended the program before it was done."""
    explanations: tuple[Finding, ...] = ()
    """Of torch's errors and warnings in it."""


def obtain(target: str, program: Program | None, streams: Streams, clock: Clock) -> Obtained:
    """Read the graph that `target` names, or run the program and take its graph.

    Raises GraphvizCliError when there is none; a TargetError with an explanation as its hint where
    the user's exception is a well-known one of torch's.
    """
    if program is None:
        graph = _load(target)
        clock.lap("reading the graph")
        leave_to_the_system()
        return Obtained(graph)
    return _capture(program, streams, clock)


def _load(target: str) -> Graph:
    from graphviz_cli.graph.serial import loads

    try:
        if target != "-":
            return loads(Path(target).read_bytes())
        if sys.stdin is not None:
            return loads(sys.stdin.buffer.read())
    except OSError as error:
        raise UsageError(f"Cannot read {target}: {reason(error)}.") from error
    raise UsageError("Cannot read stdin: it is closed.")


def load_torch(program: Program, streams: Streams, clock: Clock) -> None:
    """Import what runs a program. Raises UsageError where torch cannot be imported."""
    try:
        with (
            progress(streams, "loading torch"),
            user_modules_uncollected(enabled=program.fast_start),
        ):
            import_module("graphviz_cli.capture.session")
    except (ImportError, OSError) as error:
        if str(getattr(error, "name", None)).startswith("graphviz_cli"):
            raise
        raise UsageError(
            f"torch cannot be imported: {error}", hint="graphviz-cli doctor says what is installed."
        ) from error
    clock.lap("loading torch")


def _capture(program: Program, streams: Streams, clock: Clock) -> Obtained:
    from graphviz_cli import capture

    load_torch(program, streams, clock)

    with Warned() as warned:
        try:
            captured = capture.capture(program.target, program.request)
        except TargetError as error:
            explain_in_hint(error, explanation_of(error, None))
            raise
    # From here on it is our work alone, which leaves no cycles worth looking for.
    gc.disable()
    clock.lap("running the target")
    explanations = explanations_of(captured.graph, captured.failure, warned.messages)
    return Obtained(captured.graph, captured.failure, explanations)
