"""Parameters that get their gradient in two passes of the engine."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.fates import grouped
from graphviz_cli.graph.finding import Finding, Severity, listed
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import UNKNOWN, Status, verdicts


@dataclass(frozen=True, slots=True)
class ReachedTwiceUnderReentrantCheckpoint:
    """A parameter that is used inside a reentrant checkpoint and outside of it as well.

    The gradient is right, but it is accumulated in two separate passes of the engine:
    DistributedDataParallel then raises "Expected to mark a variable ready only once", and a hook
    on the parameter fires twice.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for all such parameters."""
        inside = graph.annotations.get(UNKNOWN)
        if inside is None:
            return
        twice = {
            leaf: verdict
            for leaf, verdict in verdicts(graph, parameters_only=True).items()
            if verdict.status is Status.REACHED
            and "checkpoint" in str(inside.values.get(leaf, "")).lower()
        }
        if twice:
            be = "is" if len(twice) == 1 else "are"
            yield Finding(
                check="reached-twice-under-reentrant-checkpoint",
                severity=Severity.WARNING,
                message=f"{listed([fate.named for fate in grouped(graph, twice)])} {be} used both "
                "inside and outside of a reentrant checkpoint.",
                nodes=tuple(twice),
                hint="Call checkpoint(..., use_reentrant=False).",
            )
