"""`graphviz-cli why` as a user runs it."""

from __future__ import annotations

from pathlib import Path

from graphviz_cli.graph.serial import dumps
from tests.reports.test_explanation import net

from .conftest import Run


def save(folder: Path) -> None:
    (folder / "net.json").write_bytes(dumps(net()))


def test_every_name_gets_a_paragraph(run: Run, tmp_path: Path) -> None:
    save(tmp_path)
    ran = run("why", "net.json", "gate.weight", "spare", "h")
    assert ran.returncode == 0, ran.stderr
    first, second, third = ran.stdout.decode().split("\n\n")
    assert first.startswith("net.gate.weight gets no gradient.")
    assert second.startswith("net.spare.* (2 parameters) are never used")
    assert third.startswith("h gets a gradient, 1 step from the root loss:")


def test_an_unknown_name_is_exit_2_with_the_closest(run: Run, tmp_path: Path) -> None:
    save(tmp_path)
    ran = run("why", "net.json", "gate.wieght")
    assert ran.returncode == 2
    assert b"Did you mean net.gate.weight" in ran.stderr
    assert ran.stdout == b""


def test_the_picture_is_the_path_and_its_neighbours(run: Run, tmp_path: Path) -> None:
    save(tmp_path)
    ran = run("why", "net.json", "gate.weight", "-o", "why.dot", "-o", "why.txt")
    assert ran.returncode == 0, ran.stderr
    picture = (tmp_path / "why.dot").read_text()
    assert '"net.gate.Mm"' in picture
    assert '"net.spare' not in picture
    assert "✂ detach" in (tmp_path / "why.txt").read_text()


def test_a_name_is_required(run: Run, tmp_path: Path) -> None:
    save(tmp_path)
    ran = run("why", "net.json")
    assert ran.returncode == 2
    assert b"NAME" in ran.stderr


def test_a_program_is_run_with_its_arguments(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import sys, torch\nw = torch.ones(3, requires_grad=True)\n"
        "loss = (w * float(sys.argv[1])).sum()\nloss.backward()\n"
    )
    ran = run("why", "net.py", "w", "--", "2.5")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.decode().splitlines()[0] == "w gets a gradient, 2 steps from the root loss:"
    assert "net.py:3: w * float(sys.argv[1])" in ran.stdout.decode()
