"""Parameters whose gradient is lost on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.cut_words import cut_words
from graphviz_cli.graph.fates import Fate, fates
from graphviz_cli.graph.finding import Finding, Severity, listed
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import Status


@dataclass(frozen=True, slots=True)
class SeveredGradient:
    """A parameter whose value goes into the root, but across a place that loses the gradient.

    It is an error where the program did not ask for it: `.item()`, `torch.tensor(t)`, `.data`, an
    integer result. It is a warning where it did, by `detach()` or `torch.no_grad()`, and a note
    where the value does not go on into the root at all (a metric, a log line).
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for each place that cuts, naming all parameters behind it."""
        behind: dict[tuple[int, bool], list[Fate]] = {}
        for fate in fates(graph, parameters_only=False) if not graph.provenance.partial else ():
            if fate.verdict.status is Status.CUT:
                key = fate.verdict.cuts[0], fate.verdict.is_severed
                behind.setdefault(key, []).append(fate)
        for (cut, is_severed), groups in sorted(behind.items(), key=lambda item: item[0]):
            node = graph.nodes[cut]
            words = cut_words(node)
            leaves = [leaf for fate in groups for leaf in fate.leaves]
            severity = Severity.WARNING if words.is_deliberate else Severity.ERROR
            verb = "gets" if len(leaves) == 1 else "get"
            how = "is lost" if is_severed else "ends"
            unseen = groups[0].verdict.reason or "the value does not go on into the root"
            aside = "" if is_severed else f", and {unseen}"
            yield Finding(
                check="severed-gradient",
                severity=severity if is_severed else Severity.NOTE,
                message=(
                    f"{listed([fate.named for fate in groups])} {verb} no gradient: "
                    f"it {how} {words.place}{aside}."
                ),
                nodes=(cut, *leaves),
                source=node.source,
                hint=words.cure,
            )
