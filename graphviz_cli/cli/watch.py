"""`graphviz-cli watch`: every backward call of a whole run, measured."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from graphviz_cli import registry
from graphviz_cli.cli import output
from graphviz_cli.cli.clock import Clock
from graphviz_cli.cli.color import wants_color
from graphviz_cli.cli.commands import Action
from graphviz_cli.cli.draw import terminable
from graphviz_cli.cli.failure import explain_in_hint, explanation_of
from graphviz_cli.cli.obtain import load_torch
from graphviz_cli.cli.options import OPTIONS, WATCH_OPTIONS
from graphviz_cli.cli.parser import TargetCommand, click_option, target
from graphviz_cli.cli.report import report
from graphviz_cli.cli.request import Program, is_saved_graph, program_of
from graphviz_cli.cli.streams import Streams
from graphviz_cli.cli.threads import limit_the_wait
from graphviz_cli.cli.warned import Warned
from graphviz_cli.errors import GraphvizCliError, TargetError, UsageError
from graphviz_cli.graph.history import Ending, History, Step

if TYPE_CHECKING:
    from graphviz_cli.charts.style import ChartStyle

_INTERRUPTED = 130
_OWN = ("output", "format")
_SHARED = (*_OWN, "device", "seed")
"""The options of the default command that make sense here, besides the general ones."""
_GLYPHS = "▁█─│┤⣿·×"
_PATIENCE = 5.0
"""Seconds between two lines that tell how far a run has come."""


class Chart(NamedTuple):
    """One thing to write: in which format, how it looks, and where to."""

    chart: Any
    style: ChartStyle
    destination: output.Destination


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Everything that the command line asked for."""

    program: Program
    every: int
    until: int | None
    charts: tuple[Chart, ...]
    verbose: bool


def command(name: str, help: str) -> click.Command:
    """`graphviz-cli watch TARGET`."""
    rows = [
        *WATCH_OPTIONS,
        *(row for row in OPTIONS if row.section == "General" or row.name in _SHARED),
    ]
    own = {
        "output": "Write a file: .txt, .svg, .html or .json. Repeatable. [default: text on stdout]",
        "format": "text, svg, html or json; wins over the suffix.",
    }
    return TargetCommand(
        name,
        params=[
            target(),
            *(click_option(row._replace(help=own.get(row.name, row.help))) for row in rows),
        ],
        callback=_watch,
        help=f"{help}\n\nCtrl-C ends the run, and what was measured until then is shown.",
    )


def _watch(**options: Any) -> Action:
    context = click.get_current_context()
    options["script_arguments"] = context.meta["script_arguments"]
    for name in _OWN:
        # The settings of drawings name formats and files of drawings.
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            options[name] = () if name == "output" else None

    def action(streams: Streams) -> int:
        streams.use(options, os.environ)
        return watch(watch_request(options, streams, os.environ), streams)

    return action


def watch_request(
    options: Mapping[str, Any], streams: Streams, environment: Mapping[str, str]
) -> WatchRequest:
    """Check and convert what the parser read, so that mistakes show before the target is run.

    Raises UsageError for a target that is no program or an unknown format, and OutputError for a
    place that cannot be written.
    """
    name = options["target"]
    if is_saved_graph(name):
        raise UsageError(f"{name} is a saved graph, and nothing runs in it.", hint="Name a script.")
    everything = {row.name: () if row.repeatable else row.default for row in OPTIONS}
    return WatchRequest(
        program=program_of(name, {**everything, **options, "cuts": False}),
        every=options["every"],
        until=options["until"],
        charts=tuple(
            _chart(text, options, streams, environment) for text in options["output"] or ("-",)
        ),
        verbose=options["verbose"],
    )


