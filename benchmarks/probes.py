"""What each probe costs, as a ratio to the plain backward pass within one run.

A round of all variants is repeated in turn, so that a machine that is busy for a while slows them
all. `hooks` are the hooks on every node without anything in them.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from models import gpt2, resnet50

from graphviz_cli import registry
from graphviz_cli.capture.engine_run import BackwardPlan, measured
from graphviz_cli.capture.live import visit
from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.graph.model import Graph


@dataclass
class Hooks:
    """A probe that looks at nothing."""

    needs_backward: ClassVar[bool] = True

    def forward(self) -> AbstractContextManager[object]:
        return nullcontext()

    @contextmanager
    def backward(self, live: LiveBackward) -> Iterator[None]:
        live.observe(lambda node, outputs: None, lambda node, inputs, outputs: None)
        yield

    def annotations(self, live: LiveBackward) -> Iterator[Any]:
        return iter(())


VARIANTS: Mapping[str, Callable[[], Sequence[Any]]] = {
    "hooks": lambda: [Hooks()],
    **{
        name: lambda name=name: [registry.create("probes", name)]
        for name in ("backward-time", "gradient", "gradient-values")
    },
    "all of these": lambda: [
        registry.create("probes", name) for name in ("backward-time", "gradient", "gradient-values")
    ],
}


def plain(loss: torch.Tensor) -> float:
    started = time.perf_counter()
    with torch.autograd.set_multithreading_enabled(False):
        loss.backward(retain_graph=True)
    seconds = time.perf_counter() - started
    for node in visit([loss.grad_fn]).nodes:
        if hasattr(node, "variable"):
            node.variable.grad = None
    return seconds


def with_probes(loss: torch.Tensor, graph: Graph, probes: Sequence[Any]) -> float:
    started = time.perf_counter()
    _, failure = measured(graph, [RootTensor("loss", loss)], probes, BackwardPlan())
    assert failure is None
    return time.perf_counter() - started


def compare(title: str, make: Callable[[], torch.Tensor], rounds: int) -> None:
    loss = make()
    graph = walk([RootTensor("loss", loss)])
    plain(loss)
    times: dict[str, list[float]] = {name: [] for name in ("plain", *VARIANTS)}
    for _ in range(rounds):
        times["plain"].append(plain(loss))
        for name, probes in VARIANTS.items():
            times[name].append(with_probes(loss, graph, probes()))
    print(f"{title}, {len(graph.nodes)} nodes: {statistics.median(times['plain']) * 1e3:.1f} ms")
    for name, measured_times in times.items():
        ratio = statistics.median(m / p for m, p in zip(measured_times, times["plain"]))
        print(f"  {name:18} {ratio:6.3f} x")


def main() -> None:
    quick = "--quick" in sys.argv
    torch.manual_seed(0)
    torch.set_num_threads(1)
    gc.collect()
    gc.disable()
    rounds = 3 if quick else 11
    compare("GPT-2, 12 layers of 96, 2 x 32 tokens", lambda: gpt2(12, 96), 2 * rounds)
    compare("GPT-2, 12 layers of 384, 2 x 32 tokens", lambda: gpt2(12, 384), rounds)
    if not quick:
        compare("ResNet-50, 2 images of 64 x 64", resnet50, rounds)


if __name__ == "__main__":
    main()
