"""Graphviz's own language, the cards as HTML-like labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.drawing.diagram import (
    Arrow,
    Box,
    Chip,
    Cluster,
    Diagram,
    Key,
    Look,
    Row,
    Sign,
    Tint,
)
from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.format import visible
from graphviz_cli.drawing.style import Paint, Style
from graphviz_cli.graph.model import Graph

FONT = "Helvetica,Arial,sans-serif"
SHARED = "◆"
"""Marks a chip that stands at several boxes."""

_MANY_BOXES = 400
_KEYS_A_ROW = 3
_CHIPS_A_ROW = 3
# Graphviz cuts the fraction off a size in an HTML-like label.
_HEADLINE, _TITLE, _TEXT, _SMALL = 14, 11, 9, 8

_HTML = str.maketrans(
    {"\\": "\\\\", "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "]": "&#93;"}
)

_ROUNDED = frozenset(Look) - {Look.OP}
_DASHED = frozenset((Look.CONSTANT, Look.CUT, Look.ABSENT))


@dataclass(frozen=True, slots=True)
class Dot:
    """The picture as text for Graphviz.

    Needs no Graphviz to be written. Lay it out with `dot -Tsvg graph.dot > graph.svg`, or change
    it by hand before.
    """

    suffix: ClassVar[str] = ".dot"
    binary: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def export(self, graph: Graph, style: Style) -> bytes:
        """The graph as UTF-8 text in the DOT language."""
        return dot_text(draw(graph, style), style).encode()


def html_text(text: str) -> str:
    r"""Any text as the content or an attribute of an HTML-like label.

    Graphviz decodes the entities first and then, in the text that comes out, still replaces `\N`,
    `\G` and the like (the Graphviz manual on escString; it does so in HTML-like labels too), so a
    backslash is doubled. It hands the label to its XML parser in pieces, and a piece that ends in
    `]` is a syntax error to it (seen in 2.43).
    """
    return visible(text).translate(_HTML)


def quoted_text(text: str) -> str:
    r"""Any text, also of several lines, as a quoted tooltip.

    Graphviz replaces the escapes of a tooltip twice, hence four backslashes for one.
    """
    lines = (visible(line).replace("\\", "\\" * 4) for line in text.split("\n"))
    return '"' + "\\n".join(lines).replace("&", "&amp;").replace('"', '\\"') + '"'


def dot_text(diagram: Diagram, style: Style) -> str:
    """Write a diagram in the DOT language."""
    return "\n".join(_Writer(diagram, style).lines()) + "\n"


class _Writer:
    def __init__(self, diagram: Diagram, style: Style) -> None:
        self.diagram = diagram
        self.style = style
        self.theme = style.theme
        self.paints = {
            Look.OP: self.theme.op,
            Look.MODULE: self.theme.module,
            Look.PARAMETER: self.theme.parameter,
            Look.INPUT: self.theme.input,
            Look.CONSTANT: self.theme.constant,
            Look.CUT: self.theme.cut,
            Look.ABSENT: self.theme.cut,
        }

    def lines(self) -> Iterator[str]:
        theme = self.theme
        # For flat graphs of hundreds of boxes: up to 20 times faster at little loss (measured).
        hurry = ", nslimit=1, mclimit=0.1" if len(self.diagram.boxes) > _MANY_BOXES else ""
        yield "digraph autograd {"
        yield (
            f"  graph [rankdir={self.style.direction}, nodesep=0.3, ranksep=0.28, splines=spline, "
            f'pad=0.3, bgcolor="{theme.background}", fontname="{FONT}", fontsize={_TITLE}, '
            f'fontcolor="{theme.text}", labelloc=t, labeljust=l{hurry}];'
        )
        yield f'  node [shape=plain, fontname="{FONT}", fontsize=10, fontcolor="{theme.text}"];'
        yield (
            f'  edge [color="{theme.edge}", penwidth=1.1, arrowsize=0.55, weight=2, '
            f'fontname="{FONT}", fontsize=8, fontcolor="{theme.dim}"];'
        )
        yield f"  label=<{self._header()}>;"
        yield from self._content()
        for arrow in self.diagram.arrows:
            yield from self._arrow(arrow)
        yield "}"

    def _content(self) -> Iterator[str]:
        """Panels with what is in them, by a stack: modules may be nested without limit."""
        boxes: dict[int | None, list[Box]] = {}
        for box in self.diagram.boxes:
            boxes.setdefault(box.cluster, []).append(box)
        panels: dict[int | None, list[int]] = {}
        for index, cluster in enumerate(self.diagram.clusters):
            panels.setdefault(cluster.parent, []).append(index)
        stack: list[int | str | None] = [None]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                yield item
                continue
            depth = 0
            if item is not None:
                cluster = self.diagram.clusters[item]
                depth = cluster.depth + 1
                opening, closing = self._panel(cluster)
                yield f"{'  ' * depth}{opening}"
                stack.append(f"{'  ' * depth}{closing}")
            for box in boxes.get(item, ()):
                yield f"{'  ' * (depth + 1)}{self._node(box)}"
            stack.extend(reversed(panels.get(item, ())))

    def _panel(self, cluster: Cluster) -> tuple[str, str]:
        theme = self.theme
        fill = theme.module_alternate if cluster.depth % 2 else theme.module.fill
        look = f'style="rounded,filled", fillcolor="{fill}", color="{theme.module.line}"'
        times = f" ×{cluster.repeats}" if cluster.repeats > 1 else ""
        label = self._font(cluster.title + times, _TITLE, bold=True)
        if cluster.note:
            # On one line with the name it would reach the arrows, which enter in the middle.
            end = '<br align="left"/>'
            label += f"{end}{self._font(cluster.note, _TEXT, theme.dim)}{end}"
        opening, closing = "", "}"
        if times:
            # A second panel looks out from behind the first.
            opening = f'subgraph "{cluster.id}_stack" {{ graph [{look}, label="", margin=4]; '
            closing = "}}"
        tooltip = quoted_text(cluster.tooltip)
        opening += (
            f'subgraph "{cluster.id}" {{ graph [{look}, label=<{label}>, labeljust=l, labelloc=t, '
            f'margin=9, id="{cluster.id}", tooltip={tooltip}];'
        )
        return opening, closing

    def _node(self, box: Box) -> str:
        tooltip = quoted_text(box.tooltip)
        return f'"{box.id}" [id="{box.id}", tooltip={tooltip}, label=<{self._card(box)}>];'

    def _card(self, box: Box) -> str:
        paint = self.theme.root if box.root else self.paints[box.look]
        fill = box.tint.fill if box.tint else paint.fill
        ink, dim = (box.tint.ink,) * 2 if box.tint else (self.theme.text, self.theme.dim)
        title = self._font(box.title, _TITLE, ink, bold=True)
        if box.look is Look.CUT:
            title = self._font("✂ ", _TITLE, ink) + title
        if box.variable:
            title = self._font(f"{box.variable} = ", _TITLE - 1, dim) + title
        if box.repeats > 1:
            title += self._font(f" ×{box.repeats}", _TITLE, ink, bold=True)
        if box.note:
            title += self._font(f"  {box.note}", _TEXT, dim)
        rows = [f'<tr><td cellpadding="2">{title}</td></tr>']
        rows += [f"<tr><td>{self._font(line, _TEXT, dim)}</td></tr>" for line in box.lines]
        if box.rows:
            rows.append(f"<tr><td>{self._list(box.rows, ink, dim)}</td></tr>")
        for start in range(0, len(box.chips), _CHIPS_A_ROW):
            chips = "".join(map(self._chip, box.chips[start : start + _CHIPS_A_ROW]))
            rows.append(f"<tr><td>{_table(f'<tr>{chips}</tr>', cellspacing=3)}</td></tr>")
        body = f"<td>{_table(''.join(rows), cellpadding=1)}</td>"
        if box.saves:
            body = f'<td width="5" bgcolor="{self.theme.saved.line}"></td>{body}'
        line = self.theme.finding if box.finding else paint.line
        card = _table(
            f"<tr>{body}</tr>",
            border=2 if box.root or box.finding else 1,
            # The bar keeps clear of round corners.
            cellspacing=5 if box.saves and box.look in _ROUNDED else 3,
            style=_table_style(box.look),
            color=line,
            bgcolor=fill,
        )
        return self._stacked(card, box.look, fill, line) if box.repeats > 1 else card

    def _stacked(self, card: str, look: Look, fill: str, line: str) -> str:
        """The card with another one looking out behind it, below and at its right."""
        gap = '<td width="5" height="5" fixedsize="true"></td>'
        return _table(
            f"<tr><td>{card}</td>{gap}</tr><tr>{gap}</tr>",
            border=1,
            style=_table_style(look),
            color=line,
            bgcolor=fill,
        )

    def _list(self, rows: Sequence[Row], ink: str, dim: str) -> str:
        cells = []
        for row in rows:
            fill = f' bgcolor="{self.theme.saved.fill}"' if row.saved else ""
            first, rest = (self.theme.text, self.theme.dim) if row.saved else (ink, dim)
            line = f'<td align="left"{fill}>{self._font(row.title, _SMALL, first)}</td>'
            line += f'<td align="left"{fill}>{self._font(row.detail, _SMALL, rest)}</td>'
            if any(other.amount for other in rows):
                line += f'<td align="right"{fill}>{self._font(row.amount, _SMALL, rest)}</td>'
            cells.append(f"<tr>{line}</tr>")
        return _table("".join(cells), cellpadding=2)

    def _chip(self, chip: Chip) -> str:
        paint = self.paints[chip.look]
        fill = chip.tint.fill if chip.tint else paint.fill
        ink = chip.tint.ink if chip.tint else self.theme.text
        line = self.theme.finding if chip.finding else paint.line
        # One font only: Graphviz 2.43 moves a line of several off the middle of a low cell.
        parts = (chip.title, chip.detail, SHARED if chip.shared else "")
        text = self._font(f" {' '.join(filter(None, parts))} ", _SMALL, ink)
        # An empty address makes Graphviz keep the tooltip of a cell.
        return (
            f'<td border="1" cellpadding="2" style="{_table_style(chip.look)}" '
            f'color="{line}"{_fill(fill)} id="{chip.id}" href="" '
            f'title="{_title(chip.tooltip)}">{text}</td>'
        )

    def _arrow(self, arrow: Arrow) -> Iterator[str]:
        attributes = []
        if arrow.broken or arrow.unasked:
            paint = self.theme.constant if arrow.unasked else self.theme.cut
            attributes.append(f'style=dashed, color="{paint.line}"')
        if arrow.blocked:
            attributes.append("arrowhead=tee, arrowsize=0.8")
        if arrow.views:
            attributes.append("dir=both, arrowtail=odot")
        if arrow.count > 2:
            attributes.append(f'xlabel="×{arrow.count}", penwidth=1.8')
        if arrow.main:
            attributes.append("weight=6")
        attributes.append(f"tooltip={quoted_text(arrow.tooltip)}")
        # Two are easily told apart when drawn, more are counted.
        for number in range(2 if arrow.count == 2 else 1):
            own = attributes
            if arrow.count <= 2 and number < len(arrow.labels) and arrow.labels[number]:
                own = [f"label=<{self._arrow_label(arrow.labels[number])}>", *attributes]
            yield f'  "{arrow.source}" -> "{arrow.target}" [{", ".join(own)}];'

    def _arrow_label(self, text: str) -> str:
        """Lines of text that keep clear of the arrow on their left."""
        rows = [
            f'<tr><td align="left">{self._font(line, _SMALL, self.theme.text)}</td></tr>'
            for line in text.split("\n")
        ]
        return _table("".join(rows), cellpadding=1, cellspacing=2)

    def _header(self) -> str:
        theme, diagram = self.theme, self.diagram
        rows = [self._font(diagram.title, _HEADLINE, theme.text, bold=True)]
        rows.append(self._font(" · ".join(diagram.facts), _TEXT, theme.dim))
        rows.append(self._font(" · ".join(diagram.hidden), _TEXT, theme.dim))
        rows += [self._font(r, _TEXT, theme.cut.line, bold=True) for r in diagram.remarks]
        steps = [key for key in diagram.legend if isinstance(key.sign, Tint)]
        kinds = [key for key in diagram.legend if not isinstance(key.sign, Tint)]
        rows += [self._legend(kinds, _KEYS_A_ROW)] if kinds else []
        rows += [self._legend(steps, len(steps))] if steps else []
        html = "".join(f'<tr><td align="left">{row}</td></tr>' for row in rows if row)
        return _table(html or "<tr><td></td></tr>", cellpadding=2)

    def _legend(self, keys: Sequence[Key], a_row: int) -> str:
        rows = []
        for start in range(0, len(keys), a_row):
            cells = "".join(
                f'<td align="left">{self._swatch(key)}</td>'
                f'<td align="left">{self._font(f"{key.text}   ", _TEXT, self.theme.text)}</td>'
                for key in keys[start : start + a_row]
            )
            rows.append(f"<tr>{cells}</tr>")
        return _table("".join(rows), cellpadding=1, cellspacing=2)

    def _swatch(self, key: Key) -> str:
        theme, sign = self.theme, key.sign
        size = 'width="18" height="11" fixedsize="true"'
        match sign:
            case Tint():
                cell = f'<td {size} bgcolor="{sign.fill}"></td>'
            case Sign.SAVED:
                cell = (
                    f'<td width="5" height="11" fixedsize="true" bgcolor="{theme.saved.line}"></td>'
                )
            case Sign.VIEWS:
                cell = f"<td>{self._font('o—', _TEXT, theme.edge)}</td>"
            case Sign.FLOW:
                cell = f"<td>{self._font('∂', _TEXT, theme.text, bold=True)}</td>"
            case Sign.SHARED:
                cell = f"<td>{self._font(SHARED, _TEXT, theme.parameter.line)}</td>"
            case Sign.REPEATED:
                cell = f"<td>{self._font('×N', _TEXT, theme.text, bold=True)}</td>"
            case Sign.ROOT:
                cell = _swatch_cell(size, theme.root, border=2)
            case Sign.FINDING:
                cell = _swatch_cell(size, Paint("", theme.finding), border=2)
            case Sign.PANEL:
                cell = _swatch_cell(size, theme.module, style="rounded")
            case Look():
                cell = _swatch_cell(size, self.paints[sign], style=_table_style(sign))
        return _table(f"<tr>{cell}</tr>")

    def _font(self, text: str, size: int, color: str = "", *, bold: bool = False) -> str:
        """Text in HTML; nothing for no text, since Graphviz refuses an empty `<font>`."""
        if not text:
            return ""
        content = f"<b>{html_text(text)}</b>" if bold else html_text(text)
        tint = f' color="{color}"' if color and color != self.theme.text else ""
        return f'<font point-size="{size}"{tint}>{content}</font>'


def _table(rows: str, **attributes: int | str) -> str:
    given = {"border": 0, "cellborder": 0, "cellspacing": 0, "cellpadding": 0, **attributes}
    text = " ".join(f'{name}="{value}"' for name, value in given.items() if value != "")
    return f"<table {text}>{rows}</table>"


def _table_style(look: Look) -> str:
    styles = ("rounded" if look in _ROUNDED else "", "dashed" if look in _DASHED else "")
    return ",".join(filter(None, styles))


def _fill(color: str) -> str:
    return f' bgcolor="{color}"' if color else ""


def _swatch_cell(size: str, paint: Paint, *, border: int = 1, style: str = "") -> str:
    shape = f' style="{style}"' if style else ""
    return f'<td {size} border="{border}"{shape} color="{paint.line}"{_fill(paint.fill)}></td>'


def _title(tooltip: str) -> str:
    return "&#10;".join(map(html_text, tooltip.split("\n")))
