"""Running checks: those that were asked for, or all that need nothing to be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from graphviz_cli import registry
from graphviz_cli.cli.request import is_saved_graph
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.finding import Finding, Severity, gravest_first
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import Status, verdicts

ALL = "all"
"""Stands for all checks that need no argument."""

MEASURING = frozenset(("non-finite", "zero-gradient", "vanishing-gradient", "exploding-gradient"))
"""Those of ours that read what probes left: a drawing without any does not load them."""


def default_checks() -> list[str]:
    """The names of the checks that need no argument."""
    return [name for name in registry.names("checks") if _needs_nothing(name)]


def create_checks(asked_for: Sequence[str]) -> list[Any]:
    """The checks of the given names and options; all that need no argument where none is given.

    Raises UsageError for a check that there is not, or an option that is wrong.
    """
    return [registry.create("checks", text) for text in _texts(asked_for)]


def needed_probes(asked_for: Sequence[str], *, backward: bool) -> list[str]:
    """The probes whose numbers checks read: those asked for by name, with `backward` all of them.

    Raises UsageError for a check that there is not.
    """
    texts = _texts(asked_for) if backward else [text for text in asked_for if text != ALL]
    return list(dict.fromkeys(need for text in texts for need in _needs(text)))


def unmeasured(asked_for: Sequence[str], graph: Graph) -> list[str]:
    """The checks that can tell nothing of a graph, because nothing that they read was measured.

    Raises UsageError if one of them was asked for by name.
    """
    known = graph.annotations
    missing = []
    for text in _texts(asked_for):
        needs = _needs(text)
        if needs and not any(need in known for need in needs):
            name = text.partition(":")[0].strip()
            if text in asked_for:
                raise UsageError(
                    f"{name} reads what a backward pass has measured, and this graph was saved "
                    "without that.",
                    hint="Save it again with --backward, or check the program itself.",
                )
            missing.append(name)
    return missing


def findings_of(graph: Graph, checks: Iterable[Any]) -> list[Finding]:
    """What the checks find, the gravest first."""
    return gravest_first(finding for check in checks for finding in check.check(graph))


def findings_to_draw(graph: Graph) -> list[Finding]:
    """What every drawing marks: errors and warnings of the checks that come with the program.

    Each of them takes a time that is linear in the size of the graph.
    """
    is_measured = "gradient" in graph.annotations
    known = [name for name in registry.BUILT_IN["checks"] if is_measured or name not in MEASURING]
    names = [name for name in known if _needs_nothing(name)]
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
    if not is_saved_graph(target):
        step = graph.provenance.step
        again += f" --step {step}" if step is not None and step > 1 else ""
        if any(finding.check in MEASURING for finding in findings):
            again += " --backward"
    return f"{text} ({again} tells {tells})"


def _texts(asked_for: Sequence[str]) -> list[str]:
    """The checks that are meant, each once, with their options."""
    texts: list[str] = []
    for text in asked_for or (ALL,):
        texts += default_checks() if text == ALL else [text]
    return list(dict.fromkeys(texts))


def _needs(text: str) -> tuple[str, ...]:
    """The probes that a check needs; another distribution's need not say."""
    plugin = registry.plugin_type("checks", text.partition(":")[0].strip())
    needs: tuple[str, ...] = getattr(plugin, "needs", ())
    return needs


def _needs_nothing(name: str) -> bool:
    fields = dataclasses.fields(registry.plugin_type("checks", name))
    missing = dataclasses.MISSING
    return all(
        f.default is not missing or f.default_factory is not missing for f in fields if f.init
    )
