"""A limit for the memory that is saved for backward."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.drawing.format import bytes_text
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import NONE, Graph, held_bytes


@dataclass(frozen=True, slots=True)
class SavedBytes:
    """More memory saved for backward than allowed: `saved-bytes:max=2GB`.

    Counted are the storages that only the graph keeps alive, each once; parameters, buffers and
    inputs are not among them.
    """

    max: int
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """At most one finding, at the op that saves most."""
        held = held_bytes(graph)
        if held <= self.max:
            return
        saved = graph.nodes.saved
        most, largest = 0, -1
        for node in range(len(graph.nodes)):
            rows = set(saved.storages[saved.offsets[node] : saved.offsets[node + 1]]) - {NONE}
            amount = sum(graph.storages[row].nbytes for row in rows if graph.storages[row].owned)
            if amount > largest:
                most, largest = node, amount
        yield Finding(
            check="saved-bytes",
            severity=Severity.ERROR,
            message=f"{held:,} bytes are saved for backward, {self.max:,} are allowed.",
            nodes=(most,),
            source=graph.nodes.sources[most],
            hint=f"{graph.nodes.names[most]} saves most ({bytes_text(largest)}); "
            "try torch.utils.checkpoint, or a smaller batch.",
        )
