"""What one run of the default command is to do, as values made from its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphviz_cli import registry
from graphviz_cli.cli.color import wants_color
from graphviz_cli.cli.output import STDOUT, Destination, check, destination
from graphviz_cli.cli.probes import probes_of
from graphviz_cli.cli.streams import Streams
from graphviz_cli.drawing.style import THEMES, Arrangement, Direction, Style
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Graph

if TYPE_CHECKING:
    from graphviz_cli.capture import Request as CaptureRequest
    from graphviz_cli.capture import Target

_BUDGETS = {"boxes": 200, "lines": 190}
"""How much `--depth auto` shows. Title, columns and legend leave a tree below 200 lines."""
_TREE_GLYPHS = "├└│─←↑×●★▷⚠"


@dataclass(frozen=True, slots=True)
class Program:
    """A target that is run, and how."""

    target: Target
    request: CaptureRequest
    fast_start: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """A graph made ready for drawing."""

    graph: Graph
    nodes_before: int
    """Nodes of the part that is drawn, before any were hidden or merged."""
    undo: tuple[str, ...]
    """The options that would show what is hidden or merged."""


@dataclass(frozen=True, slots=True)
class View:
    """Which part of the graph is drawn, and how finely."""

    depth: int | str = "auto"
    fold: str = ""
    module: str = ""
    repeats: bool = True
    views: bool = False

    def apply(self, graph: Graph, unit: str) -> Shown:
        """Hide, focus, merge and fold, so that not too many of `unit` (boxes, lines) are left.

        Raises UsageError, e.g. if no module matches.
        """
        undo: list[str] = []
        before = len(graph.nodes)
        for option, name, options in self._transforms(unit):
            smaller = registry.plugin_type("transforms", name)(**options).apply(graph)
            if option is None:
                before = len(smaller.nodes)
            elif len(smaller.nodes) < len(graph.nodes) and option not in undo:
                undo.insert(0, option)
            graph = smaller
        return Shown(graph, before, tuple(undo))

    def _transforms(self, unit: str) -> Iterator[tuple[str | None, str, dict[str, Any]]]:
        """In order: the option that undoes it (None: it only chooses), its name and options."""
        if not self.views:
            yield "--show views", "hide", {}
        if self.module:
            yield None, "focus", {"module": self.module}
        if self.repeats:
            yield "--no-repeats", "gather", {"inputs": "same"}
            yield "--no-repeats", "repeats", {}
            yield "--no-repeats", "gather", {}
        size = {"unit": unit, "budget": _BUDGETS[unit]}
        if self.fold:
            undo = "--fold ''" if self.depth == "all" else "--depth all --fold ''"
            yield undo, "fold", {"depth": self.depth, "fold": self.fold, **size}
        elif self.depth != "all":
            yield "--depth all", "fold", {"depth": self.depth, **size}


@dataclass(frozen=True, slots=True)
class Result:
    """One thing to write: in which format, how it looks, and where to."""

    exporter: Any
    style: Style
    destination: Destination


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that the command line asked for."""

    target: str
    program: Program | None
    """None if the target is a saved graph."""
    view: View
    results: tuple[Result, ...]
    files_wanted: bool
    """Files were asked for, so that a part of a graph is better than nothing."""
    verbose: bool


def request(
    target: str, options: Mapping[str, Any], streams: Streams, environment: Mapping[str, str]
) -> Request:
    """Check and convert what the parser read, so that mistakes show before the target is run.

    Raises UsageError for a target that is none, an unknown format, or binary data to a terminal,
    and OutputError for a place that cannot be written.
    """
    show = _listed(options["show"])
    return Request(
        target=target,
        program=None if is_saved_graph(target) else program_of(target, options),
        view=View(
            depth=options["depth"],
            fold=options["fold"],
            module=options["module"],
            repeats=options["repeats"],
            views="views" in show,
        ),
        results=tuple(_results(options, _style(options, show), streams, environment)),
        files_wanted=bool(options["output"]),
        verbose=options["verbose"],
    )


def is_saved_graph(target: str) -> bool:
    """Whether a target is a graph in JSON: by its name, or because it begins like one."""
    if target == "-" or target.lower().endswith(".json"):
        return True
    path = Path(target)
    if target.lower().endswith((".py", ".pyw")) or not path.exists() or path.is_dir():
        return False
    if not path.is_file():
        return True
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    except OSError:
        return False


def program_of(target: str, options: Mapping[str, Any]) -> Program:
    """The program to run, as the options say. Raises UsageError for a target that is none."""
    # Without torch: a mistake is told before that is loaded.
    from graphviz_cli import capture

    return Program(
        capture.parse_target(target),
        capture.Request(
            inputs=tuple(options["input"]),
            arguments=tuple(options["arg"]),
            root=options["root"],
            step=options["step"],
            device=options["device"],
            seed=options["seed"],
            train=options["train"],
            script_args=tuple(options["script_arguments"]),
            probes=probes_of(options),
            grad_outputs=tuple(options["grad_output"]),
            cuts=options["cuts"],
        ),
        options["fast_start"],
    )


def _style(options: Mapping[str, Any], show: Sequence[str]) -> Style:
    theme = options["theme"]
    return Style(
        theme=THEMES["light" if theme == "auto" else theme],
        direction=Direction[options["direction"].upper()],
        arrangement=Arrangement(options["by"]),
        show=frozenset(show),
        columns=tuple(_listed(options["columns"])),
        title=options["title"],
        heat=options["heat"],
        color=options["color"] == "always",
        ascii=options["ascii"],
    )


def _results(
    options: Mapping[str, Any],
    style: Style,
    streams: Streams,
    environment: Mapping[str, str],
) -> list[Result]:
    results = []
    for place in [destination(text) for text in options["output"]] or [STDOUT]:
        exporter = _exporter(options["format"], place, options["timeout"])
        own_style = style
        if place.is_stdout:
            if exporter.binary and streams.out_is_terminal:
                raise UsageError(
                    "Binary data would garble the terminal.",
                    hint=f"Write a file: -o graph{exporter.suffix}",
                )
            own_style = dataclasses.replace(
                style,
                color=wants_color(
                    options["color"], environment, is_terminal=streams.out_is_terminal
                ),
                ascii=style.ascii or not streams.encodes(_TREE_GLYPHS),
                width=streams.width(),
            )
        check(place)
        if style.heat and getattr(exporter, "unit", "") == "lines":
            streams.note(
                f"note: A text tree has no colours of heat; --columns {style.heat} adds it."
            )
        results.append(Result(exporter, own_style, place))
    return results


def _exporter(chosen: str | None, place: Destination, timeout: float | None) -> Any:
    if chosen is not None:
        text = chosen
    elif place.path is None:
        text = "tree"
    else:
        text = registry.name_for_suffix("exporters", place.path.suffix)
    exporter = registry.create("exporters", text)
    if timeout is not None and any(f.name == "timeout" for f in dataclasses.fields(exporter)):
        return dataclasses.replace(exporter, timeout=timeout)
    return exporter


def _listed(values: Sequence[str]) -> list[str]:
    return [word.strip() for value in values for word in value.split(",") if word.strip()]
