"""The command on programs that do what programs do, and on some that behave badly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import COMMAND, environment

HEAD = "import torch\nw = torch.ones(2, 2, requires_grad=True)\n"


def write(folder: Path, text: str | bytes, name: str = "net.py") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_data_stays_clean_whatever_the_program_prints(run, tmp_path):
    write(
        tmp_path,
        HEAD
        + """
import ctypes, os, subprocess, sys
print("from Python")
os.write(1, b"from a descriptor\\n")
ctypes.CDLL(None).puts(b"from C")
subprocess.run(["echo", "from a child"])
sys.stdout.write("without an end")
loss = (w * 2).sum()
""",
    )
    ran = run("net.py", "-f", "json")
    assert ran.returncode == 0
    assert ran.stdout == run("net.py", "-q", "-f", "json").stdout
    assert ran.stdout.startswith(b"{") and ran.stdout.endswith(b"}\n")
    for words in ("from Python", "from a descriptor", "from C", "from a child", "without an end"):
        assert words in ran.stderr.decode()


def test_outputs_are_where_the_user_stands_whatever_the_program_does_to_the_process(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    script = write(
        tmp_path,
        HEAD
        + """
import gc, os, signal, sys
os.chdir("elsewhere")
os.remove(__file__)
gc.disable()
loss = (w * 2).sum()
sys.stdout.close()
os.close(1)
sys.stdout = sys.stderr = None
sys.argv[:] = []
signal.signal(signal.SIGTERM, signal.SIG_IGN)
""",
    )
    ran = run("net.py", "-o", "net.dot", "-o", "-", "-f", "dot")
    assert ran.returncode == 0, ran.stderr
    assert not script.exists()
    assert (tmp_path / "net.dot").read_bytes() == ran.stdout
    assert b"MulBackward0" in ran.stdout
    assert ran.stderr.splitlines()[-1].startswith(b"wrote net.dot (")


RAISING = """\
import torch

def inner(x):
    return torch.nn.functional.linear(x, torch.ones(3, 3))

w = torch.ones(2, 2, requires_grad=True)
y = w * 2
try:
    {}["missing"]
except KeyError:
    inner(y)
"""


def test_the_users_exception_looks_as_python_shows_it_and_what_was_built_is_drawn(run, tmp_path):
    script = write(tmp_path, RAISING)
    python = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    ran = run("net.py", "-o", "net.dot")
    assert ran.returncode == 3
    assert ran.stderr.decode() == (
        "wrote net.dot (2 nodes; partial, because the target failed)\n"
        f"{python.stderr}"
        "error: net.py raised RuntimeError.\n"
    )
    assert b"MulBackward0" in (tmp_path / "net.dot").read_bytes()


def test_without_files_to_write_a_program_that_raises_prints_nothing_on_stdout(run, tmp_path):
    write(tmp_path, RAISING)
    ran = run("net.py")
    assert ran.returncode == 3 and ran.stdout == b""
    assert ran.stderr.endswith(b"error: net.py raised RuntimeError.\n")


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        pytest.param("def f(:\n", 3, "SyntaxError", id="syntax"),
        pytest.param("naïve = 1".encode("latin-1"), 3, "Save it as UTF-8", id="latin"),
        pytest.param("", 4, "error: ", id="empty"),
        pytest.param(HEAD + "y = w.detach() * 2", 4, "error: ", id="detached"),
        pytest.param("def f(): f()\nf()", 3, "RecursionError", id="recursion"),
        pytest.param("import sys\nsys.exit(5)", 3, "sys.exit(5)", id="exit"),
        pytest.param("raise KeyboardInterrupt", 130, "Interrupted.", id="interrupt"),
        pytest.param("import os\nos._exit(9)", 9, "", id="os-exit"),
        pytest.param("raise MemoryError", 3, "MemoryError", id="memory"),
    ],
)
def test_what_ends_a_program_is_told_in_a_line_and_by_the_status(
    run, tmp_path, text, status, words
):
    write(tmp_path, text)
    ran = run("net.py")
    assert ran.returncode == status, ran.stderr
    assert ran.stdout == b""
    assert words in ran.stderr.decode()
    assert b"graphviz_cli" not in ran.stderr


@pytest.mark.parametrize(
    ("target", "data"),
    [
        ("missing.py", None),
        ("folder", None),
        ("image.py", b"\x89PNG\0\0\xff"),
        ("net.py:missing", b"x = 1"),
        ("no_such_package.net:model", None),
        ("", None),
        (":", None),
    ],
)
def test_a_target_that_is_none_is_an_error_of_one_line(run, tmp_path, target, data):
    (tmp_path / "folder").mkdir()
    if data is not None:
        (tmp_path / target.partition(":")[0]).write_bytes(data)
    ran = run(target)
    assert ran.returncode in (2, 3)
    lines = ran.stderr.decode().splitlines()
    assert lines[0].startswith("error: ") and len(lines) <= 3, lines
    assert "Internal" not in lines[0]


def test_children_of_the_program_write_nothing_of_ours(run, tmp_path):
    write(
        tmp_path,
        HEAD
        + """
