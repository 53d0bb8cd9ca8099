"""`graphviz-cli doctor`: what is installed, what each format will use, how to get the rest."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from graphviz_cli import __version__, registry
from graphviz_cli.cli.commands import Action
from graphviz_cli.cli.streams import Streams
from graphviz_cli.errors import RendererError
from graphviz_cli.exporters.engine import (
    find_engine,
    font_hint,
    fonts_available,
    require_engine,
)

_GRAPHVIZ = "graphviz_cli.exporters.graphviz:"
_PATIENCE = 120
"""Seconds for torch to say which device it has: its first import may read from a slow disk."""


def command(name: str, help: str) -> click.Command:
    """`graphviz-cli doctor`."""
    return click.Command(name, callback=_doctor, help=help)


def _doctor() -> Action:
    def action(streams: Streams) -> int:
        text, status = doctor()
        streams.write(text.encode())
        return status

    return action


def doctor() -> tuple[str, int]:
    """What was found, and the exit status: 5 if some of the formats cannot be written."""
    rendering, works = _rendering()
    rows = [
        ("graphviz-cli", f"{__version__} on Python {platform.python_version()}, {sys.platform}"),
        ("torch", _torch()),
        *rendering,
        ("fonts", "found" if fonts_available() else f"none: PDF and PNG need one\n{font_hint()}"),
    ]
    width = max(len(name) for name, _ in rows) + 2
    lines = []
    for name, text in rows:
        first, *rest = text.splitlines()
        lines += [name.ljust(width) + first, *(" " * width + line for line in rest)]
    return "\n".join(lines) + "\n", 0 if works else RendererError.exit_code


def _rendering() -> tuple[list[tuple[str, str]], bool]:
    formats = registry.BUILT_IN["exporters"]
    pictures = [name for name, place in formats.items() if place.startswith(_GRAPHVIZ)]
    others = [name for name in formats if name not in pictures]
    rows = [(", ".join(others), "need nothing else")]
    engine = find_engine()
    if engine is not None:
        what = f"Graphviz {engine.version()} ({engine.kind}: {engine.path})"
        return [*rows, (", ".join(pictures), what)], True
    try:
        require_engine("pictures")
    except RendererError as error:
        text = f"no Graphviz was found\n{error.hint}"
    return [*rows, (", ".join(pictures), text)], False


def _torch() -> str:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "not found: saved graphs can be drawn, programs cannot be run\npip install torch"
    facts = _assignments(Path(spec.origin).with_name("version.py"))
    version = facts.get("__version__") or "of unknown version"
    toolkit = facts.get("cuda") or facts.get("hip")
    if toolkit is None:
        return f"{version}, built for the CPU alone: --device auto is cpu"
    kind = "CUDA" if facts.get("cuda") else "ROCm"
    return f"{version}, built for {kind} {toolkit}: --device auto is {_device()}"


def _assignments(path: Path) -> dict[str, str]:
    """Names that a file of plain assignments sets to a text; none if it cannot be read."""
    import ast

    try:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError):
        return {}
    found = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({t.id: value.value for t in targets if isinstance(t, ast.Name)})
    return found


def _device() -> str:
    """What torch itself says, in a process of its own: only it knows whether the driver will do."""
    code = (
        "import torch\n"
        "print('cuda, ' + torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu')"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return f"unknown: {last}"
    return done.stdout.strip()
