"""Which probes a run is measured with, from the options of a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphviz_cli import registry
from graphviz_cli.drawing.format import bytes_text, visible
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Graph

_USUAL = "gradient"
_VALUES = "gradient-values"
_MOST = 10


def probes_of(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """New probes: those that `--probe` names, and those that what is to be seen needs.

    Raises UsageError for a probe that there is not, and for `--grad-output` without a backward
    pass.
    """
    texts = list(options["probe"])
    names = {text.partition(":")[0].strip() for text in texts}
    if options["backward"] or names:
        wanted = [*_seen(options), *((_USUAL,) if options["backward"] and not names else ())]
        texts += [name for name in dict.fromkeys(wanted) if name not in names]
    probes = tuple(registry.create("probes", text) for text in texts)
    if options["grad_output"] and not any(probe.needs_backward for probe in probes):
        raise UsageError(
            "--grad-output says where a backward pass starts, and none is run.",
            hint="Add --backward.",
        )
    return probes


def memory_lines(graph: Graph) -> Iterator[str]:
    """Which ops keep most memory for backward, where that was asked for: the ten first."""
    annotation = graph.annotations.get("saved-bytes")
    if annotation is None:
        return
    from graphviz_cli.exporters.labels import Labels
    from graphviz_cli.graph.traversal import Adjacency

    numbers = {n: value for n, value in annotation.values.items() if isinstance(value, int)}
    most = sorted(numbers, key=lambda node: (-numbers[node], node))[:_MOST]
    total = sum(numbers.values())
    labels = Labels(graph, Adjacency(graph))
    if most:
        yield f"{bytes_text(total)} saved for backward, most of it by:"
    for node in most:
        share = f"{numbers[node] / total:.0%}"
        source = graph.nodes.sources[node]
        place = "" if source is None else f"  {visible(source.file)}:{source.line}"
        name = labels.full(node).removeprefix("/")
        yield f"  {bytes_text(numbers[node]):>9} {share:>4}  {name}{place}"


def _seen(options: Mapping[str, Any]) -> Iterator[str]:
    """The probes whose annotations colours, columns or arrows show."""
    known = registry.names("probes")
    shown = [options.get("heat"), *_words(options.get("columns") or ())]
    yield from (name for name in known if name in shown)
    if "time" in shown:
        yield "backward-time"
    if "values" in _words(options.get("show") or ()):
        yield _VALUES


def _words(values: Sequence[str]) -> list[str]:
    return [word.strip() for value in values for word in value.split(",")]
