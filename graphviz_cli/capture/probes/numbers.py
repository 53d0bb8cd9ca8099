"""The annotations in which the numbers about tensors stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from graphviz_cli.graph.model import Annotation, Combine

if TYPE_CHECKING:
    from graphviz_cli.capture.probes.statistics import Summary

_FACTS: Sequence[tuple[str, Combine]] = (
    ("", Combine.MAX),
    ("-min", Combine.OWN),
    ("-max", Combine.OWN),
    ("-mean", Combine.OWN),
    ("-zeros", Combine.OWN),
    ("-nan", Combine.MAX),
    ("-inf", Combine.MAX),
)
"""Of nodes that are drawn as one, `OWN` is that of the op nearest to the root."""

_RARE = frozenset(("-nan", "-inf"))
_UNKNOWN = (None,) * len(_FACTS)


def facts(
    name: str,
    of_nodes: Mapping[int, Summary],
    of_edges: Mapping[int, Sequence[Summary | None]],
) -> Iterator[Annotation]:
    """Norm (as `name`), least, largest, mean, and shares of zeros, NaN and infinities.

    That nothing is NaN or infinite is the rule, and would be said of every node: these two are left
    out where they are 0 of all nodes.
    """
    node_rows = {node: _numbers(summary) for node, summary in of_nodes.items()}
    edge_rows = {
        node: tuple(zip(*(_UNKNOWN if s is None else _numbers(s) for s in summaries)))
        for node, summaries in of_edges.items()
    }
    for column, (suffix, combine) in enumerate(_FACTS):
        values = {node: row[column] for node, row in node_rows.items()}
        inputs = {node: row[column] for node, row in edge_rows.items()}
        if suffix in _RARE and not any(values.values()) and not any(map(any, inputs.values())):
            continue
        yield Annotation(f"{name}{suffix}", values, combine=combine, inputs=inputs)


def _numbers(summary: Summary) -> tuple[float, ...]:
    """In the order of `_FACTS`."""
    return (
        summary.norm,
        summary.least,
        summary.largest,
        summary.mean,
        summary.share(summary.zeros),
        summary.share(summary.nans),
        summary.share(summary.infinite),
    )
