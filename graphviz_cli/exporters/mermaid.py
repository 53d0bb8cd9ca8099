"""Mermaid: a flowchart as text, which GitHub and many editors draw by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.drawing.diagram import Box, Diagram, Look
from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.format import counted, shortened, visible
from graphviz_cli.drawing.style import Paint, Style
from graphviz_cli.errors import RendererError
from graphviz_cli.graph.model import Graph
from graphviz_cli.transforms.fold import Fold

MOST_ARROWS = 499
"""`maxEdges` of mermaid is 500 (its configuration schema), and GitHub does not raise it."""

MOST_CHARACTERS = 50_000
"""`maxTextSize` of mermaid."""

_BUDGETS = (120, 80, 50, 30, 15, 8)
_LABEL = 60
_TITLE = 240

_SHAPES = {
    Look.OP: ("[", "]"),
    Look.MODULE: ("[[", "]]"),
    Look.PARAMETER: ("([", "])"),
    Look.INPUT: ("([", "])"),
    Look.CONSTANT: ("([", "])"),
    Look.CUT: ("([", "])"),
    Look.ABSENT: ("[", "]"),
}
_ROOT_SHAPE = ("{{", "}}")


@dataclass(frozen=True, slots=True)
class Mermaid:
    """A flowchart for GitHub, GitLab and Markdown.

    Folds the graph further until it is within mermaid's limits of 500 arrows and 50,000
    characters. `fence` puts it into a Markdown code block.
    """

    suffix: ClassVar[str] = ".mmd"
    binary: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    fence: bool = False

    def export(self, graph: Graph, style: Style) -> bytes:
        """The flowchart as UTF-8 text.

        Raises RendererError if it cannot be folded enough.
        """
        text = ""
        arrows = 0
        for budget in (None, *_BUDGETS):
            folded = graph if budget is None else Fold(depth="auto", budget=budget).apply(graph)
            if len(folded.nodes) > 20 * MOST_ARROWS:
                # More boxes than arrows are no use, and drawing them takes time.
                arrows = len(folded.edges)
                continue
            diagram = draw(folded, style)
            arrows = sum(_lines_of(arrow.count) for arrow in diagram.arrows)
            if arrows > MOST_ARROWS:
                continue
            text = mermaid_text(diagram, style)
            if self.fence:
                text = f"```mermaid\n{text}```\n"
            if len(text) <= MOST_CHARACTERS:
                return text.encode()
        raise RendererError(
            f"The flowchart would have {counted(arrows, 'arrow')}"
            + (f" and {len(text):,} characters" if text else "")
            + f"; mermaid draws up to {MOST_ARROWS} and {MOST_CHARACTERS:,}.",
            hint="Draw a part of it: --module GLOB; or as another format: -o graph.svg",
        )


def label_text(text: str) -> str:
    """Any text as the content of a quoted label.

    Mermaid reads labels as HTML and its newer versions as Markdown too, so everything that could
    mean something there becomes a numbered entity, which it decodes last.
    """
    text = visible(text)
    return "".join(
        character if _is_plain(text, place) else f"#{ord(character)};"
        for place, character in enumerate(text)
    )


def mermaid_text(diagram: Diagram, style: Style) -> str:
    """Write a diagram as a flowchart."""
    return "\n".join(_lines(diagram, style)) + "\n"


def _is_plain(text: str, place: int) -> bool:
    character = text[place]
    if character == "_":
        # Markdown leaves an underscore inside a word alone.
        around = text[place - 1 : place] + text[place + 1 : place + 2]
        return len(around) == 2 and around.isalnum()
    if character == ".":
        # Not at the end of a word: `1.` would begin a list.
        return text[place + 1 : place + 2].strip() != ""
    if character == " ":
        return 0 < place < len(text) - 1 and text[place - 1] != " "
    # The ligature stands for entities inside mermaid (`encodeEntities` in its utils.ts).
    return (character.isalnum() and character != "ﬂ") or character in ",=/()×·…→✂◆"


def _lines_of(count: int) -> int:
    """Two edges are drawn as two arrows, more as one with their number."""
    return 2 if count == 2 else 1


def _lines(diagram: Diagram, style: Style) -> Iterator[str]:
    theme = style.theme
    title = " · ".join(filter(None, (diagram.title, *diagram.facts, *diagram.hidden)))
    title = " · ".join((shortened(title, _TITLE), *diagram.remarks))
    yield "---"
    yield f"title: {json.dumps(title, ensure_ascii=False)}"
    yield "---"
    yield f"flowchart {style.direction}"
    names = {box.id: f"n{number}" for number, box in enumerate(diagram.boxes)}
    yield from _content(diagram, names)
    for arrow in diagram.arrows:
        line = "-.->" if arrow.broken or arrow.unasked else "-->"
        if arrow.blocked:
            line = "-.-x"
        if arrow.count > 2:
            line += f'|"×{arrow.count}"|'
        for number in range(_lines_of(arrow.count)):
            text = arrow.labels[number] if arrow.count <= 2 and arrow.labels else ""
            lines = "<br/>".join(map(label_text, text.split("\n")))
            label = f'|"{lines}"|' if text else ""
            yield f"  {names[arrow.source]} {line}{label} {names[arrow.target]}"
    paints = {
        "op": theme.op,
        "module": theme.module,
        "parameter": theme.parameter,
        "input": theme.input,
        "constant": theme.constant,
        "cut": theme.cut,
        "absent": theme.cut,
        "root": theme.root,
    }
    used = {_class(box) for box in diagram.boxes}
    for name, paint in paints.items():
        if name in used:
            dashed = ",stroke-dasharray:4" if name in ("constant", "cut", "absent") else ""
            thick = ",stroke-width:3px" if name == "root" else ""
            yield f"  classDef {name} {_colors(paint, theme.text)}{dashed}{thick}"
    if diagram.clusters:
        yield f"  classDef panel {_colors(theme.module, theme.text)}"
        yield f"  class {','.join(f'c{number}' for number in range(len(diagram.clusters)))} panel"
    found = [names[box.id] for box in diagram.boxes if _is_found(box)]
    if found:
        yield f"  classDef finding stroke:{theme.finding},stroke-width:3px"
        yield f"  class {','.join(found)} finding"
    for box in diagram.boxes:
        if box.tint is not None:
            yield f"  style {names[box.id]} fill:{box.tint.fill},color:{box.tint.ink}"


def _content(diagram: Diagram, names: dict[str, str]) -> Iterator[str]:
    """Boxes and panels, by a stack: modules may be nested without limit."""
    boxes: dict[int | None, list[Box]] = {}
    for box in diagram.boxes:
        boxes.setdefault(box.cluster, []).append(box)
    panels: dict[int | None, list[int]] = {}
    for number, cluster in enumerate(diagram.clusters):
        panels.setdefault(cluster.parent, []).append(number)
    stack: list[int | str | None] = [None]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
            continue
        indent = "  "
        if item is not None:
            cluster = diagram.clusters[item]
            indent += "  " * cluster.depth
            label = " · ".join(filter(None, (cluster.title, cluster.note)))
            if cluster.repeats > 1:
                label += f" ×{cluster.repeats}"
            yield f'{indent}subgraph c{item}["{label_text(label)}"]'
            stack.append(f"{indent}end")
            indent += "  "
        for box in boxes.get(item, ()):
            yield f"{indent}{names[box.id]}{_label(box)}:::{_class(box)}"
        stack.extend(reversed(panels.get(item, ())))


def _label(box: Box) -> str:
    title = box.title
    if box.look is Look.CUT:
        title = f"✂ {title}"
    if box.variable:
        title = f"{box.variable} = {title}"
    if box.repeats > 1:
        title += f" ×{box.repeats}"
    leaves = ", ".join(f"{chip.title} {chip.detail}".strip() for chip in box.chips)
    listed = [f"{row.title} {row.detail} {row.amount}".strip() for row in box.rows]
    small = [line for line in (box.note, *box.lines, leaves, *listed) if line]
    opening, closing = _ROOT_SHAPE if box.root else _SHAPES[box.look]
    text = "".join(f"<br/><small>{label_text(shortened(line, _LABEL))}</small>" for line in small)
    return f'{opening}"{label_text(title) or "#160;"}{text}"{closing}'


def _is_found(box: Box) -> bool:
    return box.finding or any(chip.finding for chip in box.chips)


def _class(box: Box) -> str:
    return "root" if box.root else str(box.look)


def _colors(paint: Paint, ink: str) -> str:
    fill = paint.fill or "none"
    return f"fill:{fill},stroke:{paint.line},color:{ink}"
