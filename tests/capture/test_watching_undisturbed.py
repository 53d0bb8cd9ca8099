"""Watching a program: it computes, prints and ends as it does alone."""

from __future__ import annotations

import contextlib
import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

from graphviz_cli.capture import Request, WatchPlan, parse_target, watch
from graphviz_cli.errors import GraphvizCliError
from graphviz_cli.graph.history import Ending

from .targets import write
from .test_undisturbed import TRAINING, assert_equal, state_of_the_process
from .watched import history_of, kept, watched


@pytest.mark.parametrize("every", [1, 2])
def test_training_while_being_watched_is_the_same_bit_for_bit(tmp_path: Path, every: int) -> None:
    for name in ("plain", "watched"):
        write(tmp_path, f"{name}.py", TRAINING.replace("FILE", repr(str(tmp_path / name))))
    runpy.run_path(str(tmp_path / "plain.py"), run_name="__main__")
    with contextlib.chdir(tmp_path):
        target = parse_target("watched.py")
        done = watch(target, Request(seed=None), WatchPlan(every), lambda step: None)
    assert done.failure is None and done.history.calls == 4
    (note,) = done.history.notes
    assert "ran inside of another, as in reentrant checkpoints" in note
    plain, seen = (torch.load(tmp_path / name, weights_only=True) for name in ("plain", "watched"))
    assert len(plain) == 4
    assert_equal(plain, seen)


