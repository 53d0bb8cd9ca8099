"""A change as one line of text, and equal changes in numbered modules as one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from graphviz_cli.diff.matching import TENSORS, home
from graphviz_cli.drawing.format import shape_text, shortened, visible
from graphviz_cli.graph.model import Graph, SourceLocation
from graphviz_cli.transforms.paths import merged_path

_EXPRESSION = 60
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Line:
    """A line, and how many nodes it tells of."""

    text: str
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell of one node, in the parts of a line."""

    sign: str
    what: str
    path: str = ""
    source: str = ""
    place: int = 0
    """Lines stand in ascending order of it."""

    @classmethod
    def of(cls, sign: str, graph: Graph, node: int, what: str = "", place: int = 0) -> Told:
        """Tell `what` of a node, by default its name and shape."""
        source = graph.nodes.sources[node]
        return cls(
            sign,
            what or node_text(graph, node),
            home(graph, node) if graph.nodes.kinds[node] not in TENSORS else "",
            "" if source is None else source_text(source),
            place,
        )


def node_text(graph: Graph, node: int) -> str:
    """`AddmmBackward0 8×4`, or the name of a leaf and its shape."""
    return f"{name_text(graph, node)} {outputs_text(graph, node)}".strip()


def name_text(graph: Graph, node: int) -> str:
    """The name of an op or of a leaf."""
    if graph.nodes.kinds[node] not in TENSORS:
        return visible(graph.nodes.names[node])
    names = graph.nodes.user_names[node]
    return visible(names[0]) if names else "an unnamed tensor"


def outputs_text(graph: Graph, node: int) -> str:
    """The shape of what an op gave, `4×8×16 · 3 outputs` for several."""
    outputs = graph.nodes.outputs[node]
    shape = shape_text(outputs[0]) if outputs else ""
    return shape if len(outputs) < 2 else f"{shape} · {len(outputs)} outputs"


def place_text(source: SourceLocation) -> str:
    """`train.py:14`."""
    return f"{visible(source.file)}:{source.line}"


def source_text(source: SourceLocation) -> str:
    """`train.py:14 h * 2`."""
    return f"{place_text(source)} {shortened(visible(source.text), _EXPRESSION)}".rstrip()


def merged(told: Iterable[Told]) -> list[Line]:
    """A line for each, but one for all that differ in the numbers in their module's path only."""
    groups: dict[tuple[str, ...], list[Told]] = {}
    for one in sorted(told, key=lambda one: one.place):
        key = one.sign, one.what, _NUMBER.sub("#", one.path), one.source
        groups.setdefault(key, []).append(one)
    return [Line(_text(group), len(group)) for group in groups.values()]


def counted_in(paths: Iterable[str]) -> list[tuple[str, int, int]]:
    """Modules by their paths, those that differ in numbers only and occur equally often as one.

    For each the path, how often one of them occurs, and how many there are.
    """
    counts: dict[str, int] = {}
    for path in paths:
        counts[path] = counts.get(path, 0) + 1
    groups: dict[tuple[str, int], list[str]] = {}
    for path, count in counts.items():
        groups.setdefault((_NUMBER.sub("#", path), count), []).append(path)
    return [(path_text(group), count, len(group)) for (_, count), group in groups.items()]


def path_text(paths: Iterable[str]) -> str:
    """The path that stands for several, each once."""
    return visible(merged_path(list(dict.fromkeys(paths))))


def _text(group: list[Told]) -> str:
    first = group[0]
    times = f"{len(group):,} × " if len(group) > 1 else ""
    path = path_text(one.path for one in group)
    within = f" in {path}" if path else ""
    source = f" ({first.source})" if first.source else ""
    return f"{first.sign} {times}{first.what}{within}{source}"
