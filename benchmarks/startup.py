"""What the command costs beside Python itself: ratios of processor time, measured in pairs."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "graphviz_cli"]

SCRIPT = """
import torch
model = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(20)))
model(torch.randn(8, 64)).sum().backward()
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """A command of ours, what it is compared with, and the goal for the ratio of the two."""

    name: str
    ours: list[str]
    theirs: list[str]
    goal: float


def pairs(folder: Path) -> list[Pair]:
    script, graph = folder / "net.py", folder / "net.json"
    script.write_text(SCRIPT, encoding="utf-8")
    subprocess.run([*COMMAND, script, "-q", "-o", graph], check=True, stdout=subprocess.DEVNULL)
    nothing = [sys.executable, "-c", "pass"]
    svg = ["-q", "-o", str(folder / "net.svg")]
    return [
        Pair("--help", [*COMMAND, "--help"], nothing, 1.6),
        Pair("--version", [*COMMAND, "--version"], nothing, 1.6),
        Pair("list exporters", [*COMMAND, "list", "exporters"], nothing, 6),
        Pair("saved graph to tree", [*COMMAND, str(graph)], nothing, 6),
        Pair("saved graph to SVG", [*COMMAND, str(graph), *svg], nothing, 6),
        Pair("script to tree", [*COMMAND, str(script)], [sys.executable, str(script)], 1.0),
        Pair("script to SVG", [*COMMAND, str(script), *svg], [sys.executable, str(script)], 1.0),
        Pair(
            "script to SVG, --no-fast-start",
            [*COMMAND, str(script), "--no-fast-start", *svg],
            [sys.executable, str(script)],
            1.3,
        ),
    ]


def processor_time(command: list[str]) -> float:
    """Seconds that a command and its children compute."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(REPOSITORY))
    # An installed package is compiled, so ours must be as well.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print(f"{'':32} {'ratio':>6} {'goal':>6}   milliseconds, ours and theirs")
        for pair in pairs(Path(folder)):
            processor_time(pair.ours)
            times = [
                (processor_time(pair.ours), processor_time(pair.theirs)) for _ in range(rounds)
            ]
            ratio = statistics.median(ours / theirs for ours, theirs in times)
            ours, theirs = (statistics.median(column) * 1000 for column in zip(*times))
            print(f"{pair.name:32} {ratio:6.2f} {pair.goal:6.2f}   {ours:6.0f} {theirs:6.0f}")
        os.chdir(REPOSITORY)


if __name__ == "__main__":
    main()
