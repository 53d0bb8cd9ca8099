"""Findings as annotations of a GitHub workflow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


@dataclass(frozen=True, slots=True)
class GitHub:
    """Workflow commands that GitHub shows beside the line of a pull request.

    The syntax is that of "Workflow commands for GitHub Actions" in GitHub's documentation.
    """

    suffix: ClassVar[str] = ".txt"
    from_top: ClassVar[bool] = True
    """It names files as seen from the top of the repository."""

    def report(self, findings: Sequence[Finding], graph: Graph) -> str:
        """One command a finding."""
        lines = []
        for finding in findings:
            properties = []
            if finding.source:
                properties.append(f"file={_property(finding.source.file)}")
                properties.append(f"line={finding.source.line}")
                if finding.source.column is not None:
                    properties.append(f"col={finding.source.column}")
            properties.append(f"title={_property(finding.check)}")
            text = f"{finding.message} {finding.hint}".strip()
            command = _COMMANDS[finding.severity]
            lines.append(f"::{command} {','.join(properties)}::{_message(text)}")
        return "".join(f"{line}\n" for line in lines)


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
