"""Parameters that no op of the root uses."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.fates import fates
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import Status


@dataclass(frozen=True, slots=True)
class UnusedParameter:
    """A parameter that nothing in the root was computed from.

    `backward()` leaves its `.grad` None. An optimizer skips it, weight decay included, and
    DistributedDataParallel waits for it unless it was told `find_unused_parameters=True`.
    It is a note where it cannot be told whether the parameter is used.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for the parameters of a module that share their fate."""
        for fate in fates(graph) if not graph.provenance.partial else ():
            severity, hint = Severity.ERROR, ""
            several = len(fate.leaves) > 1
            match fate.verdict.status:
                case Status.UNUSED:
                    be, them = ("are", "them") if several else ("is", "it")
                    message = f"{fate.named} {be} never used: no op of the forward pass took {them}"
                    hint = f"Use {them} in forward(), or remove {them}."
                case Status.DROPPED:
                    be = "were" if several else "was"
                    place = f" at {fate.verdict.reason}" if fate.verdict.reason else ""
                    message = f"{fate.named} {be} used{place}, but nothing of the result is in the "
                    message += "root"
                    hint = "Is an output left out of the loss?"
                case Status.UNKNOWN:
                    severity = Severity.NOTE
                    verb = "get" if several else "gets"
                    reason = fate.verdict.reason.rstrip(".")
                    message = f"It cannot be told whether {fate.named} {verb} a gradient: {reason}"
                case _:
                    continue
            yield Finding(
                check="unused-parameter",
                severity=severity,
                message=f"{message}.",
                nodes=fate.leaves,
                hint=hint,
            )
