"""Which checks run by themselves, and the one line that sums them up."""

from dataclasses import replace

import pytest

from graphviz_cli import registry
from graphviz_cli.cli.findings import (
    MEASURING,
    create_checks,
    default_checks,
    findings_to_draw,
    needed_probes,
    verdict_line,
)
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph
from tests.checks.test_verdict import severed
from tests.graphs import Builder


def healthy() -> Graph:
    b = Builder()
    return b.build(b.op("MulBackward0", (3,), b.leaf("w", 3)))


def test_checks_that_need_a_number_do_not_run_by_themselves() -> None:
    left_out = {*registry.names("checks")} - {*default_checks()}
    assert left_out == {"saved-bytes", "node-count", "forbidden-op"}


def test_all_and_a_check_that_is_among_them_run_once() -> None:
    checks = create_checks(["all", "unused-parameter", "node-count:max=1"])
    assert len(checks) == len(default_checks()) + 1
    with pytest.raises(UsageError, match="needs 'max'"):
        create_checks(["node-count"])


def test_those_that_read_measurements_are_known_without_loading_them() -> None:
    names = registry.BUILT_IN["checks"]
    assert {name for name in names if registry.plugin_type("checks", name).needs} == MEASURING


def test_the_probes_of_a_check_come_with_its_name_or_with_a_backward_pass() -> None:
    assert needed_probes([], backward=False) == []
    assert needed_probes(["all"], backward=False) == []
    assert needed_probes(["zero-gradient", "all"], backward=False) == ["gradient", "output"]
    assert needed_probes([], backward=True) == ["gradient", "output", "saved-range"]


def test_a_drawing_marks_no_notes() -> None:
    assert findings_to_draw(healthy()) == []  # its root of three elements is a note
    assert {finding.check for finding in findings_to_draw(severed())} == {
        "unused-parameter",
        "severed-gradient",
    }


def test_the_line_counts_the_parameters_without_gradient() -> None:
    graph = severed()
    assert verdict_line(graph, "train.py", findings_to_draw(graph)) == (
        "2 of 3 parameters get no gradient (graphviz-cli check train.py tells why)"
    )


def test_other_findings_are_told_by_the_gravest() -> None:
    findings = [
        Finding("a", Severity.ERROR, "This is wrong."),
        Finding("b", Severity.WARNING, "That is odd."),
    ]
    line = verdict_line(healthy(), "-", findings)
    assert line == "This is wrong, and 1 more (graphviz-cli check tells more)"


def test_what_a_backward_pass_has_shown_needs_one_to_be_told_again() -> None:
    findings = [Finding("non-finite", Severity.ERROR, "This is NaN.")]
    line = verdict_line(healthy(), "train.py", findings)
    assert line == "This is NaN (graphviz-cli check train.py --backward tells more)"
    assert "--backward" not in verdict_line(healthy(), "net.json", findings)
    later = replace(healthy(), provenance=replace(healthy().provenance, step=13))
    assert "check train.py --step 13 --backward tells" in verdict_line(later, "train.py", findings)


def test_nothing_is_said_where_nothing_is_wrong_or_the_target_failed() -> None:
    assert verdict_line(healthy(), "train.py", []) == ""
    graph = severed()
    partial = replace(graph, provenance=replace(graph.provenance, partial=True))
    found = [Finding("autograd-error", Severity.ERROR, "It failed.")]
    assert verdict_line(partial, "train.py", found) == ""