import os
from torch.utils.data import DataLoader
if os.fork() == 0:
    raise SystemExit(7)
print("child", os.waitstatus_to_exitcode(os.wait()[1]))
for batch in DataLoader(torch.ones(4, 2), batch_size=2, num_workers=2):
    loss = (batch @ w).sum()
    loss.backward()
""",
    )
    ran = run("net.py", "-f", "dot")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count(b"digraph") == 1
    assert b"MmBackward0" in ran.stdout
    assert b"child 7" in ran.stderr and b"Traceback" not in ran.stderr


FINALIZED = (
    HEAD
    + """
import atexit, gc, sys, threading, time, weakref
assert gc.isenabled()

class Logged:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        print("end of", self.name, file=sys.stderr)

alone, ring = Logged("alone"), Logged("ring")
ring.itself = ring
log = open("log.txt", "w")
log.write("not flushed")
weakref.finalize(alone, print, "finalized")
atexit.register(print, "atexit")

def late():
    time.sleep(0.3)
    open("thread.txt", "w").write("done")

threading.Thread(target=late).start()
loss = (w * 2).sum()

@atexit.register
def fail():
    raise ValueError("in atexit")
"""
)


@pytest.mark.parametrize("start", ["--fast-start", "--no-fast-start"])
def test_what_a_program_leaves_for_the_end_is_done_as_by_python(run, tmp_path, start):
    write(tmp_path, FINALIZED)
    python = subprocess.run(
        [sys.executable, "net.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    left = {path.name: path.read_text() for path in tmp_path.glob("*.txt")}
    assert left == {"log.txt": "not flushed", "thread.txt": "done"}
    for name in left:
        (tmp_path / name).unlink()
    ran = run("net.py", start)
    assert ran.returncode == python.returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.glob("*.txt")} == left
    ends = re.compile(r"^(?:end of \w+|finalized|atexit|ValueError: in atexit)$", re.MULTILINE)
    wanted = sorted(ends.findall(python.stdout + python.stderr))
    assert len(wanted) == 5
    assert sorted(ends.findall(ran.stderr.decode())) == wanted


def test_a_thread_that_nobody_ends_does_not_keep_a_stopped_program(tmp_path):
    write(
        tmp_path,
        HEAD
        + """
import atexit, queue, threading
jobs = queue.Queue()
threading.Thread(target=jobs.get).start()
atexit.register(print, "atexit")
(w * 2).sum().backward()
jobs.put(None)
""",
    )
    program = (
        "import sys\nfrom graphviz_cli.cli import threads\nthreads.PATIENCE = 0.5\n"
        "from graphviz_cli.__main__ import main\nsys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "net.py", "-f", "dot"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith(b"digraph")
    assert b"left it" in ran.stderr and b"atexit" in ran.stderr


def test_arguments_after_two_dashes_are_the_programs_own(run, tmp_path):
    write(tmp_path, HEAD + "import sys\nprint(sys.argv)\nloss = w.sum()\n")
    ran = run("-q", "net.py", "--", "--depth", "x", "--", "-o", "y")
    assert ran.returncode == 0
    assert ran.stderr == b"['net.py', '--depth', 'x', '--', '-o', 'y']\n"


def test_one_run_makes_many_files_and_a_saved_graph_draws_the_same(run, tmp_path):
    write(tmp_path, HEAD + "loss = (w @ w).relu().sum()\n")
    ran = run("net.py", "-o", "a.json", "-o", "a.dot", "-o", "a.txt")
    assert ran.returncode == 0
    assert [line.split()[1] for line in ran.stderr.splitlines()] == [b"a.json", b"a.dot", b"a.txt"]
    assert run("a.json").stdout == (tmp_path / "a.txt").read_bytes()
    assert run("a.json", "-f", "dot").stdout == (tmp_path / "a.dot").read_bytes()
    assert run("a.json", "-f", "json").stdout == (tmp_path / "a.json").read_bytes()


def test_a_machine_without_torch_says_so(tmp_path):
    write(tmp_path, "x = 1")
    (tmp_path / "site" / "torch").mkdir(parents=True)
    write(tmp_path / "site" / "torch", "raise ImportError('libcudart.so.12')", "__init__.py")
    paths = f"{tmp_path / 'site'}:{environment()['PYTHONPATH']}"
    ran = subprocess.run(
        [*COMMAND, "net.py"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=paths),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "error: torch cannot be imported: libcudart.so.12",
        "  graphviz-cli doctor says what is installed.",
    ]
