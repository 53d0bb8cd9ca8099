"""What other threads have made is taken for nothing that this one did."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.callers import begin
from graphviz_cli.graph.model import Graph, NodeKind

from .observed import explain
from .targets import captured, write

Work = Callable[[], torch.Tensor]
Handing = Callable[[Work], Iterator[torch.Tensor]]


@contextmanager
def from_a_thread_that_ended(work: Work) -> Iterator[torch.Tensor]:
    results: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    yield results[0]


@contextmanager
def from_a_pool(work: Work) -> Iterator[torch.Tensor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work).result()


@contextmanager
def through_a_queue(work: Work) -> Iterator[torch.Tensor]:
    results: queue.Queue[torch.Tensor] = queue.Queue()
    end = threading.Event()

    def run() -> None:
        results.put(work())
        end.wait()

    thread = threading.Thread(target=run)
    thread.start()
    yield results.get()
    end.set()
    thread.join()


@contextmanager
def from_a_module_that_runs_on(work: Work) -> Iterator[torch.Tensor]:
    class Worker(nn.Module):
        def forward(self) -> torch.Tensor:
            return work()

    results: list[torch.Tensor] = []
    made, end = threading.Lock(), threading.Lock()
    made.acquire()
    end.acquire()

    def run() -> None:
        results.append(Worker()())
        made.release()
        end.acquire()

    thread = threading.Thread(target=run)
    thread.start()
    made.acquire()
    yield results[0]
    end.release()
    thread.join()


def in_a_new_thread(work: Callable[[], None]) -> None:
    """A new thread counts from 0, as those do that it starts."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@pytest.mark.parametrize(
    "handing",
    [from_a_thread_that_ended, from_a_pool, through_a_queue, from_a_module_that_runs_on],
)
def test_an_op_of_another_thread_is_not_taken_for_one_that_went_nowhere(handing: Handing) -> None:
    w = torch.rand(3, requires_grad=True)
    block = nn.Linear(3, 3)
    told: list[list[tuple[str, str | None, str | None, tuple[str, ...]]]] = []

    def run() -> None:
        def program() -> torch.Tensor:
            unused = block(w) + w
            with handing(lambda: w.exp().sin().cos()) as other:
                del unused
                return other * w

        with Attribution() as attribution:
            root = begin(program)
            ops = explain(attribution, root)
        told.append([(op.op, op.path, op.text, op.names) for op in ops])

    in_a_new_thread(run)
    assert told == [
        [
            *[(f"{op}Backward0", None, None, ()) for op in ("Exp", "Sin", "Cos")],
            ("MulBackward0", None, "other * w", ()),
        ]
    ]


def test_threads_that_make_no_ops_take_nothing_away() -> None:
    w = torch.rand(3, requires_grad=True)

    def program() -> torch.Tensor:
        y = w.exp()
        with (
            from_a_pool(lambda: torch.rand(3)) as noise,
            from_a_thread_that_ended(lambda: torch.rand(3)),
        ):
            return y + noise

    with Attribution() as attribution:
        ops = explain(attribution, begin(program))
    assert [op.text for op in ops] == ["w.exp()", "y + noise"]


SCRIPT = """
import threading, torch

x = torch.ones(2, requires_grad=True)
results = []
unused = x.detach() * x
thread = threading.Thread(target=lambda: results.append((x * 100).exp()))
thread.start()
thread.join()
y = (x + 1).log()
loss = (results[0] - y).sum()
loss.backward()
"""


def graph_of_script(folder: Path) -> Graph:
    write(folder, "threads.py", SCRIPT)
    graphs: list[Graph] = []
    in_a_new_thread(lambda: graphs.append(captured(folder, "threads.py").graph))
    return graphs[0]


def test_a_graph_of_several_threads_says_what_is_not_known(tmp_path: Path) -> None:
    nodes = (graph := graph_of_script(tmp_path)).nodes
    rows = {
        name: (source and source.text, names)
        for name, source, names in zip(nodes.names, nodes.sources, nodes.user_names)
    }
    assert rows["MulBackward0"] == rows["ExpBackward0"] == rows["AddBackward0"] == (None, ())
    assert rows["LogBackward0"] == ("(x + 1).log()", ("y",))
    assert (
        "Not seen: where 3 ops come from, as another thread numbered its own alike."
        in graph.provenance.notes
    )


def test_no_cut_is_drawn_at_an_op_of_another_thread(tmp_path: Path) -> None:
    assert NodeKind.CUT not in list(graph_of_script(tmp_path).nodes.kinds)


def test_nothing_of_it_outlives_the_block() -> None:
    def state() -> tuple[object, object]:
        return vars(threading.Thread)["_bootstrap_inner"], vars(threading.Condition)["notify"]

    before = state()
    with Attribution():
        assert state() != before
        with Attribution():
            pass
        assert state() != before
    assert state() == before
