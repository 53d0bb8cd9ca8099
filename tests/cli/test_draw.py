"""Every option of the view and the output reaches what is drawn."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import stat
import subprocess
import time

import pytest

from graphviz_cli.cli import progress as progress_module
from graphviz_cli.cli.progress import progress
from graphviz_cli.cli.streams import Streams

from .conftest import COMMAND, environment


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--title", "My <net>"], rb"My &lt;net&gt;"),
        (["--direction", "right"], rb"rankdir=LR"),
        (["--theme", "dark"], rb"bgcolor=\"#14171C\""),
        (["--heat", "saved"], rb"saved"),
        (["--no-repeats"], rb"net\.11\.weight"),
        (["--depth", "0"], rb"Net"),
        (["--module", "net.3", "--no-repeats"], rb"net\.3\.weight"),
        (["--fold", "net.[0-5]", "--no-repeats"], rb"Linear"),
        (["--show", "views", "--no-repeats"], rb"\bT\b|TBackward0"),
    ],
)
def test_an_option_changes_the_picture_and_shows_in_it(run, saved, arguments, pattern):
    usual = run(saved, "-f", "dot").stdout
    ran = run(saved, "-f", "dot", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout != usual
    assert re.search(pattern, ran.stdout)


def test_the_cuts_of_a_loop_are_one_and_its_steps_too_unless_all_are_wanted(run, tmp_path):
    lines = [
        "import torch",
        "gate = torch.ones(3, requires_grad=True)",
        "scores, y = gate.softmax(0), 0.0",
        "for k in range(10):",
        "    weight = torch.ones(3, requires_grad=True)",
        "    y = y + weight * scores * (scores.argmax() == k)",
        "y.sum().backward()",
    ]
    (tmp_path / "experts.py").write_text("\n".join(lines))
    ran = run("experts.py")
    shown = ran.stdout.decode()
    assert shown.count("the gradient ends here") == 1
    assert "✂ integer output ×10" in shown
    assert "10 cuts drawn as 1 (--no-repeats)" in shown
    assert "step 1..9 ×9" in shown
    assert ran.stderr.decode().count("--no-repeats") == 1
    ran = run("experts.py", "--no-repeats")
    assert ran.stdout.decode().count("the gradient ends here") == 10


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--by", "ops"], "MmBackward0"),
        (["--columns", "params,dtype"], r"params +dtype"),
        (["-c", "params", "-c", "dtype"], r"params +dtype"),
        (["--ascii"], r"\|-- |`-- |\+-- "),
        (["--title", "Mine"], "^Mine"),
    ],
)
def test_an_option_changes_the_tree_and_shows_in_it(run, saved, arguments, pattern):
    usual = run(saved).stdout
    ran = run(saved, *arguments)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout != usual
    assert re.search(pattern, ran.stdout.decode(), re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--module", "nothing.*"], "No module matches 'nothing.*'"),
        (["--columns", "colour"], "There is no column 'colour'"),
        (["--heat", "nothing", "-f", "dot"], "nothing"),
    ],
)
def test_what_the_graph_does_not_have_is_an_error_of_one_line(run, saved, arguments, words):
    ran = run(saved, *arguments)
    assert ran.returncode == 2 and ran.stdout == b""
    text = ran.stderr.decode()
    assert text.startswith("error: ") and words in text


def test_a_view_that_is_wrong_is_told_once_and_the_whole_graph_is_saved_all_the_same(
    run, saved, tmp_path
):
    places = ("-o", "a.dot", "-o", "b.txt", "-o", "c.json")
    ran = run(saved, "--module", "nothing.*", *places)
    assert ran.returncode == 2
    assert ran.stderr.count(b"error: ") == 1
    assert ran.stderr.splitlines()[-1] == b"wrote c.json (36 nodes)"
    assert not (tmp_path / "a.dot").exists() and not (tmp_path / "b.txt").exists()


def test_options_of_a_format_are_given_with_its_name(run, saved, tmp_path):
    sizes = {}
    for dpi in (40, 160):
        ran = run(saved, "-f", f"png:dpi={dpi}", "-o", "net.png")
        assert ran.returncode == 0, ran.stderr
        sizes[dpi] = (tmp_path / "net.png").stat().st_size
    assert sizes[40] < sizes[160]


def fake_dot(folder, body):
    """A `dot` that does what it is told to, first on the PATH."""
    programs = folder / "bin"
    programs.mkdir()
    dot = programs / "dot"
    dot.write_text(f"#!/bin/sh\n{body}\n")
    dot.chmod(dot.stat().st_mode | stat.S_IXUSR)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


def test_a_layout_that_takes_too_long_is_given_up(run, saved, tmp_path):
    path = fake_dot(tmp_path, "exec sleep 60")
    start = time.monotonic()
    ran = run(saved, "-o", "net.svg", "--timeout", "0.5", "-o", "net.dot", env={"PATH": path})
    assert time.monotonic() - start < 30
    assert ran.returncode == 5
    assert b"error: Graphviz was not done after 0.5 s." in ran.stderr
    assert (tmp_path / "net.dot").exists() and not (tmp_path / "net.svg").exists()


def test_what_was_to_be_laid_out_for_too_long_is_left_beside(run, saved, tmp_path):
    path = fake_dot(tmp_path, "exec sleep 60")
    (tmp_path / "my net.dot").write_text("the user's own")
    ran = run(saved, "-o", "my net.svg", "--timeout", "0.5", env={"PATH": path})
    assert (tmp_path / "my net.svg.dot").read_bytes() == run(saved, "-f", "dot").stdout
    assert (tmp_path / "my net.dot").read_text() == "the user's own"
    command = ran.stderr.decode().partition("wrote my net.svg.dot for a layout of your own: ")[2]
    assert command.splitlines()[0] == "dot -Tsvg -o 'my net.svg' 'my net.svg.dot'"


def test_a_layout_on_stdout_that_takes_too_long_writes_no_file(run, saved, tmp_path):
    path = fake_dot(tmp_path, "exec sleep 60")
    before = set(tmp_path.iterdir())
    assert run(saved, "-f", "svg", "--timeout", "0.5", env={"PATH": path}).returncode == 5
    assert set(tmp_path.iterdir()) == before


def test_a_graphviz_that_fails_leaves_the_old_file(run, saved, tmp_path):
    (tmp_path / "net.svg").write_text("old")
    path = fake_dot(tmp_path, "echo 'Error: out of ideas' >&2; exit 1")
    ran = run(saved, "-o", "net.svg", env={"PATH": path})
    assert ran.returncode == 5
    assert b"out of ideas" in ran.stderr
    assert (tmp_path / "net.svg").read_text() == "old"


def test_a_request_to_terminate_leaves_neither_a_file_nor_a_child(saved, tmp_path):
    path = fake_dot(tmp_path, f"echo $$ > {tmp_path}/pid.new; mv pid.new pid; exec sleep 60")
    process = subprocess.Popen(
        [*COMMAND, saved, "-o", "net.svg"],
        cwd=tmp_path,
        env=environment(PATH=path),
        stderr=subprocess.PIPE,
    )
    limit = time.monotonic() + 30
    while not (tmp_path / "pid").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    child = int((tmp_path / "pid").read_text())
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert b"Traceback" not in err
    assert not any(path.suffix in (".svg", ".tmp") for path in tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_verbose_says_what_took_how_long(run, saved):
    lines = run(saved, "-v", "-o", "net.dot").stderr.decode().splitlines()
    timed = [line.split(" s  ")[1] for line in lines if re.match(r" +\d+\.\d{3} s  ", line)]
    assert timed == ["reading the graph", "checking", "folding the graph", "drawing net.dot"]


@pytest.fixture
def terminal():
    """A stderr that is a terminal, and a function that reads what was written to it."""
    ours, theirs = pty.openpty()
    streams = Streams({})
    streams.err, streams.err_is_terminal = theirs, True

    def read():
        text = b""
        while select.select([ours], [], [], 0.1)[0]:
            text += os.read(ours, 4096)
        return text.decode()

    yield streams, read
    os.close(ours)
    os.close(theirs)


def test_progress_is_shown_while_it_lasts_and_then_erased(terminal, monkeypatch):
    streams, read = terminal
    monkeypatch.setattr(progress_module, "_PATIENCE", 0.02)
    with progress(streams, "drawing net.svg"):
        time.sleep(0.2)
    text = read()
    assert "\r\x1b[Kdrawing net.svg 0 s" in text and text.endswith("\r\x1b[K")


def test_what_is_done_in_a_second_shows_no_progress(terminal):
    streams, read = terminal
    with progress(streams, "drawing net.svg"):
        pass
    assert read() == ""


@pytest.mark.parametrize("attribute", ["quiet", "err_is_terminal"])
def test_progress_is_for_terminals_and_can_be_silenced(terminal, monkeypatch, attribute):
    streams, read = terminal
    monkeypatch.setattr(progress_module, "_PATIENCE", 0.02)
    setattr(streams, attribute, not getattr(streams, attribute))
    with progress(streams, "drawing net.svg"):
        time.sleep(0.1)
    assert read() == ""
