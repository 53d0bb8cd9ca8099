"""Tensors that a custom Function keeps as plain attributes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import KEPT_ON_CTX


@dataclass(frozen=True, slots=True)
class TensorKeptOnCtx:
    """A tensor that a custom Function stores as `ctx.name = tensor`.

    `backward()` does not free it, a write to it in place goes unnoticed, and an output kept this
    way keeps itself alive. Tensors belong into `ctx.save_for_backward`.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for all nodes of a Function that keep the same names."""
        kept = graph.annotations.get(KEPT_ON_CTX)
        places: dict[tuple[str, str], list[int]] = {}
        for node, names in sorted(kept.values.items()) if kept else ():
            places.setdefault((graph.nodes.names[node], str(names)), []).append(node)
        for (op, names), nodes in places.items():
            times = f" ({len(nodes):,} times)" if len(nodes) > 1 else ""
            yield Finding(
                check="tensor-kept-on-ctx",
                severity=Severity.WARNING,
                message=f"{op} keeps {names}{times}, which backward() does not free.",
                nodes=tuple(nodes),
                source=graph.nodes.sources[nodes[0]],
                hint="Use ctx.save_for_backward() in forward, and ctx.saved_tensors in backward.",
            )
