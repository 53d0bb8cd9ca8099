"""`graphviz-cli check`: the verdict on every parameter, and what is wrong with the graph."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from graphviz_cli import registry
from graphviz_cli.cli import output
from graphviz_cli.cli.clock import Clock
from graphviz_cli.cli.commands import Action
from graphviz_cli.cli.findings import create_checks, findings_of, needed_probes, unmeasured
from graphviz_cli.cli.obtain import obtain
from graphviz_cli.cli.options import CHECK_OPTIONS, OPTIONS
from graphviz_cli.cli.parser import TargetCommand, click_option, refuse_for_saved_graph, target
from graphviz_cli.cli.report import report
from graphviz_cli.cli.request import Program, is_saved_graph, program_of
from graphviz_cli.cli.streams import Streams
from graphviz_cli.cli.threads import limit_the_wait
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.finding import Finding, Severity, gravest_first

FOUND = 1
"""Exit status when there are findings that count."""

_SENSELESS = ("ascii", "cuts")
"""Options on what to run that make no sense here: without cuts there is no verdict."""
_TEXT = "text"
_GITHUB = "github"


class Report(NamedTuple):
    """A report and where it goes."""

    name: str
    reporter: Any
    destination: output.Destination


@dataclasses.dataclass(frozen=True, slots=True)
class CheckRequest:
    """Everything that the command line asked for."""

    target: str
    program: Program | None
    asked_for: tuple[str, ...]
    """The checks as they were named, with their options."""
    checks: tuple[Any, ...]
    reports: tuple[Report, ...]
    fail_on: Severity | None
    """The least severity that makes the command fail; None if nothing does."""
    verbose: bool
    folder: str
    """The working folder, seen from the top of the repository; empty if it is the top."""

    def located(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings with files as seen from the top of the repository."""
        return [
            finding
            if finding.source is None or not self.folder
            else dataclasses.replace(
                finding,
                source=dataclasses.replace(
                    finding.source, file=f"{self.folder}/{finding.source.file}"
                ),
            )
            for finding in findings
        ]


def command(name: str, help: str) -> click.Command:
    """`graphviz-cli check TARGET`."""
    rows = [
        *CHECK_OPTIONS,
        *(option for option in OPTIONS if option.section in ("What to run", "General")),
    ]
    return TargetCommand(
        name,
        params=[target(), *(click_option(row) for row in rows if row.name not in _SENSELESS)],
        callback=_check,
        help=f"{help}\n\nExits with 1 if there is an error among the findings.",
    )


def _check(**options: Any) -> Action:
    context = click.get_current_context()
    refuse_for_saved_graph(context, options)

    def action(streams: Streams) -> int:
        streams.use(options, os.environ)
        return check(check_request(options, os.environ), streams)

    return action


def check_request(options: Mapping[str, Any], environment: Mapping[str, str]) -> CheckRequest:
    """Check and convert what the parser read, so that mistakes show before the target is run.

    Raises UsageError for a check or a report that there is not, OutputError for a place that cannot
    be written.
    """
    name, asked_for = options["target"], tuple(options["check"])
    needed = needed_probes(asked_for, backward=options["backward"])
    named = {text.partition(":")[0].strip() for text in options["probe"]}
    probes = [*options["probe"], *(probe for probe in needed if probe not in named)]
    return CheckRequest(
        target=name,
        asked_for=asked_for,
        checks=tuple(create_checks(asked_for)),
        reports=tuple(_reports(options["report"], environment)),
        fail_on=None if options["exit_zero"] else Severity(options["fail_on"]),
        verbose=options["verbose"],
        folder=_folder(environment),
        program=None
        if is_saved_graph(name)
        else program_of(name, {**options, "cuts": True, "probe": probes}),
    )


def check(request: CheckRequest, streams: Streams) -> int:
    """Run the target and the checks, and report; returns the exit status.

    Raises GraphvizCliError when there is no graph.
    """
    streams.divert()
    clock = Clock(streams, enabled=request.verbose)
    obtained = obtain(request.target, request.program, streams, clock)
    graph = obtained.graph
    missing = unmeasured(request.asked_for, graph) if obtained.failure is None else []
    if missing:
        streams.note(f"note: without --backward not checked: {', '.join(missing)}")
    findings = gravest_first([*obtained.explanations, *findings_of(graph, request.checks)])
    clock.lap("checking")
    for _, reporter, destination in request.reports:
        told = request.located(findings) if getattr(reporter, "from_top", False) else findings
        text: str = reporter.report(told, graph)
        output.write(destination, text.encode(), streams)
        if not destination.is_stdout and destination.descriptor != 2:
            streams.note(f"wrote {destination.name} ({_counted(findings)})")
    status = FOUND if request.fail_on and _counts(findings, request.fail_on) else 0
    if obtained.failure is not None:
        report(streams, obtained.failure)
        status = obtained.failure.exit_code
    if request.program is not None and graph.provenance.step is not None:
        limit_the_wait(streams, status)
    return status


def _counts(findings: Sequence[Finding], least: Severity) -> bool:
    return any(finding.severity.rank <= least.rank for finding in findings)


def _counted(findings: Sequence[Finding]) -> str:
    return "1 finding" if len(findings) == 1 else f"{len(findings)} findings"


def _reports(texts: Sequence[str], environment: Mapping[str, str]) -> list[Report]:
    reports = [_report(text) for text in texts or (_TEXT,)]
    names = [report.name for report in reports]
    if environment.get("GITHUB_ACTIONS") == "true" and _GITHUB not in names:
        # GitHub reads its commands from both streams; what is for another program stays clean.
        is_free = not any(r.destination.is_stdout and r.name != _TEXT for r in reports)
        place = output.STDOUT if is_free else output.destination("/dev/stderr")
        reports.append(Report(_GITHUB, registry.create("reports", _GITHUB), place))
    on_stdout = [r.name for r in reports if r.destination.is_stdout]
    if len(on_stdout) > 1 and not set(on_stdout) <= {_TEXT, _GITHUB}:
        raise UsageError(
            f"The reports {' and '.join(on_stdout)} would mix on stdout.",
            hint=f"Write one to a file: --report {on_stdout[-1]}:FILE",
        )
    return reports


def _report(text: str) -> Report:
    name, _, file = text.partition(":")
    destination = output.destination(file) if file else output.STDOUT
    reporter = registry.create("reports", name)
    output.check(destination)
    return Report(name, reporter, destination)


def _folder(environment: Mapping[str, str]) -> str:
    """The working folder, seen from the top of the repository that GitHub checked out."""
    workspace = environment.get("GITHUB_WORKSPACE")
    if not workspace:
        return ""
    try:
        folder = Path.cwd().relative_to(Path(workspace).resolve()).as_posix()
    except (ValueError, OSError):
        return ""
    return "" if folder == "." else folder