def _chart(
    text: str, options: Mapping[str, Any], streams: Streams, environment: Mapping[str, str]
) -> Chart:
    from graphviz_cli.charts.style import ChartStyle

    place = output.destination(text)
    chosen = options["format"]
    if chosen is None:
        chosen = "text"
        if place.path is not None:
            chosen = registry.name_for_suffix("charts", place.path.suffix)
    style = ChartStyle(color=options["color"] == "always", ascii=options["ascii"], width=None)
    if place.is_stdout:
        color = wants_color(options["color"], environment, is_terminal=streams.out_is_terminal)
        is_ascii = options["ascii"] or not streams.encodes(_GLYPHS)
        style = ChartStyle(color=color, ascii=is_ascii, width=streams.width())
    output.check(place)
    return Chart(registry.create("charts", chosen), style, place)


def watch(request: WatchRequest, streams: Streams) -> int:
    """Run the program to its end and write what was measured; returns the exit status.

    Raises GraphvizCliError when nothing could be measured.
    """
    from graphviz_cli import capture

    streams.divert()
    clock = Clock(streams, enabled=request.verbose)
    program = request.program
    load_torch(program, streams, clock)
    plan = capture.WatchPlan(every=request.every, until=request.until)
    try:
        with Warned():
            watched = capture.watch(program.target, program.request, plan, Telling(streams))
    except TargetError as error:
        explain_in_hint(error, explanation_of(error, None))
        raise
    clock.lap("running the target")
    history = compared(watched.history)
    clock.lap("comparing its graphs")
    with terminable():
        status = _write(request, history, streams)
    clock.lap("drawing")
    if watched.failure is not None:
        explain_in_hint(watched.failure, explanation_of(watched.failure, None))
        report(streams, watched.failure)
        status = watched.failure.exit_code
    elif history.ending is Ending.INTERRUPTED:
        streams.note(f"Interrupted after {_counted(history.calls)}; all of it is shown.")
        status = _INTERRUPTED
    if history.ending in (Ending.ENOUGH, Ending.INTERRUPTED):
        limit_the_wait(streams, status)
    return status


class Telling:
    """Says from time to time how far a run has come, if somebody sits at a terminal.

    In whole lines, for the program may write to the terminal too.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._last = time.monotonic()

    def __call__(self, step: Step) -> None:
        """A step was measured."""
        now = time.monotonic()
        if not self._streams.err_is_terminal or now - self._last < _PATIENCE:
            return
        self._last = now
        facts = [
            f"{name} {value:.3g}"
            for name, value in ((step.root or "loss", step.loss), ("gradient", step.gradient))
            if value is not None
        ]
        self._streams.note(f"step {step.number:,}: {', '.join(facts)}")


def compared(history: History) -> History:
    """The history with what is different in each of its graphs from the one before."""
    from graphviz_cli.diff.changes import changes

    had = {step.number: history.structures[step.structure] for step in history.steps}
    forms = {row.form: row.graph for row in reversed(history.structures) if row.graph is not None}
    structures = []
    for structure in history.structures:
        before = None if structure.other is None else had[structure.other]
        old = None if before is None else before.graph or forms.get(before.form)
        if old is not None and structure.graph is not None:
            lines = changes(old, structure.graph).lines()
            structure = replace(structure, difference=lines)
        structures.append(structure)
    return replace(history, structures=tuple(structures))


def _write(request: WatchRequest, history: History, streams: Streams) -> int:
    """Write every chart, also after one failed: the run that they come from may be dear."""
    from graphviz_cli.charts.findings import findings

    status = 0
    for chart, style, place in request.charts:
        try:
            output.write(place, chart.chart(history, style), streams)
        except BrokenPipeError:
            continue
        except GraphvizCliError as error:
            report(streams, error)
            status = status or error.exit_code
            continue
        if not place.is_stdout:
            streams.note(f"wrote {place.name} ({_counted(len(history.steps))})")
    if all(not chart.destination.is_stdout for chart in request.charts):
        for finding in findings(history):
            streams.note(f"{finding.severity}: {finding.message}")
            for line in finding.hint.splitlines():
                streams.note(f"  {line}")
    return status


def _counted(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps:,} steps"
