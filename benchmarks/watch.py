"""What watching a training script costs a step, as a ratio to the plain script within one run.

All variants take their turns in each round. The first step, at which the graph is drawn, is left
out; it is processor time that counts, which no other program on the machine lengthens.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from graphviz_cli.capture import Request, WatchPlan, parse_target, watch

MLP = """
net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
x, y = torch.randn(32, 8), torch.randn(32, 1)
def loss_of():
    return (net(x) - y).pow(2).mean()
"""
GPT2 = """
import transformers
config = transformers.GPT2Config(
    n_layer=12, n_embd=WIDTH, n_head=12, vocab_size=5000, bos_token_id=0, eos_token_id=0
)
net = transformers.GPT2LMHeadModel(config)
ids = torch.randint(0, 5000, (TOKENS))
def loss_of():
    return net(input_ids=ids, labels=ids).loss
"""
LOOP = """
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
for step in range(1 + STEPS):
    if step == 1:
        started = time.process_time()
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
print((time.process_time() - started) / STEPS)
"""


def watched(every: int) -> Callable[[str], object]:
    return lambda path: watch(
        parse_target(path), Request(seed=None), WatchPlan(every), lambda step: None
    )


VARIANTS: Mapping[str, Callable[[str], object]] = {
    "plain": lambda path: runpy.run_path(path, run_name="__main__"),
    "every call": watched(1),
    "every 10th call": watched(10),
}


def seconds(run: Callable[[str], object], path: str) -> float:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run(path)
    return float(printed.getvalue())


def compare(title: str, source: str, steps: int, rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.py")
        head = "import time, torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
        path.write_text(head + source + LOOP.replace("STEPS", str(steps)))
        for _ in range(rounds):
            for name, run in VARIANTS.items():
                times[name].append(seconds(run, str(path)))
    print(f"{title}: {statistics.median(times['plain']) * 1e3:.2f} ms a step")
    for name, measured in times.items():
        extra = statistics.median(m - p for m, p in zip(measured, times["plain"]))
        ratio = statistics.median(m / p for m, p in zip(measured, times["plain"]))
        print(f"  {name:16} {ratio:6.3f} x   {extra * 1e6:+9.0f} us")


def main() -> None:
    quick = "--quick" in sys.argv
    torch.set_num_threads(1)
    compare("MLP of three layers", MLP, 100 if quick else 1000, 3 if quick else 7)
    rounds = 1 if quick else 3
    for width, tokens in ((96, "2, 32"), (384, "4, 128")):
        source = GPT2.replace("WIDTH", str(width)).replace("TOKENS", tokens)
        title = f"GPT-2, 12 layers of {width}, {tokens.replace(',', ' x')} tokens"
        compare(title, source, 10 if width > 100 else 20, rounds)


if __name__ == "__main__":
    main()
