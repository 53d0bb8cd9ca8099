"""`graphviz-cli check` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphviz_cli.graph.serial import dumps
from tests.checks.test_verdict import severed

from .conftest import Run

PROGRAM = """\
import torch
from torch import nn
net = nn.ModuleDict({"body": nn.Linear(2, 2), "gate": nn.Linear(2, 2), "spare": nn.Linear(2, 2)})
h = net["body"](torch.ones(3, 2))
g = net["gate"](torch.ones(3, 2))
h = h * torch.tensor(g.mean())
loss = h.sum()
loss.backward()
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    path.write_bytes(dumps(severed()))
    return path


def test_a_saved_graph_is_judged_and_an_error_is_exit_1(run: Run, graph: Path) -> None:
    ran = run("check", "net.json")
    assert ran.returncode == 1, ran.stderr
    lines = ran.stdout.decode().splitlines()
    assert lines[0] == "1 of 3 parameters gets a gradient."
    assert "  u: never used" in lines
    assert any(line.startswith("error: u is never used") for line in lines)
    assert any(line.startswith("warning: w gets no gradient") for line in lines)


def test_what_makes_it_fail_can_be_chosen(run: Run, graph: Path) -> None:
    assert run("check", "net.json", "--exit-zero").returncode == 0
    assert run("check", "net.json", "-c", "severed-gradient").returncode == 0
    warned = run("check", "net.json", "-c", "severed-gradient", "--fail-on", "warning")
    assert warned.returncode == 1
    assert b"unused-parameter" not in warned.stdout


def test_a_check_with_an_option_can_be_added_to_all(run: Run, graph: Path) -> None:
    ran = run("check", "-", "-c", "all", "-c", "node-count:max=1", input=graph.read_bytes())
    assert b"2 backward ops, 1 are allowed" in ran.stdout
    assert b"unused-parameter" in ran.stdout


def test_an_unknown_check_is_told_before_the_target_is_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("open('ran', 'w')")
    ran = run("check", "net.py", "-c", "unused-parametre")
    assert ran.returncode == 2
    assert b"Did you mean 'unused-parameter'?" in ran.stderr
    assert not (tmp_path / "ran").exists()


def test_reports_go_to_their_files(run: Run, graph: Path, tmp_path: Path) -> None:
    ran = run("check", "net.json", "--report", "json", "--report", "sarif:out.sarif")
    assert json.loads(ran.stdout)["parameters"]
    assert json.loads((tmp_path / "out.sarif").read_bytes())["version"] == "2.1.0"
    assert ran.stderr.decode().splitlines()[-1].startswith("wrote out.sarif (")


def test_two_reports_for_programs_do_not_share_stdout(run: Run, graph: Path) -> None:
    ran = run("check", "net.json", "--report", "json", "--report", "junit")
    assert ran.returncode == 2
    assert b"would mix on stdout" in ran.stderr


def test_settings_may_stand_in_pyproject(run: Run, graph: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.graphviz-cli]\ncheck = ["node-count:max=9"]\nfail-on = "note"\n'
    )
    assert run("check", "net.json").returncode == 0


def test_in_an_action_the_annotation_stands_at_the_line_of_the_repository(
    run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "tools" / "net"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(PROGRAM)
    action = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path)}
    ran = run("check", "train.py", cwd=folder, env=action)
    assert ran.returncode == 1, ran.stderr
    commands = [line for line in ran.stdout.decode().splitlines() if line.startswith("::")]
    (cut,) = (line for line in commands if "title=severed-gradient" in line)
    assert cut.startswith("::error file=tools/net/train.py,line=6,col=9,")
    assert any(line.startswith("::error title=unused-parameter") for line in commands)
    piped = run(
        *("check", "train.py", "--report", "json", "--report", "sarif:out.sarif"),
        cwd=folder,
        env=action,
    )
    assert b"::error" in piped.stderr
    places = [finding.get("file") for finding in json.loads(piped.stdout)["findings"]]
    assert "train.py" in places
    assert '"uri": "tools/net/train.py"' in (folder / "out.sarif").read_text()


def test_a_program_that_fails_is_exit_3_and_its_error_is_explained(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nw = torch.ones(3, requires_grad=True)\ny = w * 2\ny.backward()\n"
    )
    ran = run("check", "net.py")
    assert ran.returncode == 3
    assert b"No verdict on the parameters" in ran.stdout
    assert b"error: net.py:4: y has the shape [3]" in ran.stdout
    assert b"MulBackward0 at net.py:3" in ran.stdout
    assert b"only for scalar outputs" in ran.stderr
    drawn = run("net.py")
    assert drawn.returncode == 3
    assert "⚠ autograd-error" in drawn.stdout.decode()
    assert b"net.py:4: y has the shape [3]" in drawn.stderr


