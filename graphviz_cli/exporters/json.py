"""The saved graph as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.drawing.style import Style
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.serial import dumps


@dataclass(frozen=True, slots=True)
class Json:
    """The whole graph as data, to be drawn again later or read by other programs.

    Nothing is folded or left out, whatever the picture shows, and drawing it again needs neither
    torch nor the model. One node is one line; docs/graph.schema.json describes the format.
    """

    suffix: ClassVar[str] = ".json"
    binary: ClassVar[bool] = False
    whole: ClassVar[bool] = True

    def export(self, graph: Graph, style: Style) -> bytes:
        """The bytes that `graphviz_cli.graph.serial.loads` reads."""
        return dumps(graph)
