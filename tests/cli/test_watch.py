"""`graphviz-cli watch`: from the options to what is written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import COMMAND, environment

PROGRAM = """\
import sys
import torch
torch.manual_seed(0)
x = torch.rand(8, 3)
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(1, int(sys.argv[1]) + 1):
    loss = model(x).square().mean()
    if step == 17:
        loss = loss + model.bias.square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("the end")
"""


@pytest.fixture
def train(tmp_path: Path) -> Path:
    file = tmp_path / "train.py"
    file.write_text(PROGRAM)
    return file


def test_a_run_is_told_on_stdout_and_its_own_prints_go_to_stderr(run, train: Path) -> None:
    ran = run("watch", "train.py", "--", "20")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.decode().splitlines() == ["the end"]
    text = ran.stdout.decode()
    assert "train.py" in text and "20" in text
    assert "step 17" in text
    assert "PowBackward0" in text and "train.py:10" in text, "how it changed, and where"


def test_a_long_run_with_one_graph_is_told_so(run, train: Path) -> None:
    train.write_text(PROGRAM.replace("step == 17", "False"))
    ran = run("watch", "train.py", "--", "1000")
    assert ran.returncode == 0, ran.stderr
    assert "1,000 steps had one graph" in ran.stdout.decode()


def test_every_format_is_written_in_one_run(run, train: Path) -> None:
    names = ("run.txt", "run.svg", "run.html", "run.json")
    ran = run("watch", "train.py", *(w for n in names for w in ("-o", n)), "--", "20")
    assert ran.returncode == 0, ran.stderr
    assert not ran.stdout
    told = ran.stderr.decode()
    for name in names:
        assert f"wrote {name} (20 steps)" in told
    assert told.count("the end") == 1
    assert "step 17" in told, "files leave stdout free, and what there is to tell is told"
    ElementTree.parse(train.parent / "run.svg")
    assert "Content-Security-Policy" in (train.parent / "run.html").read_text()
    json.loads((train.parent / "run.json").read_text())


def test_only_each_tenth_call_is_measured_when_asked_for(run, train: Path) -> None:
    ran = run("watch", "train.py", "--every", "10", "-f", "json", "--", "35")
    assert ran.returncode == 0, ran.stderr
    text = ran.stdout.decode()
    assert "[1,11,21,31]" in text.replace(" ", "").replace("\n", "")


def test_a_run_is_stopped_once_enough_was_seen(run, train: Path) -> None:
    ran = run("watch", "train.py", "--until", "3", "-o", "run.json", "--", "20")
    assert ran.returncode == 0, ran.stderr
    assert "wrote run.json (3 steps)" in ran.stderr.decode()
    assert b"the end" not in ran.stderr


def test_what_was_measured_before_a_failure_is_kept(run, train: Path) -> None:
    train.write_text(PROGRAM + "raise ValueError('too late')\n")
    ran = run("watch", "train.py", "--", "5")
    assert ran.returncode == 3
    assert "5" in ran.stdout.decode() and ran.stdout
    told = ran.stderr.decode()
    assert "ValueError: too late" in told and "graphviz_cli" not in told


def test_ctrl_c_keeps_what_was_measured(train: Path) -> None:
    train.write_text(PROGRAM.replace("optimizer.step()", "optimizer.step(); print(step)"))
    process = subprocess.Popen(
        [*COMMAND, "watch", "train.py", "-o", "run.json", "--", "10000000"],
        cwd=train.parent,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    deadline = time.monotonic() + 60
    for line in process.stderr:
        if line.strip() == b"5":
            break
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert b"Interrupted after" in told and b"Traceback" not in told
    history = json.loads((train.parent / "run.json").read_text())
    assert history["ending"] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("net.json",), "is a saved graph"),
        (("train.py:model",), "train.py"),
        (("missing.py",), "missing.py"),
        (("train.py", "-o", "run.pdf"), "'.pdf'"),
        (("train.py", "-f", "tree"), "no chart named 'tree'"),
        (("train.py", "--every", "0"), "--every"),
        (("train.py", "-o", "nowhere/run.svg"), "nowhere"),
    ],
)
def test_a_mistake_is_told_in_a_line_before_anything_runs(
    run, train: Path, saved: Path, arguments: tuple[str, ...], told: str
) -> None:
    train.write_text("print('it ran')\n")
    ran = run("watch", *arguments)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.decode().startswith("error: ") and told in ran.stderr.decode()
    assert b"it ran" not in ran.stderr


def test_a_program_without_a_backward_call_is_told_so(run, train: Path) -> None:
    train.write_text("import torch\nx = torch.ones(2, requires_grad=True).sum()\n")
    ran = run("watch", "train.py")
    assert ran.returncode == 4
    assert "backward" in ran.stderr.decode()


def test_settings_for_drawings_are_none_for_charts(run, train: Path) -> None:
    (train.parent / "pyproject.toml").write_text(
        '[tool.graphviz-cli]\nformat = "pdf"\noutput = ["graph.pdf"]\nevery = 5\n'
    )
    ran = run("watch", "train.py", "--", "7")
    assert ran.returncode == 0, ran.stderr
    assert "train.py" in ran.stdout.decode()
    assert not (train.parent / "graph.pdf").exists()


def test_weights_are_those_of_plain_python(run, train: Path) -> None:
    train.write_text(PROGRAM + "print(model.weight.tolist(), torch.rand(1).item())\n")
    plain = subprocess.run(
        [sys.executable, "train.py", "20"], cwd=train.parent, capture_output=True, check=True
    )
    watched = run("watch", "train.py", "--", "20")
    assert watched.stderr == plain.stdout
