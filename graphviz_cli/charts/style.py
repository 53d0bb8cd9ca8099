"""How a chart shall look: the colours are those of the house's themes."""

from __future__ import annotations

from dataclasses import dataclass

from graphviz_cli.drawing.style import THEMES, Theme

FONT = "Helvetica,Arial,sans-serif"


@dataclass(frozen=True, slots=True)
class ChartStyle:
    """What a chart is written on; pictures and pages show themselves in light and in dark."""

    color: bool = False
    """Text may carry terminal colours."""
    ascii: bool = False
    """Text keeps to ASCII."""
    width: int | None = None
    """Room in characters; 80 where it is None."""


INKS = ("parameter", "saved", "input", "cut")
"""The classes of lines, for the first series of a panel, the second, and so on."""


def picture_rules() -> str:
    """The CSS of a picture: first in light, so that a viewer without media queries shows that."""
    light, dark = _colors(THEMES["light"]), _colors(THEMES["dark"])
    return f"{_FIXED}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


_FIXED = (
    f".chart text{{font:10px {FONT}}}.chart .title{{font-size:12px;font-weight:bold}}"
    ".chart .head{font-size:16px;font-weight:bold}.chart .line{fill:none;stroke-width:1.4;"
    "stroke-linejoin:round;stroke-linecap:round}.chart .thin{stroke-width:1;stroke-dasharray:4 2}"
    ".chart .frame,.chart .grid{stroke-width:1}.chart .change{stroke-width:1;"
    "stroke-dasharray:2 2}.chart .hit{fill:none;pointer-events:all}.chart .end{text-anchor:end}"
    ".chart .middle{text-anchor:middle}"
)


def _colors(theme: Theme) -> str:
    lines = "".join(
        f".chart .{ink}{{stroke:{getattr(theme, ink).line}}}"
        f".chart .dot.{ink}{{fill:{getattr(theme, ink).line};stroke:none}}"
        for ink in INKS
    )
    return (
        f".chart .paper{{fill:{theme.background}}}.chart text{{fill:{theme.text}}}"
        f".chart .dim{{fill:{theme.dim}}}"
        f".chart .frame{{fill:{theme.module.fill};stroke:{theme.module.line}}}"
        f".chart .grid{{stroke:{theme.module.line};stroke-opacity:.5}}"
        f".chart .change{{stroke:{theme.edge}}}.chart .bad{{fill:{theme.finding}}}"
        f".chart .zero{{fill:{theme.edge}}}.chart path.zero{{fill:none;stroke:{theme.edge}}}"
        f".chart .frame.outline{{fill:none}}{lines}"
    )
