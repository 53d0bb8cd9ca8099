"""Running the real command in an empty folder, and a saved graph to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.serial import dumps
from tests.graphs import Builder

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "graphviz_cli")

Ran = subprocess.CompletedProcess[bytes]
Run = Callable[..., Ran]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **changes}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `graphviz-cli` there, as a user does; keywords go to `subprocess.run`."""

    def run_command(*arguments: str | Path, **options: Any) -> Ran:
        changes = options.pop("env", {})
        if "stdout" not in options:
            options["stdout"] = subprocess.PIPE
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=options.pop("cwd", tmp_path),
            env=environment(**changes),
            stdin=options.pop("stdin", None if "input" in options else subprocess.DEVNULL),
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
            **options,
        )

    return run_command


def layered(layers: int = 12) -> Graph:
    """`net`, equal layers one after the other: each a weight, its transpose and a product."""
    b = Builder()
    top = b.module("net", "Net")
    x = None
    for k in range(layers):
        call = b.module(f"net.{k}", "Linear", top)
        weight = b.leaf(f"net.{k}.weight", 4, 4, module=call)
        transposed = b.op("TBackward0", (4, 4), weight, module=call)
        saves = {"self": (4, 4)}
        x = b.op("MmBackward0", (4, 4), x, transposed, module=call, saves=saves)
    assert x is not None
    return b.build(x, title="Net")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved graph of 12 equal layers, 36 nodes."""
    path = tmp_path / "net.json"
    path.write_bytes(dumps(layered()))
    return path
