"""`--backward`: from the options to what is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphviz_cli.graph.serial import loads

PROGRAM = """\
import torch
x = torch.tensor([1.0, 2.0], requires_grad=True)
y = x * x
y.backward(torch.tensor([1.0, 10.0]))
print("the program went on")
"""

SCALAR = """\
import torch
a, b = (torch.tensor(value, requires_grad=True) for value in (2.0, 3.0))
z = a * b
z.backward()
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(PROGRAM)
    return file


def test_a_backward_pass_is_run_and_its_gradients_are_a_column(run, net: Path) -> None:
    ran = run("net.py", "--backward")
    assert ran.returncode == 0, ran.stderr
    first, header, *lines = ran.stdout.decode().splitlines()
    assert "backward from y: [1, 10]" in first and "gradient" in header
    assert "gradient-min" not in header
    leaf = next(line for line in lines if "x" in line)
    assert "40" in leaf.split(), "the norm of (2, 40)"
    assert b"went on" not in ran.stderr + ran.stdout


def test_without_the_option_nothing_is_measured(run, net: Path) -> None:
    text = run("net.py").stdout.decode()
    assert "gradient" not in text and "backward from" not in text


def test_a_saved_graph_keeps_what_was_measured(run, net: Path) -> None:
    assert run("net.py", "--backward", "--probe", "gradient", "-o", "g.json").returncode == 0
    graph = loads((net.parent / "g.json").read_bytes())
    assert graph.provenance.vectors == ("y: [1, 10]",)
    assert {"gradient", "gradient-mean"} <= set(graph.annotations)
    assert graph.annotations["gradient"].inputs
    again = run("g.json", "--columns", "gradient-max")
    assert "gradient-max" in again.stdout.decode()
    refused = run("g.json", "--backward")
    assert refused.returncode == 2 and b"--backward needs a program" in refused.stderr


def test_the_values_of_a_small_graph_stand_at_its_boxes_and_arrows(run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SCALAR)
    ran = run("net.py", "--backward", "--show", "values,formula", "-o", "g.dot")
    assert ran.returncode == 0, ran.stderr
    text = (tmp_path / "g.dot").read_text()
    for told in ("∂z/∂a = 3", "1 · 3 = 3", "∂z/∂b = 2", "a = 2", "z = 6", "= grad z · b"):
        assert told in text, told


def test_a_fact_that_is_left_out_as_0_is_told_as_that(run, net: Path) -> None:
    ran = run("net.py", "--backward", "--columns", "gradient-nan")
    assert ran.returncode == 2
    assert b"gradient-nan is 0 everywhere." in ran.stderr and b"measures it" not in ran.stderr


def test_a_text_tree_says_that_it_has_no_heat(run, net: Path) -> None:
    ran = run("net.py", "--backward", "--heat", "gradient")
    assert ran.returncode == 0
    assert b"--columns gradient adds it" in ran.stderr
    assert b"heat" not in run("net.py", "--backward", "--heat", "gradient", "-o", "g.dot").stderr


def test_colours_and_columns_choose_the_probes_that_they_need(run, net: Path) -> None:
    ran = run("net.py", "--backward", "--heat", "time", "-o", "g.dot", "-o", "g.json")
    assert ran.returncode == 0, ran.stderr
    annotations = json.loads((net.parent / "g.json").read_text())["annotations"]
    assert "backward-time" in annotations and "gradient" in annotations
    assert "backward-time" in (net.parent / "g.dot").read_text()
    columns = run("net.py", "--backward", "--columns", "shape,saved-bytes")
    assert columns.returncode == 0 and b"saved-bytes" in columns.stdout
    missing = run("net.py", "--heat", "gradient", "-o", "g.dot")
    assert missing.returncode == 2 and b"--backward measures it" in missing.stderr


def test_the_ops_that_keep_most_memory_are_told(run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nx = torch.ones(100, requires_grad=True)\ny = x.exp()\n"
        "w = (y[:75] + y[25:]).sin().sum()\nw.backward()\n"
    )
    ran = run("net.py", "--probe", "saved-bytes")
    lines = ran.stderr.decode().splitlines()
    start = lines.index("700 B saved for backward, most of it by:")
    assert lines[start + 1].split() == ["400", "B", "57%", "ExpBackward0", "net.py:3"]
    assert lines[start + 2].split() == ["300", "B", "43%", "SinBackward0", "net.py:4"]
    assert not run("net.py", "--probe", "saved-bytes", "-q").stderr


def test_where_the_backward_pass_starts_can_be_chosen(run, net: Path) -> None:
    ran = run("net.py", "--backward", "--grad-output", "1,0", "--show", "values")
    text = ran.stdout.decode()
    assert "backward from y: [1, 0]" in text and "[2, 0]" in text
    lonely = run("net.py", "--grad-output", "ones")
    assert lonely.returncode == 2 and b"Add --backward" in lonely.stderr
    wrong = run("net.py", "--backward", "--grad-output", "1,2,3")
    assert wrong.returncode == 2 and b"3 numbers" in wrong.stderr


def test_an_unknown_probe_is_refused_before_the_program_runs(run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise SystemError\n")
    ran = run("net.py", "--probe", "gradent")
    assert ran.returncode == 2 and b"Did you mean 'gradient'?" in ran.stderr


def test_an_error_in_the_users_backward_is_told_and_what_was_seen_is_drawn(
    run, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Fails(torch.autograd.Function):\n"
        "    @staticmethod\n"
        "    def forward(ctx, x):\n"
        "        return x.clone()\n"
        "    @staticmethod\n"
        "    def backward(ctx, gradient):\n"
        "        raise ValueError('not today')\n"
        "x = torch.ones(2, requires_grad=True)\n"
        "(Fails.apply(x) * 3).sum().backward()\n"
    )
    ran = run("net.py", "--backward", "-o", "g.json")
    assert ran.returncode == 3 and b"not today" in ran.stderr
    graph = loads((tmp_path / "g.json").read_bytes())
    assert any("ended early" in note for note in graph.provenance.notes)
    assert graph.annotations["gradient"].values, "what was seen until then"


def test_a_hook_that_changes_a_gradient_is_told_in_the_tree(run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        SCALAR.replace("z.backward", "a.register_hook(lambda g: -g)\nz.backward")
    )
    text = run("net.py", "--backward").stdout.decode()
    assert "a hook changed the gradient that the leaf receives" in text
