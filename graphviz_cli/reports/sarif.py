"""Findings in the Static Analysis Results Interchange Format."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from graphviz_cli import __version__, registry
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.finding import Finding
from graphviz_cli.graph.model import Graph, SourceLocation

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


@dataclass(frozen=True, slots=True)
class Sarif:
    """SARIF 2.1.0, as code scanning services read it (OASIS standard, 2020)."""

    suffix: ClassVar[str] = ".sarif"
    from_top: ClassVar[bool] = True
    """It names files as seen from the top of the repository."""

    def report(self, findings: Sequence[Finding], graph: Graph) -> str:
        """One run with one result a finding."""
        rules = sorted({finding.check for finding in findings})
        run = {
            "tool": {
                "driver": {
                    "name": "graphviz-cli",
                    "version": __version__,
                    "rules": [_rule(rule) for rule in rules],
                }
            },
            "results": [_result(finding, rules.index(finding.check)) for finding in findings],
        }
        log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
        return json.dumps(log, indent=1) + "\n"


def _rule(check: str) -> dict[str, Any]:
    try:
        title, advice = registry.describe(registry.plugin_type("checks", check))
    except UsageError:  # an error of torch's, which no check has found
        return {"id": check}
    return {
        "id": check,
        "shortDescription": {"text": title},
        "fullDescription": {"text": advice or title},
    }


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.check,
        "ruleIndex": rule,
        "level": str(finding.severity),
        "message": {"text": f"{finding.message} {finding.hint}".strip()},
    }
    if finding.source:
        result["locations"] = [{"physicalLocation": _location(finding.source)}]
    return result


def _location(source: SourceLocation) -> dict[str, Any]:
    region = {
        "startLine": source.line,
        "startColumn": source.column,
        "endLine": source.end_line,
        "endColumn": source.end_column,
    }
    return {
        "artifactLocation": {"uri": quote(source.file.replace("\\", "/"))},
        "region": {key: value for key, value in region.items() if value is not None},
    }
