"""Running checks: those that were asked for, or all that need nothing to be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from graphviz_cli import registry
from graphviz_cli.graph.finding import Finding, Severity, gravest_first
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import Status, verdicts

ALL = "all"
"""Stands for all checks that need no argument."""


def default_checks() -> list[str]:
    """The names of the checks that need no argument."""
    return [name for name in registry.names("checks") if _needs_nothing(name)]


def create_checks(asked_for: Sequence[str]) -> list[Any]:
    """The checks of the given names and options; all that need no argument where none is given.

    Raises UsageError for a check that there is not, or an option that is wrong.
    """
    texts: list[str] = []
    for text in asked_for or (ALL,):
        texts += default_checks() if text == ALL else [text]
    return [registry.create("checks", text) for text in dict.fromkeys(texts)]


def findings_of(graph: Graph, checks: Iterable[Any]) -> list[Finding]:
    """What the checks find, the gravest first."""
    return gravest_first(finding for check in checks for finding in check.check(graph))


def findings_to_draw(graph: Graph) -> list[Finding]:
    """What every drawing marks: errors and warnings of the checks that come with the program.

    Each of them takes a time that is linear in the size of the graph.
    """
    names = [name for name in registry.BUILT_IN["checks"] if _needs_nothing(name)]
    found = findings_of(graph, [registry.create("checks", name) for name in names])
    return [finding for finding in found if finding.severity is not Severity.NOTE]


def verdict_line(graph: Graph, target: str, findings: Sequence[Finding]) -> str:
    """One line on what is wrong with a graph and how to learn more; empty if nothing is."""
    if not findings or graph.provenance.partial:
        return ""
    known = verdicts(graph, parameters_only=True)
    missing = sum(
        verdict.status in (Status.CUT, Status.DROPPED, Status.UNUSED) for verdict in known.values()
    )
    if any(f.check in ("unused-parameter", "severed-gradient") for f in findings) and missing:
        verb, tells = "gets" if missing == 1 else "get", "why"
        text = f"{missing:,} of {len(known):,} parameters {verb} no gradient"
        if len(known) == 1:
            text = "the parameter gets no gradient"
    else:
        first, rest, tells = findings[0], len(findings) - 1, "more"
        text = first.message.rstrip(".") + (f", and {rest} more" if rest else "")
    again = "graphviz-cli check" + ("" if target == "-" else f" {target}")
    return f"{text} ({again} tells {tells})"


def _needs_nothing(name: str) -> bool:
    fields = dataclasses.fields(registry.plugin_type("checks", name))
    missing = dataclasses.MISSING
    return all(
        f.default is not missing or f.default_factory is not missing for f in fields if f.init
    )
