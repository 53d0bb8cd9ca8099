"""What attribution costs, as ratios within one run: module calls <= 1.05 x GPT-2 is the target.

Garbage collection is off on both sides, and all variants take their turns in each round, so that a
machine that is busy for a while slows them all.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import transformers
from torch.overrides import TorchFunctionMode

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.operators import operators
from graphviz_cli.capture.private import next_sequence_nr

Variants = Mapping[str, Callable[[], AbstractContextManager[object]]]


class Idle(TorchFunctionMode):
    """The least that a TorchFunctionMode can cost."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


VARIANTS: Variants = {
    "plain": nullcontext,
    "module calls": lambda: Attribution(sources=False),
    "an idle mode": Idle,
    "module calls and sources": Attribution,
}


def gpt2(layers: int, width: int) -> Callable[[], object]:
    config = transformers.GPT2Config(
        n_layer=layers, n_embd=width, vocab_size=5000, n_head=4, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    tokens = torch.randint(0, 5000, (2, 128 if width > 100 else 8))
    return lambda: model(tokens, use_cache=False).logits


def chain(length: int) -> object:
    x = torch.ones(1, requires_grad=True)
    for _ in range(length):
        x = x * 1.5
    return x


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(title: str, work: Callable[[], object], rounds: int) -> None:
    before = next_sequence_nr()
    work()
    nodes = next_sequence_nr() - before
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            with variant():
                times[name].append(seconds(work))
    plain = statistics.median(times["plain"])
    print(f"{title}: {nodes} nodes, {plain * 1e3:.1f} ms")
    for name, measured in times.items():
        ratio = statistics.median(m / p for m, p in zip(measured, times["plain"]))
        extra = (ratio - 1) * plain / nodes * 1e6
        print(f"  {name:26} {ratio:6.3f} x   {extra:+6.2f} us a node")


def resolve(length: int) -> None:
    for sources in (False, True):
        with Attribution(sources=sources) as attribution:
            before = next_sequence_nr()
            root = chain(length)
            numbers = range(next_sequence_nr() - 1, before - 1, -1)
        took = seconds(lambda: attribution.resolve(list(numbers)))  # noqa: B023 - called at once
        kind = "with sources" if sources else "module calls"
        print(f"resolve {length} ops, {kind}: {took / length * 1e6:.2f} us a node")
        del root


def main() -> None:
    quick = "--quick" in sys.argv
    torch.manual_seed(0)
    gc.collect()
    gc.disable()
    names = [name for name in dir(torch._C._functions) if name.endswith("0")][:40]
    print(f"operators: {seconds(lambda: operators(names)) * 1e3:.1f} ms for 40 of them")
    compare("GPT-2, 12 layers of 64, 2 x 8 tokens", gpt2(12, 64), 5 if quick else 30)
    compare("GPT-2, 12 layers of 768, 2 x 128 tokens", gpt2(12, 768), 3 if quick else 9)
    resolve(10_000 if quick else 300_000)


if __name__ == "__main__":
    main()
