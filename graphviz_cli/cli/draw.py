"""The default command: from a target to a tree on stdout, or to files."""

from __future__ import annotations

import gc
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType

from graphviz_cli.cli import output
from graphviz_cli.cli.progress import progress
from graphviz_cli.cli.report import report
from graphviz_cli.cli.request import Program, Request, Result, Shown
from graphviz_cli.cli.startup import leave_to_the_system, user_modules_uncollected
from graphviz_cli.cli.streams import Streams, reason
from graphviz_cli.cli.threads import limit_the_wait
from graphviz_cli.errors import GraphvizCliError, UsageError
from graphviz_cli.graph.model import Graph


def draw(request: Request, streams: Streams) -> int:
    """Run the target, draw what came of it, and say so; returns the exit status.

    Raises GraphvizCliError when there is nothing to draw.
    """
    streams.divert()
    clock = _Clock(streams, enabled=request.verbose)
    if request.program is None:
        graph, failure = _load(request.target), None
        clock.lap("reading the graph")
        leave_to_the_system()
    else:
        graph, failure = _capture(request.program, streams, clock)
        if failure is not None and not request.files_wanted:
            raise failure
    if request.files_wanted:
        for text in graph.provenance.notes:
            streams.note(f"note: {text}")
    with _terminable():
        status = _write_results(request, graph, streams, clock)
    if failure is not None:
        report(streams, failure)
        status = failure.exit_code
    if request.program is not None and graph.provenance.step is not None:
        limit_the_wait(streams, status)
    return status


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


def _capture(
    program: Program, streams: Streams, clock: _Clock
) -> tuple[Graph, GraphvizCliError | None]:
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
    from graphviz_cli import capture

    captured = capture.capture(program.target, program.request)
    # From here on it is our work alone, which leaves no cycles worth looking for.
    gc.disable()
    clock.lap("running the target")
    return captured.graph, captured.failure


def _write_results(request: Request, graph: Graph, streams: Streams, clock: _Clock) -> int:
    """Write every result, also after one failed: the run that they come from may be dear."""
    status = 0
    shown: Shown | None = None
    if not all(result.exporter.whole for result in request.results):
        try:
            with progress(streams, "folding the graph"):
                shown = request.view.apply(graph)
        except GraphvizCliError as error:
            report(streams, error)
            status = error.exit_code
        clock.lap("folding the graph")
    for result in request.results:
        drawn = Shown(graph, len(graph.nodes), ()) if result.exporter.whole else shown
        if drawn is None:
            continue
        try:
            output.write(result.destination, _export(result, drawn.graph, streams), streams)
        except BrokenPipeError:
            continue
        except GraphvizCliError as error:
            report(streams, error)
            status = status or error.exit_code
            continue
        clock.lap(f"drawing {result.destination.name}")
        _say_written(result.destination, drawn, streams)
    return status


def _export(result: Result, graph: Graph, streams: Streams) -> bytes:
    """Let the exporter work; what it warns of becomes a note."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning)
        with progress(streams, f"drawing {result.destination.name}"):
            data: bytes = result.exporter.export(graph, result.style)
    for warning in caught:
        streams.note(f"note: {warning.message}")
    return data


def _say_written(destination: output.Destination, shown: Shown, streams: Streams) -> None:
    facts = _counted(len(shown.graph.nodes))
    if shown.undo:
        verb = "shows" if len(shown.undo) == 1 else "show"
        facts += f", folded from {shown.nodes_before}; {' '.join(shown.undo)} {verb} everything"
    if shown.graph.provenance.partial:
        facts += "; partial, because the target failed"
    if not destination.is_stdout:
        streams.note(f"wrote {destination.name} ({facts})")
    elif shown.undo:
        streams.note(f"drew {facts}")


def _counted(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that no half-written file and no `dot` is left behind.

    Not while the user's program runs, which would then end otherwise than without us.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Clock:
    """Says how long each part took, when asked to."""

    def __init__(self, streams: Streams, *, enabled: bool) -> None:
        self.streams = streams
        self.enabled = enabled
        self.start = time.perf_counter()

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        if self.enabled:
            self.streams.say(f"{now - self.start:8.3f} s  {what}")
        self.start = now
