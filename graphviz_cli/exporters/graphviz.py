"""SVG, PDF and PNG, laid out by Graphviz."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.style import Style
from graphviz_cli.errors import RendererError
from graphviz_cli.exporters.dot import dot_text
from graphviz_cli.exporters.engine import (
    Engine,
    Layout,
    font_hint,
    fonts_available,
    require_engine,
)
from graphviz_cli.graph.model import Graph, NodeKind

TIMEOUT = 60.0
"""Seconds."""

LIMIT = 3000
"""Boxes. Measured for `dot`: 0.5 s at 900, 4 to 24 s at 4,200, minutes at 9,800."""

_POINTS = 72
"""To the inch."""
_PDF_SIDE = 199
"""Inches: common readers show pages of up to 200, which rounding may exceed."""
_PNG_SIDE = 32_000
"""Pixels: Cairo, which draws for Graphviz, ends at 32,767."""
_PNG_AREA = 100_000_000
"""Pixels: each takes four bytes while the picture is drawn."""


class RenderingWarning(UserWarning):
    """A picture was made, but not as it was asked for."""


@dataclass(frozen=True, slots=True)
class Svg:
    """A picture for the browser, with tooltips.

    Point at a box to see its full name, source line, shapes and formula. It has no limit of size
    and needs no fonts on this machine.
    """

    suffix: ClassVar[str] = ".svg"
    binary: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    timeout: float = TIMEOUT
    limit: int = LIMIT

    def export(self, graph: Graph, style: Style) -> bytes:
        """The picture.

        Raises RendererError where there is no Graphviz, the graph has more than `limit` boxes, or
        the layout takes more than `timeout` seconds.
        """
        _, layout = _laid_out("SVG", graph, style, (self.timeout, self.limit))
        return layout.svg


@dataclass(frozen=True, slots=True)
class Pdf:
    """A picture for print and papers, on one page.

    The page is as large as the graph; one that would be longer than 199 inches is scaled down.
    """

    suffix: ClassVar[str] = ".pdf"
    binary: ClassVar[bool] = True
    whole: ClassVar[bool] = False

    timeout: float = TIMEOUT
    limit: int = LIMIT

    def export(self, graph: Graph, style: Style) -> bytes:
        """The picture. Raises RendererError as Svg does."""
        engine, layout = _laid_out("PDF", graph, style, (self.timeout, self.limit))
        _warn_without_fonts("PDF")
        side = max(_size(layout)) / _POINTS
        # Graphviz's own margin of a page has no background.
        settings = {"margin": "0"}
        if side > _PDF_SIDE:
            settings["size"] = f"{_PDF_SIDE},{_PDF_SIDE}"
            _warn(
                f"The PDF is scaled to {_PDF_SIDE / side:.0%}: readers show pages of up to "
                f"{_PDF_SIDE} inches. Fold more, or use SVG."
            )
        return engine.render(layout, "pdf", settings, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class Png:
    """A picture as pixels.

    `dpi` is the resolution; a picture that would have more than 32,000 pixels a side is drawn
    with fewer.
    """

    suffix: ClassVar[str] = ".png"
    binary: ClassVar[bool] = True
    whole: ClassVar[bool] = False

    dpi: int = 144
    timeout: float = TIMEOUT
    limit: int = LIMIT

    def export(self, graph: Graph, style: Style) -> bytes:
        """The picture. Raises RendererError as Svg does."""
        engine, layout = _laid_out("PNG", graph, style, (self.timeout, self.limit))
        _warn_without_fonts("PNG")
        width, height = (side / _POINTS for side in _size(layout))
        most = min(_PNG_SIDE / max(width, height), math.sqrt(_PNG_AREA / (width * height)))
        dpi = max(1, min(self.dpi, math.floor(most)))
        if dpi < self.dpi:
            _warn(
                f"The PNG has {dpi} instead of {self.dpi} dots per inch, so that its "
                f"{width:.0f} x {height:.0f} inches can be drawn. Fold more, or use SVG."
            )
        return engine.render(layout, "png", {"dpi": str(dpi)}, timeout=self.timeout)


def _laid_out(
    what: str, graph: Graph, style: Style, limits: tuple[float, int]
) -> tuple[Engine, Layout]:
    timeout, most = limits
    # Leaves may become chips, so they count only once the diagram is there; but that takes too
    # long for a graph that is bound to be refused.
    leaves = len(graph.nodes.ids(NodeKind.LEAF)) + len(graph.nodes.ids(NodeKind.CONSTANT))
    _refuse_more(most, len(graph.nodes) - leaves)
    diagram = draw(graph, style)
    _refuse_more(most, len(diagram.boxes))
    engine = require_engine(what)
    return engine, _lay_out(engine, dot_text(diagram, style), timeout)


@lru_cache(maxsize=1)
def _lay_out(engine: Engine, text: str, timeout: float) -> Layout:
    """The layout of a text, kept for the next format of the same picture."""
    return engine.lay_out(text, timeout=timeout)


def _refuse_more(most: int, boxes: int) -> None:
    if boxes > most:
        raise RendererError(
            f"The picture would have {boxes:,} boxes, and Graphviz gets at most {most:,}.",
            hint="Fold it: --depth auto or --depth 2; or draw a part: --module GLOB. "
            "-o graph.dot has no limit.",
        )


def _size(layout: Layout) -> tuple[float, float]:
    """Width and height in points, from the `viewBox`."""
    found = re.search(rb'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', layout.svg)
    if found is None:
        raise RendererError("Graphviz wrote a picture without a size.")
    return max(1.0, float(found[1])), max(1.0, float(found[2]))


def _warn_without_fonts(what: str) -> None:
    if not fonts_available():
        _warn(f"There are no fonts here: the {what} shows boxes for letters. {font_hint()}")


def _warn(text: str) -> None:
    warnings.warn(text, RenderingWarning, stacklevel=4)
