"""A result is written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from graphviz_cli.cli.output import check, destination, write
from graphviz_cli.cli.streams import Streams
from graphviz_cli.errors import OutputError
from graphviz_cli.graph.serial import dumps

from .conftest import COMMAND, environment, layered


@pytest.fixture
def streams():
    return Streams({})


def left_behind(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def put(path, data, streams):
    place = destination(str(path))
    check(place)
    write(place, data, streams)


def test_a_new_file_gets_the_permissions_of_any_other_new_file(tmp_path, streams):
    previous = os.umask(0o027)
    try:
        put(tmp_path / "net.svg", b"x", streams)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "net.svg").stat().st_mode) == 0o640


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, streams):
    path = tmp_path / "net.svg"
    path.write_bytes(b"old")
    path.chmod(0o604)
    put(path, b"new", streams)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_link_is_followed_and_stays_a_link(tmp_path, streams):
    (tmp_path / "store").mkdir()
    link = tmp_path / "net.svg"
    for target in ("store/there.svg", "store/not-yet.svg"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        put(link, b"new", streams)
        assert link.is_symlink()
        assert (tmp_path / target).read_bytes() == b"new"


def test_a_name_of_full_length_can_be_written(tmp_path, streams):
    path = tmp_path / ("n" * 251 + ".svg")
    put(path, b"x", streams)
    assert path.read_bytes() == b"x"


def test_a_leftover_of_a_killed_run_is_not_in_the_way(tmp_path, streams):
    (tmp_path / f".graphviz-cli-{os.getpid()}-0.tmp").write_bytes(b"half")
    put(tmp_path / "net.svg", b"x", streams)
    assert (tmp_path / "net.svg").read_bytes() == b"x"


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path, streams):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
    put(pipe, b"x" * 100_000, streams)
    assert reader.communicate()[0] == b"x" * 100_000
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing/net.svg", "no folder missing"),
        (".", "is a folder"),
        ("file/net.svg", "not a directory"),
        ("loop", "too many levels of symbolic links"),
        ("n" * 300, "file name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path, name, words):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError) as caught:
        check(destination(f"{tmp_path}/{name}"))
    assert words in caught.value.message


def test_a_missing_folder_comes_with_the_command_that_makes_it(run, saved):
    ran = run(saved, "-o", "some/where/net.dot")
    assert ran.returncode == 2
    assert ran.stderr.decode().splitlines() == [
        "error: Cannot write some/where/net.dot: there is no folder where.",
        "  mkdir -p some/where",
    ]


AS_NOBODY = """
import os, sys
from graphviz_cli.__main__ import main
import graphviz_cli.cli.report
main()
if os.geteuid() == 0:
    # All modules are loaded by now: nobody may not be allowed to read them.
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
sys.argv[2:] = ["-o", "locked/net.dot"]
sys.exit(main())
"""


def test_a_folder_without_permission_is_an_error_of_one_line():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "net.json").write_bytes(dumps(layered()))
        (folder / "locked").mkdir(mode=0o555)
        ran = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "net.json", "-q", "-o", "net.dot"],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "error: Cannot write locked/net.dot: its folder does not allow a new file.",
        "  Choose another folder, or write to stdout: -o - > locked/net.dot",
    ]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from graphviz_cli.__main__ import main
sys.exit(main())
"""


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, saved):
    old = tmp_path / "net.dot"
    old.write_text("old")
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, saved, "-o", "net.dot"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == "error: Cannot write net.dot: file too large.\n"
    assert old.read_text() == "old"
    assert left_behind(tmp_path) == []


def test_a_full_device_on_stdout_is_an_error_of_one_line(run, saved):
    with Path("/dev/full").open("wb") as full:
        ran = run(saved, "-f", "dot", stdout=full)
    assert ran.returncode == 2
    assert ran.stderr == b"error: Cannot write to stdout: no space left on device.\n"


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path, saved):
    line = f"{' '.join(COMMAND)} {saved} -f dot --depth all --no-repeats | head -n 1"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith(b"digraph")
    assert b"Error" not in ran.stderr and b"error" not in ran.stderr


def test_results_go_to_every_place_that_can_be_written(run, saved, tmp_path):
    ran = run(saved, "-o", "a.dot", "-o", "/dev/full", "-o", "b.json", "-f", "dot")
    assert ran.returncode == 2
    assert (tmp_path / "a.dot").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert b"Cannot write /dev/full: no space left on device." in ran.stderr


@pytest.mark.parametrize("place", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_has_several_names(run, saved, place):
    ran = run(saved, "-f", "dot", "-o", place)
    assert ran.returncode == 0
    assert ran.stdout.startswith(b"digraph")


def test_an_open_descriptor_of_the_shell_is_written_as_it_stands(tmp_path, saved):
    line = f"{' '.join(COMMAND)} {saved} -f dot -o /dev/fd/7 7>>log"
    (tmp_path / "log").write_text("before\n")
    subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "log").read_text().startswith("before\ndigraph")


def test_an_unknown_suffix_lists_the_known_ones(run, saved):
    ran = run(saved, "-o", "net.gif")
    assert ran.returncode == 2
    assert b".svg" in ran.stderr and b"-f" in ran.stderr


def test_two_runs_give_the_same_bytes(run, saved):
    first, second = (run(saved, "-f", "dot").stdout for _ in range(2))
    assert first == second and first
