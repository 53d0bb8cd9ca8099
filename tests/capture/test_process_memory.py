"""The bytes that the tool says are saved are those that the process grows by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

CLOSE = 0.02
"""How far the two may differ, as a part of what the process grew by."""

MODELS = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = [
            nn.Sequential(nn.Conv2d(width, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
            for width in (3, 32, 32)
        ]
        self.parts = nn.Sequential(*blocks, nn.MaxPool2d(2), nn.Dropout(0.1))

    def forward(self, x):
        return self.parts(x).sum()


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(
            *(nn.TransformerEncoderLayer(128, 4, 512, batch_first=True) for _ in range(2))
        )

    def forward(self, x):
        return self.parts(x).sum()


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)) for _ in range(6)
        )

    def forward(self, x):
        x = x * 2
        for part in self.parts:
            x = checkpoint(part, x, use_reentrant=False)
        return x.sum()


CASES = {
    "cnn": (Cnn, (8, 3, 128, 128)),
    "transformer": (Transformer, (16, 256, 128)),
    "checkpointed": (Checkpointed, (24 * 1024, 256)),
}


def case(name, device="cpu"):
    torch.manual_seed(0)
    module, shape = CASES[name]
    return module().to(device), torch.randn(shape, device=device, requires_grad=True)
"""

MEASURE = """
import gc, json, os, sys

import torch
from models import case

from graphviz_cli.capture import capture_tensors
from graphviz_cli.graph.model import held_bytes

name, device = sys.argv[1:]
torch.set_num_threads(1)


def in_use():
    gc.collect()
    if device == "cuda":
        return torch.cuda.memory_allocated()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


model, x = case(name, device)
model(x)  # code, threads and workspaces that stay come with the first run
before = in_use()
loss = model(x)
grown = in_use() - before
print(json.dumps([grown, held_bytes(capture_tensors(loss))]))
"""

SCRIPT = """
from models import case

model, x = case("{name}")
model(x).backward()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "measure.py").write_text(MEASURE)
    return tmp_path


def grown_and_told(folder: Path, name: str, device: str) -> tuple[int, int]:
    """What a fresh process grows by in a forward pass, and what the tool says; in bytes."""
    # Every tensor that matters has pages of its own, which go back once it is freed.
    malloc = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "MALLOC_TOP_PAD_": "0",
    }
    grown, told = json.loads(run(folder, ["measure.py", name, device], **malloc))
    return grown, told


def run(folder: Path, arguments: list[str], **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def told_by_the_command(folder: Path, name: str) -> int:
    (folder / "train.py").write_text(SCRIPT.format(name=name))
    arguments = ["-m", "graphviz_cli", "train.py", "--probe", "saved-bytes", "-f", "json"]
    document: dict[str, Any] = json.loads(run(folder, arguments))
    return sum(document["annotations"]["saved-bytes"]["values"].values())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in /proc/self/statm")
@pytest.mark.parametrize("name", ["cnn", "transformer", "checkpointed"])
def test_saved_bytes_are_what_the_process_grows_by(folder: Path, name: str) -> None:
    grown, told = grown_and_told(folder, name, "cpu")
    assert grown > 100e6, "less would drown in what else a process does"
    assert abs(told - grown) <= CLOSE * grown
    assert told_by_the_command(folder, name) == told


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", ["cnn", "transformer", "checkpointed"])
def test_saved_bytes_are_what_the_gpu_allocates(folder: Path, name: str) -> None:
    grown, told = grown_and_told(folder, name, "cuda")
    assert grown > 50e6
    assert abs(told - grown) <= CLOSE * grown
