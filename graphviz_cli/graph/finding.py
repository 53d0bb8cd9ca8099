"""What a check has to say, in a form that every report and exporter can show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from graphviz_cli.graph.model import Annotation, Graph, SourceLocation

FINDINGS = "finding"
"""Name of the annotation that marks the nodes of findings."""

_MOST_NAMES = 3


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, about a graph."""

    check: str
    """Name of the check that found it."""
    severity: Severity
    message: str
    """One sentence."""
    nodes: tuple[int, ...] = ()
    """The nodes that it is about, the most important first."""
    source: SourceLocation | None = None
    """The line to look at."""
    hint: str = ""
    """What to do about it."""


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings by severity; those of one severity stay in their order."""
    return sorted(findings, key=lambda finding: finding.severity.rank)


def marked(graph: Graph, findings: Iterable[Finding]) -> Graph:
    """The graph with its findings as an annotation; a node with several shows the gravest.

    A value is `check: message`. Without findings the graph is what it was.
    """
    values: dict[int, float | int | str] = {}
    for finding in gravest_first(findings):
        for node in finding.nodes:
            values.setdefault(node, f"{finding.check}: {finding.message}")
    if not values:
        return graph
    return graph.annotated(Annotation(FINDINGS, dict(sorted(values.items()))))


def findings_on(graph: Graph) -> list[str]:
    """The texts with which the nodes of a graph are marked, each once, by the first node."""
    annotation = graph.annotations.get(FINDINGS)
    values = {} if annotation is None else annotation.values
    return list(dict.fromkeys(str(values[node]) for node in sorted(values)))


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`, or `a, b, c and 2 more`."""
    shown, rest = list(names[:_MOST_NAMES]), len(names) - _MOST_NAMES
    if rest > 0:
        return f"{', '.join(shown)} and {rest:,} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def check_of(mark: object) -> str:
    """The name of the check in the text with which a node is marked."""
    return str(mark).partition(":")[0]