def test_the_drawing_ends_with_one_line_on_what_is_wrong(run: Run, graph: Path) -> None:
    ran = run("net.json")
    assert ran.returncode == 0
    assert ran.stderr.decode().splitlines()[-1] == (
        "2 of 3 parameters get no gradient (graphviz-cli check net.json tells why)"
    )
    assert "⚠ unused-parameter: u is never used" in ran.stdout.decode()
    assert run("-q", "net.json").stderr == b""


def test_the_drawing_of_a_healthy_graph_says_nothing(run: Run, saved: Path) -> None:
    ran = run("net.json", "--depth", "all", "--no-repeats", "--show", "views")
    assert b"check" not in ran.stderr
    assert "⚠" not in ran.stdout.decode()


def test_the_findings_are_in_the_saved_graph(run: Run, graph: Path) -> None:
    saved = json.loads(run("net.json", "-f", "json").stdout)
    assert "unused-parameter: u is never used" in json.dumps(saved["annotations"])


def test_without_the_search_for_cuts_no_parameter_is_called_unused(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(PROGRAM)
    assert "⚠ unused-parameter" in run("train.py").stdout.decode()
    ran = run("train.py", "--no-cuts")
    assert ran.returncode == 0
    assert "⚠" not in ran.stdout.decode()
    assert b"tells why" not in ran.stderr
    assert run("check", "train.py", "--no-cuts").returncode == 2


NAN = """\
import torch
x = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
y = x.sqrt()
loss = y.sum()
loss.backward()
"""
MEASURED = ("non-finite", "zero-gradient", "vanishing-gradient", "exploding-gradient")


def test_with_a_backward_pass_the_op_that_makes_nan_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(NAN)
    ran = run("check", "train.py", "--backward", "--report", "text", "--report", "github:out")
    assert ran.returncode == 1, ran.stderr
    assert (
        "error: train.py:3: SqrtBackward0 (y) turns a finite gradient into inf in 1 of 3 elements: "
        "grad self = grad / (2 * result) (grad: 1; saved result: 0 to 1.41). [non-finite]"
    ) in ran.stdout.decode()
    assert b"not checked" not in ran.stderr
    assert (tmp_path / "out").read_text().startswith("::error file=train.py,line=3,col=5,")


def test_without_one_a_note_says_what_was_not_checked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(NAN)
    ran = run("check", "train.py", "--report", "json")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["findings"] == []
    assert ran.stderr.decode().strip() == (
        f"note: without --backward not checked: {', '.join(MEASURED)}"
    )
    assert run("check", "train.py", "-q").stderr == b""
    assert b"not checked" not in run("check", "train.py", "-c", "unused-parameter").stderr


def test_a_check_that_is_named_brings_its_measurement(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(NAN)
    ran = run("check", "train.py", "-c", "non-finite", "-c", "vanishing-gradient:ratio=1e-3")
    assert ran.returncode == 1
    assert b"result: 0 to 1.41" in ran.stdout
    assert ran.stderr == b""


def test_a_saved_graph_tells_what_was_measured_when_it_was_saved(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(NAN)
    run("train.py", "--backward", "-o", "measured.json")
    told = run("check", "measured.json")
    assert told.returncode == 1
    assert b"grad / (2 * result) (grad: 1). [non-finite]" in told.stdout
    assert run("check", "measured.json", "-c", "non-finite").returncode == 1
    run("train.py", "-o", "bare.json")
    assert run("check", "bare.json").returncode == 0
    refused = run("check", "bare.json", "-c", "non-finite")
    assert refused.returncode == 2
    first, _ = refused.stderr.decode().splitlines()
    assert first == (
        "error: non-finite reads what a backward pass has measured, and this graph was saved "
        "without that."
    )


def test_a_drawing_marks_what_a_backward_pass_has_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(NAN)
    ran = run("train.py", "--backward")
    assert "⚠ non-finite: SqrtBackward0 (y) turns a finite gradient" in ran.stdout.decode()
    assert ran.stderr.decode().splitlines()[-1].startswith("SqrtBackward0 (y) turns a finite")
    assert "⚠" not in run("train.py").stdout.decode()
