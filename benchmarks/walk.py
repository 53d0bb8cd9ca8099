"""What the walk costs: `python benchmarks/walk.py [--million] [--no-model]`.

Every figure is a ratio of two things measured alternately in one run, in processor time of one
thread, garbage collection off for both, each on a graph of its own that nobody has looked at
before; the median of the repetitions. `reads` is what torch alone takes: the same attributes, read
and forgotten, which no walk that reads them can beat.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.live import visit
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.graph.model import Graph

REPETITIONS = {1_000: 40, 100_000: 5, 1_000_000: 2}


def chain(ops: int) -> torch.Tensor:
    """Alternating products, which save both factors, and sums, which save nothing."""
    weight = torch.randn(4, 4, requires_grad=True)
    bias = torch.randn(4, 4, requires_grad=True)
    result = weight
    for _ in range(ops // 2):
        result = result * weight
        result = result + bias
    return result


def bare_loop(root: torch.Tensor) -> int:
    """The least that any walk has to do."""
    nodes = [root.grad_fn]
    seen = set(nodes)
    for node in nodes:
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                nodes.append(child)
    return len(nodes)


def bare_reads(root: torch.Tensor) -> int:
    """Everything that the walk reads, in a bare loop that keeps nothing of it."""
    nodes = [root.grad_fn]
    seen = set(nodes)
    fields = {}
    for node in nodes:
        kind = type(node)
        if kind not in fields:
            fields[kind] = [name for name in dir(kind) if name.startswith("_raw_saved_")]
        node._sequence_nr()
        for output in node._input_metadata:
            _ = tuple(output.shape), output.dtype, output.device
        for name in fields[kind]:
            saved = getattr(node, name)
            tensor, _ = saved.data, saved.unpack_hook
            _ = tensor.shape, tensor.dtype, tensor.device, torch._C._storage_address(tensor)
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                nodes.append(child)
    return len(nodes)


def edges_only(root: torch.Tensor) -> int:
    return len(visit([root.grad_fn]).nodes)


def whole_walk(root: torch.Tensor) -> int:
    return len(walk([RootTensor("result", root)]).nodes)


def seconds(call: Callable[[Any], object], argument: Any) -> float:
    started = time.thread_time()
    call(argument)
    return time.thread_time() - started


def compare_with_bare_loop(ops: int) -> None:
    contestants: dict[str, Callable[[torch.Tensor], int]] = {
        "bare loop": bare_loop,
        "reads": bare_reads,
        "nodes and edges": edges_only,
        "whole walk": whole_walk,
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    attributed: list[float] = []
    for _ in range(REPETITIONS[ops]):
        for name, contestant in contestants.items():
            root = chain(ops)
            times[name].append(seconds(contestant, root))
            visit([root.grad_fn])  # the bare loop leaves a graph that must not just be dropped
        with Attribution(sources=False) as attribution:
            root = chain(ops)
        names = TensorNames([{"root": root}])
        attributed.append(
            seconds(lambda root: walk([RootTensor("result", root)], attribution, names), root)  # noqa: B023
        )
    times["whole walk, attributed"] = attributed
    bare = statistics.median(times["bare loop"])
    for name, measured in times.items():
        middle = statistics.median(measured)
        print(f"{ops:>9,}  {name:<24} {1e6 * middle / ops:>7.2f} us/op {middle / bare:>6.1f}x")


def compare_with_gpt2() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=12, n_embd=768, n_head=12)).train()
    tokens = torch.randint(0, 50257, (2, 128))
    names = TensorNames([{"model": model, "tokens": tokens}])
    parameters = list(model.parameters())
    forward, walked, graph = [], [], None
    for _ in range(5):
        with Attribution(sources=False) as attribution:
            started = time.thread_time()
            loss = model(input_ids=tokens, labels=tokens).loss
            forward.append(time.thread_time() - started)
        started = time.thread_time()
        graph = walk([RootTensor("loss", loss)], attribution, names, parameters)
        walked.append(time.thread_time() - started)
    assert isinstance(graph, Graph)
    share = statistics.median(walked) / statistics.median(forward)
    print(
        f"GPT-2, {len(graph.nodes)} nodes: forward {1e3 * statistics.median(forward):.0f} ms, "
        f"walk {1e3 * statistics.median(walked):.1f} ms, {100 * share:.1f} % of it"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true", help="also a chain of 1,000,000 ops")
    parser.add_argument("--no-model", action="store_true", help="leave GPT-2 out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    gc.disable()
    for ops in REPETITIONS:
        if ops < 1_000_000 or arguments.million:
            compare_with_bare_loop(ops)
    if not arguments.no_model:
        compare_with_gpt2()


if __name__ == "__main__":
    main()
