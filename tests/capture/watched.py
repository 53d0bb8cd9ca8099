"""Programs written into a folder and watched there, as a user would."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

from graphviz_cli.capture import Request, Watched, WatchPlan, parse_target, watch
from graphviz_cli.graph.history import History, Step

from .targets import write

HEAD = """
import torch
from torch import nn
torch.manual_seed(0)
kept = {}
def keep(name, value):
    kept.setdefault(name, []).append(value)
    torch.save(kept, "kept.pt")
"""


def watched(
    folder: Path, source: str, every: int = 1, until: int | None = None, **options: Any
) -> Watched:
    """Watch a program, which may `keep` numbers under names, with this as the current folder."""
    write(folder, "train.py", HEAD)
    with (folder / "train.py").open("a") as file, contextlib.chdir(folder):
        file.write(write(folder, "body.py", source).read_text())
        file.flush()
        request = Request(**{"seed": None, **options})
        return watch(parse_target("train.py"), request, WatchPlan(every, until), lambda step: None)


def history_of(folder: Path, source: str, **options: Any) -> History:
    """What was measured of a program that comes to its end, all of it."""
    done = watched(folder, source, **options)
    assert done.failure is None
    assert done.history.notes == ()
    return done.history


def kept(folder: Path) -> dict[str, Any]:
    """What the last program kept."""
    found: dict[str, Any] = torch.load(folder / "kept.pt", weights_only=True)
    return found


def norms(history: History, number: int = 1) -> dict[str, float]:
    """The norms of a step by the names of the leaves."""
    (step,) = (step for step in history.steps if step.number == number)
    return dict(zip(history.structures[step.structure].leaves, step.leaves, strict=True))


def counts_of_kept(history: History) -> list[int]:
    """For each step how many leaves held a gradient that had been used."""
    return [step.kept for step in history.steps]


def numbers(steps: list[Step] | Any) -> list[int]:
    return [step.number for step in steps]
