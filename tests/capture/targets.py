"""Targets written into a folder and captured there, as a user would."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from graphviz_cli.capture import Captured, Request, capture, parse_target
from graphviz_cli.graph.model import Graph, NodeKind

_CAPTURE = """
import json, sys
from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.errors import GraphvizCliError
target, options = json.loads(sys.argv[1])
options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
try:
    done = capture(parse_target(target), Request(**options))
    names = [done.graph.nodes.names[i] for i in range(len(done.graph.nodes))]
    told = {"ops": names, "roots": [r.name for r in done.graph.roots],
            "failure": done.failure and done.failure.message}
except GraphvizCliError as error:
    told = {"error": error.message}
print("TOLD", json.dumps(told), flush=True)
"""


def write(folder: Path, name: str, source: str | bytes) -> Path:
    """A file with this source, whose indentation is taken off."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).encode())
    return path


def captured(folder: Path, target: str, **options: Any) -> Captured:
    """Capture a target with this as the current folder."""
    with contextlib.chdir(folder):
        return capture(parse_target(target), Request(**options))


def captured_apart(folder: Path, target: str, **options: Any) -> tuple[dict[str, Any], str]:
    """Capture a target in a process of its own: what came of it, and all that was printed."""
    done = subprocess.run(
        [sys.executable, "-c", _CAPTURE, json.dumps([target, options])],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        timeout=120, check=True,
    )  # fmt: skip
    (told,) = (line for line in done.stdout.splitlines() if line.startswith("TOLD "))
    return json.loads(told.removeprefix("TOLD ")), done.stdout


def ops(graph: Graph) -> list[str]:
    """The names of the backward ops, in the order of the forward pass."""
    functions = graph.nodes.ids(NodeKind.FUNCTION)
    functions.sort(key=lambda node: graph.nodes.sequence_nrs[node])
    return [graph.nodes.names[node] for node in functions]


def leaves(graph: Graph) -> set[str]:
    """The first names of all leaves."""
    return {graph.nodes[node].names[0] for node in graph.nodes.ids(NodeKind.LEAF)}


def roots(graph: Graph) -> dict[str, str]:
    """The op behind each root, by the name of the root."""
    return {root.name: graph.nodes.names[root.node] for root in graph.roots}
