"""Parameters that an optimizer holds though they are frozen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.fates import grouped
from graphviz_cli.graph.finding import Finding, Severity, listed
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import OPTIMIZER, Status, verdicts


@dataclass(frozen=True, slots=True)
class FrozenParameterInOptimizer:
    """A parameter with requires_grad=False that an optimizer of the program holds.

    The optimizer never changes it: either it was frozen by mistake, or it need not be there.
    Unfreezing it later works only if the optimizer holds it, which is the one good reason.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding an optimizer."""
        held = graph.annotations.get(OPTIMIZER)
        if held is None:
            return
        frozen = {
            leaf: verdict
            for leaf, verdict in verdicts(graph, parameters_only=True).items()
            if leaf in held.values and verdict.status is Status.FROZEN
        }
        by_optimizer: dict[str, list[int]] = {}
        for leaf in frozen:
            by_optimizer.setdefault(str(held.values[leaf]), []).append(leaf)
        for optimizer, leaves in sorted(by_optimizer.items()):
            groups = grouped(graph, {leaf: frozen[leaf] for leaf in leaves})
            names = [
                f"{len(fate.leaves)} parameters" if fate.pattern == "*" else fate.named
                for fate in groups
            ]
            be, them = ("is", "it") if len(leaves) == 1 else ("are", "them")
            yield Finding(
                check="frozen-parameter-in-optimizer",
                severity=Severity.WARNING,
                message=f"{listed(names)} {be} frozen, but {optimizer} holds {them}.",
                nodes=tuple(leaves),
                hint="Give the optimizer only what learns: "
                "[p for p in model.parameters() if p.requires_grad].",
            )
