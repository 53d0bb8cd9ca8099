"""The default command: from a target to a tree on stdout, or to files."""

from __future__ import annotations

import shlex
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from graphviz_cli.cli import output
from graphviz_cli.cli.clock import Clock
from graphviz_cli.cli.findings import findings_to_draw, verdict_line
from graphviz_cli.cli.obtain import obtain
from graphviz_cli.cli.probes import memory_lines
from graphviz_cli.cli.progress import progress
from graphviz_cli.cli.report import report, say_finding
from graphviz_cli.cli.request import Request, Result, Shown
from graphviz_cli.cli.streams import Streams
from graphviz_cli.cli.threads import limit_the_wait
from graphviz_cli.errors import GraphvizCliError, LayoutTimeoutError
from graphviz_cli.graph.finding import Severity, marked
from graphviz_cli.graph.model import Graph

_WHOLE = "whole"


def draw(request: Request, streams: Streams) -> int:
    """Run the target, draw what came of it, and say so; returns the exit status.

    Raises GraphvizCliError when there is nothing to draw.
    """
    streams.divert()
    clock = Clock(streams, enabled=request.verbose)
    obtained = obtain(request.target, request.program, streams, clock)
    graph, failure = obtained.graph, obtained.failure
    # A well-known error of torch's is shown in the graph, whatever was asked for.
    if failure is not None and not request.files_wanted and not obtained.explanations:
        raise failure
    if request.files_wanted:
        for text in graph.provenance.notes:
            streams.note(f"note: {text}")
    findings = list(obtained.explanations)
    if request.program is None or request.program.request.cuts:
        # Without cuts it cannot be told from a lost gradient that a parameter is not used.
        findings += findings_to_draw(graph)
    graph = marked(graph, findings)
    clock.lap("checking")
    with terminable():
        status = write_results(request, graph, streams, clock)
    if failure is not None:
        report(streams, failure)
        status = failure.exit_code
    for explanation in obtained.explanations:
        if explanation.severity is not Severity.ERROR:  # else it is the hint of the failure
            say_finding(streams, explanation)
    for line in memory_lines(graph):
        streams.note(line)
    if verdict := verdict_line(graph, request.target, findings):
        streams.note(verdict)
    if request.program is not None and graph.provenance.step is not None:
        limit_the_wait(streams, status)
    return status


def write_results(request: Request, graph: Graph, streams: Streams, clock: Clock) -> int:
    """Write every result, also after one failed: the run that they come from may be dear."""
    status = 0
    shown = {_WHOLE: Shown(graph, len(graph.nodes), ())}
    try:
        for unit in dict.fromkeys(map(_unit, request.results)):
            if unit != _WHOLE:
                with progress(streams, "folding the graph"):
                    shown[unit] = request.view.apply(graph, unit)
                clock.lap("folding the graph")
    except GraphvizCliError as error:
        report(streams, error)
        status = error.exit_code
    for result in request.results:
        drawn = shown.get(_unit(result))
        if drawn is None:
            continue
        try:
            output.write(result.destination, _export(result, drawn.graph, streams), streams)
        except BrokenPipeError:
            continue
        except GraphvizCliError as error:
            report(streams, error)
            status = status or error.exit_code
            if isinstance(error, LayoutTimeoutError):
                _write_text_beside(result, error.dot, streams)
            continue
        clock.lap(f"drawing {result.destination.name}")
        _say_written(result.destination, drawn, streams)
    return status


def _unit(result: Result) -> str:
    """What the size of a result is measured in; those that take the whole graph are not folded."""
    return _WHOLE if result.exporter.whole else getattr(result.exporter, "unit", "boxes")


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


def _write_text_beside(result: Result, dot: bytes, streams: Streams) -> None:
    """Leave what Graphviz was given where the picture should have been, if that is a file."""
    destination = result.destination
    if destination.path is None:
        return
    # Named so that it is no file of the user's own.
    name, path = (f"{place}.dot" for place in (destination.name, destination.path))
    try:
        output.write(output.Destination(name, Path(path)), dot, streams)
    except GraphvizCliError as error:
        report(streams, error)
        return
    command = ["dot", f"-T{result.exporter.suffix[1:]}", "-o", destination.name, name]
    streams.note(f"wrote {name} for a layout of your own: {shlex.join(command)}")


def _say_written(destination: output.Destination, shown: Shown, streams: Streams) -> None:
    facts = _counted(len(shown.graph.nodes))
    if shown.undo:
        verb = "shows" if len(shown.undo) == 1 else "show"
        if shown.nodes_before > len(shown.graph.nodes):
            facts += f", folded from {shown.nodes_before}"
        facts += f"; {' '.join(shown.undo)} {verb} everything"
    if shown.graph.provenance.partial:
        facts += "; partial, because the target failed"
    if not destination.is_stdout:
        streams.note(f"wrote {destination.name} ({facts})")
    elif shown.undo:
        streams.note(f"drew {facts}")


def _counted(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


@contextmanager
def terminable() -> Iterator[None]:
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
