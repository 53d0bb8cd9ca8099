"""Findings for other programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from graphviz_cli.graph.finding import Finding
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import verdicts


@dataclass(frozen=True, slots=True)
class Json:
    """The verdicts and the findings as JSON; nodes are ids of the saved graph."""

    suffix: ClassVar[str] = ".json"

    def report(self, findings: Sequence[Finding], graph: Graph) -> str:
        """`{"target", "partial", "parameters": [{"name", "node", "verdict", ...}], "findings"}`.

        A parameter whose gradient is cut has the `file` and the `line` of the cut. There are no
        verdicts where the target failed before it was done.
        """
        report = {
            "target": graph.provenance.target,
            "partial": graph.provenance.partial,
            "parameters": [] if graph.provenance.partial else _parameters(graph),
            "findings": [_row(finding, graph) for finding in findings],
        }
        return json.dumps(report, indent=1) + "\n"


def _parameters(graph: Graph) -> list[dict[str, Any]]:
    rows = []
    for leaf, verdict in verdicts(graph, parameters_only=True).items():
        row: dict[str, Any] = {
            "name": graph.nodes[leaf].label,
            "node": leaf,
            "verdict": str(verdict.status),
        }
        if verdict.reason:
            row["reason"] = verdict.reason
        if verdict.cuts:
            cut = graph.nodes[verdict.cuts[0]]
            row |= {"cut": cut.name, "severed": verdict.is_severed}
            if cut.source:
                row |= {"file": cut.source.file, "line": cut.source.line}
        rows.append(row)
    return rows


def _row(finding: Finding, graph: Graph) -> dict[str, Any]:
    row: dict[str, Any] = {
        "check": finding.check,
        "severity": str(finding.severity),
        "message": finding.message,
        "nodes": list(finding.nodes),
        "names": [graph.nodes[node].label for node in finding.nodes],
    }
    if finding.hint:
        row["hint"] = finding.hint
    if finding.source:
        row |= {"file": finding.source.file, "line": finding.source.line}
    return row
