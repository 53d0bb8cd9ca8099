"""A graph that was walked must end well, however deep it is and whoever lets it go."""

from __future__ import annotations

import subprocess
import sys
import weakref
from typing import Any

import pytest
import torch

from graphviz_cli.capture.live import visit
from graphviz_cli.capture.teardown import DEEP
from graphviz_cli.capture.walk import RootTensor, walk
from tests.capture.programs import leaf

CHAIN = """
import gc, resource, sys, threading
import torch
from graphviz_cli.capture.live import visit
from graphviz_cli.capture.walk import RootTensor, walk

soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, hard))  # the usual limit

class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2

def chain(ops, start=None):
    x = torch.ones(2, requires_grad=True)
    y = x if start is None else start
    for _ in range(ops):
        y = y * x
    return y

def capture(*tensors):
    return walk([RootTensor("root", tensor) for tensor in tensors])

OPS = 60_000
"""

ENDS = {
    "the root is dropped": """
y = chain(OPS)
graph = capture(y)
del y
""",
    "backward has run": """
y = chain(OPS)
capture(y)
y.sum().backward()
del y
""",
    "it was walked twice": """
y = chain(OPS)
capture(y)
capture(y)
del y
""",
    "there are two roots": """
y = chain(OPS)
one, other = y.sin(), y.cos()
capture(one, other, y)
del y
del one
del other
""",
    "a tensor in the middle stays longer": """
middle = chain(OPS)
y = chain(OPS, middle)
capture(y)
del y
del middle
""",
    "it is part of a cycle": """
class Holder: pass
holder = Holder()
holder.self, holder.tensor = holder, chain(OPS)
capture(holder.tensor)
del holder
gc.collect()
""",
    "a thread with a small stack drops it": """
tensors = [chain(OPS)]
capture(tensors[0])
threading.stack_size(256 * 1024)
thread = threading.Thread(target=tensors.clear)
thread.start()
thread.join()
""",
    "its ops are custom Functions": """
y = chain(OPS)
for _ in range(OPS // 10):
    y = Doubled.apply(y) * 2
capture(y)
del y
""",
    "the walk was interrupted": """
import _thread
y = chain(OPS)
timer = threading.Timer(0.02, _thread.interrupt_main)
timer.start()
try:
    while True:
        visit([y.grad_fn])
except KeyboardInterrupt:
    pass
del y
""",
}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-u", "-c", CHAIN + program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_deep_graph_ends_without_a_deep_stack() -> None:
    # In one process, as importing torch takes longer than most of them.
    finished = run("".join(f"{end}print({name!r})\n" for name, end in ENDS.items()))
    assert finished.stdout.splitlines() == list(ENDS)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_deep_graph_ends_with_the_process() -> None:
    finished = run("y = chain(OPS)\ngraph = capture(y)\nsys.exit(7)\n")
    assert (finished.returncode, finished.stderr) == (7, "")


def test_without_the_guard_the_same_graph_overruns_the_stack() -> None:
    """Or else the tests above prove nothing."""
    finished = run(
        """
from graphviz_cli.capture import teardown
teardown.DEEP = 10**9
y = chain(OPS)
capture(y)
del y
"""
    )
    assert finished.returncode < 0


@pytest.mark.slow
def test_a_million_ops_are_captured_and_freed() -> None:
    finished = run(
        """
y = chain(1_000_000)
print(len(capture(y).nodes))
del y
print("alive")
"""
    )
    assert (finished.returncode, finished.stdout) == (0, "1000001\nalive\n")


class Keeps(torch.autograd.Function):
    """Holds a tensor by which the end of its node is noticed."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.kept = torch.ones(1)
        Keeps.alive.append(weakref.ref(ctx.kept))
        return x * 1

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]

    alive: list[weakref.ref[torch.Tensor]] = []  # noqa: RUF012 - emptied by each test


def chain(ops: int, start: torch.Tensor) -> torch.Tensor:
    for _ in range(ops):
        start = start * 2
    return start


@pytest.fixture(autouse=True)
def forget() -> None:
    Keeps.alive.clear()


def alive() -> list[bool]:
    return [reference() is not None for reference in Keeps.alive]


def test_a_deep_graph_dies_with_its_root_and_not_later() -> None:
    y = chain(DEEP, Keeps.apply(leaf(2)))
    walk([RootTensor("y", y)])
    assert alive() == [True]
    del y
    assert alive() == [False]


def test_each_root_lets_go_only_what_is_its_own() -> None:
    shared = chain(DEEP, Keeps.apply(leaf(2)))
    one, other = Keeps.apply(shared), Keeps.apply(shared)
    walk([RootTensor("one", one), RootTensor("other", other)])
    del shared
    del one
    assert alive() == [True, False, True]
    del other
    assert alive() == [False, False, False]


def test_what_hangs_on_a_tensor_in_the_middle_stays_and_then_goes() -> None:
    middle = chain(DEEP, Keeps.apply(leaf(2)))
    y = Keeps.apply(chain(DEEP, middle))
    walk([RootTensor("y", y)])
    del y
    assert alive() == [True, False]
    middle.sum().backward()
    del middle
    assert alive() == [False, False]


def test_a_small_graph_is_left_as_it_is() -> None:
    y = chain(10, leaf(2))
    visit([y.grad_fn])
    assert y.grad_fn.metadata == {}
