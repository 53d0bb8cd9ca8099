"""The annotations in which the numbers about tensors stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from graphviz_cli.graph.model import Annotation, Combine

if TYPE_CHECKING:
    from graphviz_cli.capture.probes.statistics import Summary

_FACTS: Sequence[tuple[str, Combine, Callable[[Summary], float]]] = (
    ("", Combine.MAX, lambda s: s.norm),
    ("-min", Combine.OWN, lambda s: s.least),
    ("-max", Combine.OWN, lambda s: s.largest),
    ("-mean", Combine.OWN, lambda s: s.mean),
    ("-zeros", Combine.OWN, lambda s: s.share(s.zeros)),
    ("-nan", Combine.MAX, lambda s: s.share(s.nans)),
    ("-inf", Combine.MAX, lambda s: s.share(s.infinite)),
)
"""Of nodes that are drawn as one, `OWN` is that of the op nearest to the root."""

_RARE = frozenset(("-nan", "-inf"))


def facts(
    name: str,
    of_nodes: Mapping[int, Summary],
    of_edges: Mapping[int, Sequence[Summary | None]],
) -> Iterator[Annotation]:
    """Norm (as `name`), least, largest, mean, and shares of zeros, NaN and infinities.

    That nothing is NaN or infinite is the rule, and would be said of every node: these two are left
    out where they are 0 of all nodes.
    """
    for suffix, combine, number in _FACTS:
        values = {node: number(summary) for node, summary in of_nodes.items()}
        inputs = {
            node: tuple(None if summary is None else number(summary) for summary in row)
            for node, row in of_edges.items()
        }
        if suffix in _RARE and not any(values.values()) and not any(map(any, inputs.values())):
            continue
        yield Annotation(f"{name}{suffix}", values, combine=combine, inputs=inputs)
