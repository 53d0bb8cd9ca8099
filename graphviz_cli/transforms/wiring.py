"""What reads what: the edges of a graph as the comparison of blocks needs them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from graphviz_cli.graph.model import NodeKind
from graphviz_cli.transforms.hide import hidden_views
from graphviz_cli.transforms.outline import Outline


class Wiring:
    """The edges of a graph by their source, and how often every node is read."""

    __slots__ = (
        "graph",
        "is_leaf",
        "offsets",
        "outline",
        "positions",
        "readers",
        "tokens",
        "views",
    )

    def __init__(self, outline: Outline, tokens: Sequence[int]) -> None:
        self.outline = outline
        graph = self.graph = outline.graph
        nodes = graph.nodes
        self.offsets = outline.offsets
        self.tokens = tokens
        """Equal for nodes that are equal by themselves."""
        self.views = hidden_views(graph)
        self.readers = array("i", bytes(4 * len(nodes)))
        for target in graph.edges.targets:
            self.readers[target] += 1
        for root in graph.roots:
            self.readers[root.node] += 1
        kinds = [kind in (NodeKind.LEAF, NodeKind.CONSTANT) for kind in nodes.kinds.values]
        self.is_leaf = bytearray(map(kinds.__getitem__, nodes.kinds.codes))
        self.positions = array("i", [-1]) * len(nodes)
        """Scratch: the place of a node among the ops that are being compared."""
