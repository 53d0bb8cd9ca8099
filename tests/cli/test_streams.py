"""Data on stdout, talk on stderr, whatever the two are."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import COMMAND, environment


def on_a_terminal(*arguments, cwd, stream="stdout", **changes):
    """What the command writes to a terminal of 60 columns, and its exit status."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    others = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: theirs}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(TERM="xterm", **changes),
        stdin=subprocess.DEVNULL,
        **others,
    )
    os.close(theirs)
    text = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    os.close(ours)
    return process.wait(60), text.decode().replace("\r\n", "\n")


def test_a_tree_has_colours_on_a_terminal_and_none_in_a_pipe(run, saved):
    assert b"\x1b[" not in run(saved).stdout
    status, text = on_a_terminal(saved, cwd=saved.parent)
    assert status == 0 and "\x1b[" in text


def test_colours_can_be_forced_into_a_pipe_and_kept_from_a_terminal(run, saved):
    assert b"\x1b[" in run(saved, "--color", "always").stdout
    assert b"\x1b[" in run(saved, env={"FORCE_COLOR": "1"}).stdout
    assert b"\x1b[" not in run(saved, "-o", "net.txt", env={"FORCE_COLOR": "1"}).stdout
    assert b"\x1b" not in (saved.parent / "net.txt").read_bytes()
    _, text = on_a_terminal(saved, cwd=saved.parent, NO_COLOR="1")
    assert "\x1b[" not in text


def test_lines_fit_the_terminal_and_are_whole_in_a_pipe(run, saved):
    wide = run(saved, "--columns", "shape,dtype,params,saved,source").stdout.decode()
    _, narrow = on_a_terminal(
        saved, "--columns", "shape,dtype,params,saved,source", cwd=saved.parent, NO_COLOR="1"
    )
    assert max(map(len, narrow.splitlines())) <= 60
    assert max(map(len, wide.splitlines())) > 60


@pytest.mark.parametrize("name", ["pdf", "png"])
def test_binary_data_is_kept_from_a_terminal(saved, name):
    status, text = on_a_terminal(saved, "-f", name, cwd=saved.parent)
    assert status == 2 and text == ""
    status, text = on_a_terminal(saved, "-f", name, cwd=saved.parent, stream="stderr")
    assert status == 0


def test_a_tree_is_ascii_where_stdout_cannot_encode_the_rest(run, saved):
    plain = run(saved, env={"PYTHONIOENCODING": "latin-1"}).stdout
    assert plain.isascii()
    assert plain == run(saved, "--ascii").stdout
    assert not run(saved).stdout.isascii()


def test_without_a_stdout_the_error_says_so_and_files_still_work(tmp_path, saved):
    for arguments, status in (("-f dot", 2), ("-o net.dot", 0)):
        ran = subprocess.run(
            ["bash", "-c", f"{' '.join(COMMAND)} {saved} {arguments} >&-"],
            cwd=tmp_path,
            env=environment(),
            stderr=subprocess.PIPE,
            check=False,
        )
        assert ran.returncode == status
    assert (tmp_path / "net.dot").read_bytes().startswith(b"digraph")


def test_without_a_stderr_the_data_comes_all_the_same(tmp_path, saved):
    ran = subprocess.run(
        ["bash", "-c", f"{' '.join(COMMAND)} {saved} -f dot 2>&-"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        check=False,
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith(b"digraph") and ran.stdout.rstrip().endswith(b"}")


def test_notes_go_to_stderr_and_quiet_ends_them(run, saved):
    ran = run(saved, "-o", "net.dot")
    assert ran.stdout == b"" and ran.stderr.startswith(b"wrote net.dot (")
    assert run(saved, "-q", "-o", "net.dot").stderr == b""


def test_the_last_line_counts_what_is_hidden_and_names_what_shows_it(run, saved):
    last = run(saved, "-o", "net.dot").stderr.decode().splitlines()[-1]
    assert "folded from 36" in last
    shown = last.partition("; ")[2].removesuffix(" show everything)")
    assert shown.startswith("--")
    everything = run(saved, *shown.split(), "-o", "net.dot").stderr.decode().splitlines()[-1]
    assert everything == "wrote net.dot (36 nodes)"


def test_json_holds_the_graph_as_captured_whatever_the_view(run, saved):
    ran = run(saved, "--depth", "0", "-o", "copy.json")
    assert (saved.parent / "copy.json").read_bytes() == saved.read_bytes()
    assert ran.stderr == b"wrote copy.json (36 nodes)\n"


def test_a_graph_can_come_from_stdin_and_from_a_pipe_without_a_suffix(run, saved, tmp_path):
    wanted = run(saved, "-f", "dot").stdout
    assert run("-", "-f", "dot", input=saved.read_bytes()).stdout == wanted
    line = f"{' '.join(COMMAND)} <(cat {saved}) -f dot"
    piped = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    assert piped.stdout == wanted
    saved.rename(tmp_path / "graph")
    assert run("graph", "-f", "dot").stdout == wanted


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"{", "cut off"),
        (b"\x00\xff" * 50, "no JSON"),
        (b"[1, 2]", ""),
        (b'{"schema": 99}', ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_damaged_graph_is_an_error_of_one_line(run, data, words):
    ran = run("-", input=data)
    assert ran.returncode == 2
    assert ran.stderr.startswith(b"error: ") and b"Traceback" not in ran.stderr
    assert words in ran.stderr.decode()


@pytest.mark.parametrize("target", ["missing.json", "."])
def test_a_graph_that_cannot_be_read_is_an_error_of_one_line(run, target, tmp_path):
    (tmp_path / "folder.json").mkdir()
    for name in ("missing.json", "folder.json"):
        ran = run(name)
        assert ran.returncode == 2
        assert ran.stderr.startswith(f"error: Cannot read {name}: ".encode())


def test_what_is_said_of_a_program_has_no_meaning_for_a_saved_graph(run, saved):
    for arguments in (("--step", "3"), ("-i", "1x3"), ("--", "--epochs", "1")):
        ran = run(saved, *arguments)
        assert ran.returncode == 2
        assert b"is a saved graph" in ran.stderr


def test_an_interrupt_ends_with_130_and_one_line(saved):
    process = subprocess.Popen(
        [*COMMAND, "-"],
        cwd=saved.parent,
        env=environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until_it_reads(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == b"Interrupted.\n"


def wait_until_it_reads(process):
    """Until the process sleeps in a read, as /proc tells it."""
    assert sys.platform == "linux"
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        if Path(f"/proc/{process.pid}/syscall").read_text().startswith("0 0x0 "):
            return
        time.sleep(0.01)
    raise AssertionError("it never read")