ENDS = {
    "a normal end": ("(w * 2).sum().backward()", WatchPlan()),
    "a stop": ("for _ in range(9): (w * 2).sum().backward()", WatchPlan(until=3)),
    "a swallowed stop": (
        "for _ in range(9):\n    try: w.sum().backward()\n    except: pass",
        WatchPlan(until=2),
    ),
    "an end while paused": ("for _ in range(9): (w * 2).sum().backward()", WatchPlan(every=5)),
    "an exception": ("(w * 2).sum().backward()\nraise ValueError", WatchPlan()),
    "leaving": ("(w * 2).sum().backward()\nimport sys; sys.exit(3)", WatchPlan()),
    "Ctrl-C": ("(w * 2).sum().backward()\nraise KeyboardInterrupt", WatchPlan()),
    "no call": ("y = w * 2", WatchPlan()),
    "a call in a mode": ("with torch.device('cpu'): w.sum().backward()", WatchPlan(every=2)),
    "a failing optimizer": (
        "class O(torch.optim.SGD):\n    def step(self): raise ValueError\n"
        "(w * 2).sum().backward()\nO([w], 0.1).step()",
        WatchPlan(),
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_behind(tmp_path: Path, end: str) -> None:
    body, plan = ENDS[end]
    source = "import torch\nw = torch.ones(3, requires_grad=True)\n"
    write(tmp_path, "program.py", source + body + "\n")
    before = whole_state()
    with contextlib.suppress(GraphvizCliError), contextlib.chdir(tmp_path):
        watch(parse_target("program.py"), Request(), plan, lambda step: None)
    assert whole_state() == before


def whole_state() -> list[object]:
    return [
        state_of_the_process(),
        dict(torch_optimizer._global_optimizer_pre_hooks),
        dict(torch_optimizer._global_optimizer_post_hooks),
    ]


def test_a_mode_of_the_programs_may_end_between_two_measured_calls(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
        class Plain(TorchFunctionMode):
            def __torch_function__(self, function, types, args=(), kwargs=None):
                return function(*args, **(kwargs or {}))
        w = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([w], lr=0.1)
        for step in range(8):
            with Plain() as mode:
                (w * 2).sum().backward()
                optimizer.step()
                keep("is inside", mode in _get_current_function_mode_stack())
            keep("is outside", mode in _get_current_function_mode_stack())
        """,
        every=2,
    )
    assert history.calls == 8
    assert kept(tmp_path) == {"is inside": [True] * 8, "is outside": [False] * 8}


def test_the_programs_dispatch_modes_see_nothing_of_ours(tmp_path: Path) -> None:
    source = """
        from torch.utils._python_dispatch import TorchDispatchMode
        class Counting(TorchDispatchMode):
            count = 0
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                Counting.count += 1
                return function(*args, **(kwargs or {}))
        w = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([w], lr=0.1)
        with Counting():
            for step in range(3):
                (w * 2).sum().backward()
                optimizer.step()
        keep("count", Counting.count)
    """
    assert history_of(tmp_path, source).calls == 3
    seen = kept(tmp_path)
    (tmp_path / "kept.pt").unlink()
    with contextlib.chdir(tmp_path):
        runpy.run_path("train.py", run_name="__main__")
    assert kept(tmp_path) == seen


def test_nothing_of_a_step_stays_alive(tmp_path: Path) -> None:
    history_of(
        tmp_path,
        """
        import gc, weakref
        def train():
            net = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            alive = []
            gc.disable()
            for step in range(4):
                optimizer.zero_grad()
                x = torch.randn(2, 4)
                hidden = net(x)
                loss = hidden.sum()
                loss.backward()
                optimizer.step()
                alive += [weakref.ref(t) for t in (x, hidden, loss, net[0].weight.grad)]
                del x, hidden, loss
            net.zero_grad()
            keep("alive", sum(reference() is not None for reference in alive))
            model = weakref.ref(net)
            del net, optimizer
            gc.collect()
            keep("model", model() is not None)
        train()
        """,
    )
    assert kept(tmp_path) == {"alive": [0], "model": [False]}


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    done = watched(
        tmp_path,
        """
        w = nn.Parameter(torch.ones(3))
        for step in range(9):
            if step == 4:
                raise KeyboardInterrupt
            (w * 2).sum().backward()
        """,
    )
    assert done.history.ending is Ending.INTERRUPTED
    assert (len(done.history.steps), done.failure) == (4, None)


def test_a_program_that_handles_ctrl_c_comes_to_its_own_end(tmp_path: Path) -> None:
    done = watched(
        tmp_path,
        """
        w = nn.Parameter(torch.ones(3))
        try:
            for step in range(9):
                (w * 2).sum().backward()
                if step == 4:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            keep("saved", 1)
        finally:
            keep("closed", 1)
        """,
    )
    assert done.history.ending is Ending.DONE
    assert len(done.history.steps) == 5
    assert kept(tmp_path) == {"saved": [1], "closed": [1]}


def test_ctrl_c_before_the_first_call_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, "raise KeyboardInterrupt")


APART = """
import json, sys
from graphviz_cli.capture import Request, WatchPlan, parse_target, watch
def told(step):
    print("step", step.number, flush=True)
history = watch(parse_target("train.py"), Request(), WatchPlan(), told).history
print(json.dumps([history.ending, history.calls, len(history.steps)]))
"""


def test_what_locals_gave_to_the_program_stays_its_own(tmp_path: Path) -> None:
    history_of(
        tmp_path,
        """
        def train():
            w, seen = nn.Parameter(torch.ones(3)), locals()
            (w * 2).sum().backward()
            keep("known", sorted(seen))
        train()
        """,
    )
    assert {"w"} <= set(kept(tmp_path)["known"][0])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for the memory")
def test_ten_thousand_steps_take_no_more_memory_than_their_numbers(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import gc, resource, torch
        from torch import nn
        net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        x = torch.randn(2, 2)
        for step in range(1, 10_001):
            optimizer.zero_grad()
            net(x).sum().backward()
            optimizer.step()
            if step in (2_000, 10_000):
                gc.collect()
                pages = int(open("/proc/self/statm").read().split()[1])
                print("bytes", pages * resource.getpagesize())
        """,
    )
    ran = subprocess.run(
        [sys.executable, "-c", APART], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    )
    before, after = (int(line.split()[1]) for line in ran.stdout.splitlines() if b"byte" in line)
    assert after - before < 6e6


def test_a_real_ctrl_c_reaches_the_programs_handlers_and_keeps_the_steps(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import time, torch
        w = torch.nn.Parameter(torch.ones(3))
        try:
            while True:
                (w * 2).sum().backward()
                time.sleep(0.001)
        finally:
            open("cleaned up", "w").close()
        """,
    )
    with subprocess.Popen(
        [sys.executable, "-c", APART], cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert any(line == "step 5\n" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        ending, calls, steps = json.loads(process.stdout.read().splitlines()[-1])
    assert process.returncode == 0
    assert ending == Ending.INTERRUPTED and calls >= steps >= 5
    assert (tmp_path / "cleaned up").exists()
    assert time.monotonic() - started < 30


def test_an_error_of_whoever_is_told_does_not_reach_the_program(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import torch
        w = torch.nn.Parameter(torch.ones(3))
        for _ in range(3):
            (w * 2).sum().backward()
        """,
    )

    def told(step: object) -> None:
        raise OSError

    with contextlib.chdir(tmp_path):
        done = watch(parse_target("train.py"), Request(), WatchPlan(), told)
    assert (done.failure, done.history.calls, done.history.notes) == (None, 3, ())
