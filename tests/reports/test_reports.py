"""What the reports say, read back by parsers that are not ours."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from graphviz_cli import registry
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Role, SourceLocation
from tests.checks.test_verdict import severed
from tests.graphs import Builder

SARIF_SCHEMA = (
    Path(__file__).parent.parent
    / "judges/node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json"
)
"""The published schema, of JSON Schema's draft 4."""
PLACE = SourceLocation("src/a b,c:d.py", 7, 5, 8, 20, "forward", "x.detach()")
FINDINGS = [
    Finding("severed-gradient", Severity.ERROR, "100% of w\nis lost.", (1,), PLACE, "Mend it."),
    Finding("non-scalar-root", Severity.NOTE, 'Names hold <, & and "quotes".'),
]
ERRORS = [Finding("autograd-error", Severity.ERROR, "It was freed.", (), PLACE)]


def report(name: str, findings: list[Finding]) -> str:
    text: str = registry.create("reports", name).report(findings, severed())
    return text


def test_github_gets_one_escaped_command_a_finding() -> None:
    assert report("github", FINDINGS).splitlines() == [
        "::error file=src/a b%2Cc%3Ad.py,line=7,col=5,title=severed-gradient::"
        "100%25 of w%0Ais lost. Mend it.",
        '::notice title=non-scalar-root::Names hold <, & and "quotes".',
    ]


def test_sarif_points_into_the_file_and_into_its_rules() -> None:
    log = json.loads(report("sarif", FINDINGS))
    run = log["runs"][0]
    first = run["results"][0]
    assert log["version"] == "2.1.0"
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == first["ruleId"]
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "src/a%20b%2Cc%3Ad.py"
    assert place["region"] == {"startLine": 7, "startColumn": 5, "endLine": 8, "endColumn": 20}
    assert "locations" not in run["results"][1]
    title = run["tool"]["driver"]["rules"][first["ruleIndex"]]["shortDescription"]["text"]
    assert title.startswith("A parameter whose value goes into the root")


@pytest.mark.skipif(
    not SARIF_SCHEMA.exists(),
    reason="SARIF's schema is not installed: `npm install --prefix tests/judges` (needs Node.js)",
)
@pytest.mark.parametrize("findings", [[], FINDINGS, ERRORS])
def test_sarif_is_valid_by_the_published_schema(findings: list[Finding]) -> None:
    schema = json.loads(SARIF_SCHEMA.read_bytes())
    validator = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    log = json.loads(report("sarif", findings))
    assert list(validator.iter_errors(log)) == []
    log["runs"][0]["tool"]["driver"]["rules"] = [{}]
    assert list(validator.iter_errors(log)) != []


def test_junit_fails_for_errors_alone() -> None:
    suite = ElementTree.fromstring(report("junit", FINDINGS))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [len(case.findall("failure")) for case in suite] == [1, 0]


def test_junit_without_findings_is_one_test_that_passes() -> None:
    suite = ElementTree.fromstring(report("junit", []))[0]
    assert (suite.get("tests"), suite.get("failures"), len(suite)) == ("1", "0", 1)


def test_json_names_the_nodes() -> None:
    rows = json.loads(report("json", FINDINGS))["findings"]
    assert rows[0]["file"] == "src/a b,c:d.py"
    assert rows[0]["names"] == [severed().nodes[1].label]


def test_json_has_the_verdict_on_every_parameter() -> None:
    rows = json.loads(report("json", []))["parameters"]
    assert {row["name"]: row["verdict"] for row in rows} == {
        "v": "reached",
        "w": "cut",
        "u": "unused",
    }
    (cut,) = (row for row in rows if row["verdict"] == "cut")
    assert (cut["cut"], cut["severed"]) == ("detach", True)


def test_text_says_place_message_and_hint() -> None:
    text = report("text", FINDINGS)
    assert "error: src/a b,c:d.py:7: 100% of w" in text
    assert "  Mend it.\n" in text


def test_text_tells_the_fate_of_every_parameter_the_lost_ones_first() -> None:
    assert report("text", []).splitlines() == [
        "1 of 3 parameters gets a gradient.",
        "  w: cut: the gradient is lost at detach()",
        "  u: never used",
        "  v: reached",
    ]


def test_text_gives_no_verdict_where_the_target_failed() -> None:
    graph = severed()
    graph = replace(graph, provenance=replace(graph.provenance, partial=True))
    text = registry.create("reports", "text").report([], graph)
    assert text == "No verdict on the parameters: the target failed before it was done.\n"


def test_text_of_a_graph_without_parameters_tells_of_its_leaves() -> None:
    b = Builder()
    b.leaf("y", 3, role=Role.INPUT)
    graph = b.build(b.op("SumBackward0", (), b.leaf("x", 3, role=Role.INPUT)))
    text = registry.create("reports", "text").report([], graph)
    assert text == "1 of 2 leaves gets a gradient.\n  y: never used\n  x: reached\n"


def test_github_without_findings_is_no_line() -> None:
    assert report("github", []) == ""
