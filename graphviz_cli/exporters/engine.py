"""The Graphviz that is there: the system's `dot`, or the pygraphviz wheel, in a child process."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from graphviz_cli import registry
from graphviz_cli.errors import LayoutTimeoutError, RendererError

_INSTALLERS = {
    # Program that is there: what installs Graphviz, what installs fonts.
    "apt-get": ("sudo apt-get install graphviz", "sudo apt-get install fonts-dejavu-core"),
    "dnf": ("sudo dnf install graphviz", "sudo dnf install dejavu-sans-fonts"),
    "zypper": ("sudo zypper install graphviz", "sudo zypper install dejavu-fonts"),
    "pacman": ("sudo pacman -S graphviz", "sudo pacman -S ttf-dejavu"),
    "apk": ("sudo apk add graphviz", "sudo apk add ttf-dejavu"),
    "brew": ("brew install graphviz", ""),
    "winget": ("winget install Graphviz.Graphviz", ""),
}

_WORKER = """
import sys, pygraphviz
format, *settings = sys.argv[1:]
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
if format == "layout":
    graph.layout(prog="dot")
    result = graph.draw(format="svg", prog="nop2") + graph.string().encode()
else:
    graph.graph_attr.update(setting.split("=", 1) for setting in settings)
    result = graph.draw(format=format, prog="nop2")
sys.stdout.buffer.write(result)
"""

_FONT_FOLDERS = (
    "~/.fonts",
    "~/.local/share/fonts",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
_FONT_SUFFIXES = frozenset((".ttf", ".ttc", ".otf", ".pfb", ".dfont"))

_END_OF_SVG = b"</svg>"


@dataclass(frozen=True, slots=True)
class Layout:
    """A graph with places: as a picture, and as DOT text from which other formats are drawn."""

    svg: bytes
    dot: bytes


@dataclass(frozen=True, slots=True)
class Engine:
    """A Graphviz that can be run."""

    kind: Literal["dot", "pygraphviz"]
    path: str
    """Of the program `dot`, or of the Python that has pygraphviz."""

    def version(self) -> str:
        """Its version as it tells it; `?` if it tells none."""
        if self.kind == "pygraphviz":
            from importlib.metadata import version

            return f"wheel {version('pygraphviz')}"
        import graphviz

        try:
            return ".".join(map(str, graphviz.version()))
        except (OSError, RuntimeError, subprocess.SubprocessError):
            return "?"

    def lay_out(self, text: str, *, timeout: float) -> Layout:
        """Find a place for everything in a DOT text.

        Raises RendererError if Graphviz fails, LayoutTimeoutError if it is not done after `timeout`
        seconds.
        """
        if self.kind == "dot":
            command = [self.path, "-Kdot", "-Tsvg", "-Tdot"]
        else:
            command = self._worker("layout")
        # Both formats come from one layout, one after the other.
        svg, end, dot = _run(command, text.encode(), timeout).partition(_END_OF_SVG)
        if not end:
            raise RendererError("Graphviz wrote no picture.", hint=_REINSTALL)
        return Layout(svg + end + b"\n", dot)

    def render(
        self, layout: Layout, format: str, settings: Mapping[str, str], *, timeout: float
    ) -> bytes:
        """Draw a layout in another format, with other attributes of the graph.

        Raises RendererError as `lay_out` does.
        """
        given = [f"{name}={value}" for name, value in settings.items()]
        if self.kind == "dot":
            command = [self.path, "-Kneato", "-n2", f"-T{format}", *(f"-G{s}" for s in given)]
        else:
            command = self._worker(format, *given)
        return _run(command, layout.dot, timeout)

    def _worker(self, *arguments: str) -> list[str]:
        # Without -P, a file of the user named like a module that the worker imports would win.
        return [self.path, "-P", "-c", _WORKER, *arguments]


_REINSTALL = "`graphviz-cli doctor` shows which Graphviz is used."


def find_engine() -> Engine | None:
    """The Graphviz to use: `dot` on the PATH, else the pygraphviz wheel, else none."""
    path = shutil.which("dot")
    if path is not None:
        return Engine("dot", path)
    if sys.executable and find_spec("pygraphviz") is not None:
        return Engine("pygraphviz", sys.executable)
    return None


def require_engine(what: str) -> Engine:
    """The Graphviz to use.

    Raises RendererError, with what to install and what works now, where there is none; `what` is
    the format that is wanted.
    """
    engine = find_engine()
    if engine is not None:
        return engine
    hint = ["any system   pip install 'graphviz-cli[render]'"]
    installer = _installer()
    if installer is not None:
        hint.append(f"this system  {installer[0]}")
    known = registry.BUILT_IN["exporters"]
    works = {
        "html": "-o graph.html",
        "dot": "-o graph.dot",
        "mermaid": "-f mermaid",
        "tree": "(default) text tree",
    }
    now = "   ".join(text for name, text in works.items() if name in known)
    hint.append(f"Works now without it:  {now}")
    raise RendererError(
        f"rendering {what} needs Graphviz, and none was found.", hint="\n".join(hint)
    )


def fonts_available() -> bool:
    """Whether there is any font for Graphviz to write PDF and PNG with."""
    for folder in map(os.path.expanduser, _FONT_FOLDERS):
        for _, _, files in os.walk(folder):
            if any(Path(file).suffix.lower() in _FONT_SUFFIXES for file in files):
                return True
    # Fonts may be elsewhere: fontconfig's own list tells.
    lister = shutil.which("fc-list")
    if lister is None:
        return False
    try:
        listed = subprocess.run([lister], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return bool(listed.stdout.strip())


def font_hint() -> str:
    """How to get fonts on this system."""
    installer = _installer()
    if installer is None or not installer[1]:
        return "Install any font, e.g. DejaVu Sans."
    return f"Install some: {installer[1]}"


def _installer() -> tuple[str, str] | None:
    return next((texts for name, texts in _INSTALLERS.items() if shutil.which(name)), None)


def _run(command: Sequence[str], data: bytes, timeout: float) -> bytes:
    """Run a child process, and end it with all its own children when it takes too long."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise RendererError(f"Graphviz cannot be run: {error}.", hint=_REINSTALL) from error
    with child:
        _limit_processor_time(child.pid, timeout)
        try:
            out, complaints = child.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            _end(child)
            raise LayoutTimeoutError(
                f"Graphviz was not done after {timeout:g} s.",
                hint="Draw less: --depth 2, --fold GLOB or --module GLOB; or give it more time: "
                "--timeout SECONDS.",
                dot=data,
            ) from error
        except BaseException:
            _end(child)
            raise
    if child.returncode or not out:
        lines = complaints.decode(errors="replace").strip().splitlines()
        # dot's errors come after the warnings of the libraries below it.
        said = next((line for line in lines if "rror" in line), lines[-1] if lines else "")
        if not said:
            said = f"it ended with status {child.returncode}"
        raise RendererError(f"Graphviz failed: {said.strip()[:300]}", hint=_REINSTALL)
    return out


def _limit_processor_time(pid: int, timeout: float) -> None:
    """Let the child end by itself also if we are killed while it runs. Only Linux can."""
    try:
        from resource import RLIMIT_CPU, prlimit
    except ImportError:
        return
    seconds = math.ceil(timeout) + 5
    try:
        prlimit(pid, RLIMIT_CPU, (seconds, seconds))
    except (OSError, ValueError, OverflowError):
        return


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except ProcessLookupError:
        return
