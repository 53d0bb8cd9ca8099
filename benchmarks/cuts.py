"""What looking for cuts costs the forward pass, as a ratio to the plain one within one run.

A round of all variants is repeated in turn, so that a machine that is busy for a while slows them
all. `eval` is the same under `torch.no_grad()`, where every op of a bare function is a cut.
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
from models import ResNet

from graphviz_cli.capture.attribution import Attribution

VARIANTS: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
    "plain": nullcontext,
    "sources": Attribution,
    "sources and cuts": lambda: Attribution(cuts=True),
}


def gpt2(layers: int, width: int, tokens: int) -> Callable[[], object]:
    config = transformers.GPT2Config(n_layer=layers, n_embd=width, n_head=12, vocab_size=5000)
    model = transformers.GPT2LMHeadModel(config).train()
    ids = torch.randint(0, 5000, (2, tokens))
    return lambda: model(input_ids=ids, labels=ids).loss


def resnet50(size: int) -> Callable[[], object]:
    model, images = ResNet().train(), torch.randn(4, 3, size, size)
    return lambda: model(images)


def without_gradients(work: Callable[[], object]) -> Callable[[], object]:
    return torch.no_grad()(work)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(title: str, work: Callable[[], object], rounds: int) -> None:
    work()
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            with variant():
                times[name].append(seconds(work))
    print(f"{title}: {statistics.median(times['plain']) * 1e3:.1f} ms")
    for name, measured in times.items():
        ratio = statistics.median(m / p for m, p in zip(measured, times["plain"]))
        print(f"  {name:18} {ratio:6.3f} x")


def main() -> None:
    quick = "--quick" in sys.argv
    torch.manual_seed(0)
    gc.collect()
    gc.disable()
    rounds = 3 if quick else 11
    small, usual = gpt2(12, 96, 8), gpt2(12, 768, 128)
    compare("GPT-2, 12 layers of 96, 2 x 8 tokens", small, 3 * rounds)
    compare("GPT-2, 12 layers of 768, 2 x 128 tokens", usual, rounds)
    compare("GPT-2, 12 layers of 96, 2 x 8 tokens, eval", without_gradients(small), 3 * rounds)
    compare("ResNet-50, 4 images of 224 x 224", resnet50(224), rounds)


if __name__ == "__main__":
    main()
