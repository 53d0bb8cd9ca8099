"""Findings as test results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from xml.etree import ElementTree

from graphviz_cli.drawing.format import visible
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph


@dataclass(frozen=True, slots=True)
class JUnit:
    """JUnit XML: one test case a finding, failed where it is an error."""

    suffix: ClassVar[str] = ".xml"

    def report(self, findings: Sequence[Finding], graph: Graph) -> str:
        """A suite that passes as one test case where there is no finding."""
        failures = sum(finding.severity is Severity.ERROR for finding in findings)
        suite = ElementTree.Element(
            "testsuite",
            name=visible(f"graphviz-cli {graph.provenance.target}"),
            tests=str(max(1, len(findings))),
            failures=str(failures),
            errors="0",
            skipped="0",
        )
        if not findings:
            ElementTree.SubElement(suite, "testcase", classname="graphviz-cli", name="no findings")
        for finding in findings:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"graphviz-cli.{finding.check}",
                name=visible(finding.message),
            )
            if finding.source:
                case.set("file", visible(finding.source.file))
                case.set("line", str(finding.source.line))
            text = visible(f"{finding.message} {finding.hint}".strip())
            if finding.severity is Severity.ERROR:
                failure = ElementTree.SubElement(case, "failure", type=finding.check, message=text)
                failure.text = text
            else:
                ElementTree.SubElement(case, "system-out").text = text
        suites = ElementTree.Element("testsuites")
        suites.append(suite)
        ElementTree.indent(suites)
        return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
