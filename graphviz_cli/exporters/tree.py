"""The text tree: what a graph is, for a terminal, a log or a diff."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.drawing.format import cut_text, display_width
from graphviz_cli.drawing.style import Arrangement, Style
from graphviz_cli.drawing.summary import summarise
from graphviz_cli.exporters.columns import Subjects, column_names, columns
from graphviz_cli.exporters.labels import Labels
from graphviz_cli.exporters.notes import Notes
from graphviz_cli.exporters.outline import outline
from graphviz_cli.exporters.spine import spine
from graphviz_cli.exporters.table import (
    ASCII,
    UNICODE,
    Medium,
    Tone,
    table_lines,
)
from graphviz_cli.exporters.totals import Total, totals
from graphviz_cli.graph.finding import findings_on
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.traversal import Adjacency


@dataclass(frozen=True, slots=True)
class Tree:
    """A text tree, one node a line, the same bytes for the same program.

    By modules it is an outline of the forward pass: leaves, ops and module calls with shapes,
    parameters and the bytes that they keep for backward. By ops it begins at the root and goes
    the way of autograd. Names stay the same when something else in the model changes, so two
    trees can be compared line by line.
    """

    suffix: ClassVar[str] = ".txt"
    binary: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    unit: ClassVar[str] = "lines"
    """What its size is measured in, where others draw boxes."""

    def export(self, graph: Graph, style: Style) -> bytes:
        """UTF-8, or ASCII if the style asks for it.

        Raises UsageError for a column that there is not.
        """
        glyphs = ASCII if style.ascii else UNICODE
        medium = Medium(glyphs, style.width, _painter() if style.color else None)
        adjacency = Adjacency(graph)
        labels = Labels(graph, adjacency, is_ascii=style.ascii)
        names = column_names(graph, style)
        told = style.show if "source" in names else style.show | {"places of cuts"}
        notes = Notes(labels, adjacency, glyphs, told)
        sums: Mapping[int, Total] = {}
        if style.arrangement is Arrangement.OPS:
            lines = spine(notes)
        else:
            sums = totals(labels, adjacency)
            lines = outline(notes, sums)
        subjects = Subjects(labels, sums, glyphs, [line.subject for line in lines])
        body = table_lines(lines, columns(subjects, names, keep_empty=bool(style.columns)), medium)
        text = [*_head(labels, style, medium), *body, *_foot(labels, notes, medium)]
        return "".join(f"{line}\n" for line in text).encode()


_MOST_FINDINGS = 8
_LEGEND = {
    "parameter": "leaf parameter",
    "input": "leaf input",
    "constant": "takes no gradient",
    "absent": "gets no gradient",
    "unknown": "cannot be told",
    "cut": "the gradient ends",
    "root": "root",
    "previous": "previous line",
    "inputs": "inputs",
    "outputs": "goes on at",
    "times": "equal blocks",
}


def _head(labels: Labels, style: Style, medium: Medium) -> list[str]:
    """What the graph is and how big, and what must be known to read it rightly."""
    summary = summarise(labels.graph)
    title = labels.clean(style.title) or labels.clean(summary.title)
    facts = [title, *summary.facts()] if title else [*summary.facts()]
    joint = f" {medium.glyphs.separator} "
    lines = _filled(facts, joint, medium)
    if medium.paint is not None and title and lines[0].startswith(title):
        lines[0] = medium.paint(title, Tone.OP) + lines[0][len(title) :]
    marks = [line for mark in summary.marks for line in _filled([mark], joint, medium)]
    return [*lines, *_painted(marks, Tone.ABSENT, medium)]


def _foot(labels: Labels, notes: Notes, medium: Medium) -> list[str]:
    """What the marks mean, what cannot be seen, and what could not be found out."""
    graph = labels.graph
    legend = [
        f"{getattr(medium.glyphs, name)} {text}"
        for name, text in _LEGEND.items()
        if name in notes.used
    ]
    marks = [f"{medium.glyphs.finding} {labels.clean(text)}" for text in findings_on(graph)]
    if len(marks) > _MOST_FINDINGS:
        marks[_MOST_FINDINGS:] = [f"and {len(marks) - _MOST_FINDINGS:,} more findings"]
    hidden = map(labels.clean, summarise(graph).hidden())
    remarks = [f"note: {labels.clean(note)}" for note in graph.provenance.notes]
    lines = [
        *_filled(legend, "  ", medium),
        *_filled(hidden, f" {medium.glyphs.separator} ", medium),
        *(line for remark in remarks for line in _filled([remark], "", medium)),
    ]
    found = [line for mark in marks for line in _filled([mark], "", medium)]
    return [*_painted(lines, Tone.DIM, medium), *_painted(found, Tone.ABSENT, medium)]


def _filled(parts: Iterable[str], joint: str, medium: Medium) -> list[str]:
    """The parts joined, in several lines where one would be too long for the width."""
    width, more = medium.width, medium.glyphs.more
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{joint}{part}" if lines else part
        if lines and (width is None or display_width(longer) <= width):
            lines[-1] = longer
        else:
            lines.append(part)
    return lines if width is None else [cut_text(line, width, more) for line in lines]


def _painted(lines: Iterable[str], tone: Tone, medium: Medium) -> list[str]:
    return list(lines) if medium.paint is None else [medium.paint(line, tone) for line in lines]


# The terminal's own colours: they suit a dark background as well as a light one.
_COLORS = {
    Tone.DIM: "dim",
    Tone.OP: "bold",
    Tone.PARAMETER: "cyan",
    Tone.INPUT: "green",
    Tone.ROOT: "bold yellow",
    Tone.ABSENT: "bold red",
    Tone.CUT: "magenta",
    Tone.SAVED: "yellow",
}


def _painter() -> Callable[[str, Tone], str]:
    """Rich's escape sequences for a tone; the environment, which Rich would ask, has no say."""
    from rich.color import ColorSystem
    from rich.style import Style as RichStyle

    styles = {tone: RichStyle.parse(_COLORS.get(tone, "none")) for tone in Tone}

    def paint(text: str, tone: Tone) -> str:
        return styles[tone].render(text, color_system=ColorSystem.STANDARD)

    return paint
