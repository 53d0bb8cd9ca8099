"""Saved tensors that were changed before backward could use them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import MODIFIED


@dataclass(frozen=True, slots=True)
class ModifiedSavedTensor:
    """A tensor that an op saved for backward, and that was then written to in place.

    `backward()` raises "one of the variables needed for gradient computation has been modified by
    an inplace operation" when it comes to that op.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding an op: its own line, and in the message that of the write."""
        modified = graph.annotations.get(MODIFIED)
        for node, text in sorted(modified.values.items()) if modified else ():
            op = graph.nodes[node]
            yield Finding(
                check="modified-saved-tensor",
                severity=Severity.ERROR,
                message=f"{op.name} needs a tensor that has changed since: "
                f"{str(text).rstrip('.')}.",
                nodes=(node,),
                source=op.source,
                hint="Write into a new tensor (x = x + 1 for x += 1), or give the op a clone().",
            )
