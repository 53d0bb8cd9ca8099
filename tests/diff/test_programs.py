"""The differences of real programs, captured."""

from __future__ import annotations

from pathlib import Path

import pytest
from capture.targets import captured, write

from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.diff.changes import changes
from graphviz_cli.graph.model import Graph

NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(
                nn.Sequential(nn.Linear(8, 8), nn.{act}()) for _ in range(4)
            )
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            for k, layer in enumerate(self.layers):
                if k not in {dropped}:
                    x = layer(x)
            return self.head(x)

    model = Net()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled={autocast}):
        out = model(torch.randn({batch}, 8))
    loss = out.square().mean()
    {extra}
    loss.backward()
"""

LOOP = """
    import torch

    w, v = (torch.randn(8, 8, requires_grad=True) for _ in range(2))
    h = torch.randn(4, 8)
    for _ in range({times}):
        h = h @ w
        h = torch.tanh(h)
        h = h * 2
    loss = h.sum()
    {extra}
    loss.backward()
"""


def net(folder: Path, **changed: object) -> Graph:
    facts = {"act": "ReLU", "dropped": (), "batch": 16, "autocast": False, "extra": ""} | changed
    return captured(folder, write(folder, "train.py", NET.format(**facts)).name).graph


def loop(folder: Path, times: int = 3, extra: str = "") -> Graph:
    source = LOOP.format(times=times, extra=extra)
    return captured(folder, write(folder, "train.py", source).name).graph


def gpt2(layers: int, batch: int = 2) -> Graph:
    sample = Path(__file__).parents[2] / "samples" / "hf.py"
    arguments = (f"layers={layers}", "vocabulary=100")
    request = Request(inputs=(f"input_ids=int64:{batch}x16",), arguments=arguments)
    return capture(parse_target(f"{sample}:gpt2"), request).graph


def test_an_extra_term_of_the_loss_is_told_with_its_line(tmp_path: Path) -> None:
    extra = "loss = loss + 0.1 * model.head.weight.norm()"
    assert changes(net(tmp_path), net(tmp_path, extra=extra)).lines() == (
        "+ LinalgVectorNormBackward0 scalar (train.py:23 model.head.weight.norm())",
        "+ MulBackward0 scalar (train.py:23 0.1 * model.head.weight.norm())",
        "+ AddBackward0 scalar (train.py:23 loss + 0.1 * model.head.weight.norm())",
    )


def test_a_skipped_layer_is_told_by_its_parameters_and_its_path(tmp_path: Path) -> None:
    assert changes(net(tmp_path), net(tmp_path, dropped=(2,))).lines() == (
        "- model.layers.2.0.* (2 parameters) get no gradient any more",
        "- model.layers.2: 3 ops",
    )
    assert changes(net(tmp_path, dropped=(1,)), net(tmp_path, dropped=(2,))).lines() == (
        "- model.layers.2.0.* (2 parameters) get no gradient any more",
        "+ model.layers.1.0.* (2 parameters) get a gradient now",
        "- model.layers.2: 3 ops",
        "+ model.layers.1: 3 ops",
    )


def test_another_activation_is_told_once_for_all_layers(tmp_path: Path) -> None:
    assert changes(net(tmp_path), net(tmp_path, act="GELU")).lines() == (
        "- 4 × ReluBackward0 16×8 in model.layers.0..3.1 (train.py:16 layer(x))",
        "+ 4 × GeluBackward0 16×8 in model.layers.0..3.1 (train.py:16 layer(x))",
    )


def test_another_batch_size_is_told_in_one_line(tmp_path: Path) -> None:
    assert changes(net(tmp_path), net(tmp_path, batch=32)).lines() == (
        "~ shapes differ in 10 nodes: 16×… became 32×…",
    )


def test_autocast_is_told_by_its_casts_and_the_dtypes(tmp_path: Path) -> None:
    lines = changes(net(tmp_path), net(tmp_path, autocast=True)).lines()
    assert "+ 4 × ToCopyBackward0 8×8 in model.layers.0..3.0 (train.py:16 layer(x))" in lines
    assert any(
        line.startswith("~ dtypes differ in ") and line.endswith(" nodes: f32 became bf16")
        for line in lines
    )


@pytest.mark.parametrize(("old", "new", "line"), [
    (5, 3, "- 2 times the 3 ops of train.py:7-9"),
    (3, 4, "+ once the 3 ops of train.py:7-9"),
])  # fmt: skip
def test_a_loop_that_ran_more_or_less_often(tmp_path: Path, old: int, new: int, line: str) -> None:
    assert changes(loop(tmp_path, old), loop(tmp_path, new)).lines() == (line,)


def test_another_parameter_of_equal_shape(tmp_path: Path) -> None:
    old = loop(tmp_path, extra="loss = loss + (h @ v).sum()")
    assert changes(old, loop(tmp_path, extra="loss = loss + (h @ w).sum()")).lines() == (
        "- v gets no gradient any more",
        "~ MmBackward0 4×8 takes w instead of v (train.py:11 h @ w)",
    )


def test_a_parameter_behind_a_detach(tmp_path: Path) -> None:
    old = loop(tmp_path, extra="loss = loss + (h @ v).sum()")
    assert changes(old, loop(tmp_path, extra="loss = loss + (h @ v.detach()).sum()")).lines() == (
        "- v gets no gradient any more",
        "+ detach 8×8 (train.py:11 v.detach())",
    )


def test_a_gpt2_with_a_layer_less_has_lost_its_last_one() -> None:
    found = changes(gpt2(3), gpt2(2))
    assert found.lines() == (
        "- transformer.h.2.* (12 parameters) get no gradient any more",
        "- transformer.h.2: 58 ops",
    )
    assert (found.added, found.changed) == ((), ())
    (line,) = changes(gpt2(2), gpt2(2, batch=4)).lines()
    assert line.startswith("~ shapes differ in ")
    assert "2×… became 4×…" in line
