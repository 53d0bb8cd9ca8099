"""The curves of a run as text, for a terminal and for logs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.charts.findings import findings
from graphviz_cli.charts.heading import facts_of, title_of
from graphviz_cli.charts.leaves import LeafRow, leaf_norms, leaf_rows
from graphviz_cli.charts.panels import Panel, curves, shown_roots
from graphviz_cli.charts.plot import ASCII, MARGIN, UNICODE, Ground, Key, Tone, legend, plot
from graphviz_cli.charts.series import value_text
from graphviz_cli.charts.style import ChartStyle
from graphviz_cli.charts.turns import changed_at
from graphviz_cli.drawing.format import counted, cut_text, display_width, number_text, visible
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.history import History

_WIDTH = 80
_NARROWEST = 32
_WIDEST_PLOT = 100
_ROWS = 10
_FEWER_ROWS = 8
_MOST_LEAVES = 8
_FEW_PANELS = 2
_GAP = "  "
_SPACES = re.compile(r" +(?!(?:[kMGTP]?B|[mu\u00b5]?s|%)(?!\w))")
"""Where a line may end: not between a number and its unit."""
_NUMBER = 10
"""Columns of a number in the table of the leaves."""
_HEADER = ("gradient norms of leaves", "median", "min", "max", "last")
_TONES = {Severity.ERROR: Tone.BAD, Severity.WARNING: Tone.WARNING, Severity.NOTE: Tone.DIM}


@dataclass(frozen=True, slots=True)
class Text:
    """The loss and the gradient norm as curves of characters, and what there is to tell.

    With the leaves that have the largest and the smallest gradients. No line is wider than the
    terminal, or than 80 columns in a file.
    """

    suffix: ClassVar[str] = ".txt"
    binary: ClassVar[bool] = False

    def chart(self, history: History, style: ChartStyle) -> bytes:
        """UTF-8, or ASCII if the style asks for it."""
        page = _Page(history, style)
        return "".join(f"{line}\n" for line in page.lines()).encode()


class _Page:
    """The parts of the text, one below the other."""

    def __init__(self, history: History, style: ChartStyle) -> None:
        self.history = history
        self.style = style
        self.width = max(style.width or _WIDTH, _NARROWEST)
        numbers = [step.number for step in history.steps] or [1]
        self.ground = Ground(
            signs=ASCII if style.ascii else UNICODE,
            columns=min(self.width - MARGIN, _WIDEST_PLOT),
            first=numbers[0],
            last=numbers[-1],
            every=history.every,
            color=style.color,
        )

    def lines(self) -> Iterator[str]:
        """All lines, in colour if there are any."""
        yield from self._head()
        panels = curves(self.history)
        rows = _ROWS if len(panels) <= _FEW_PANELS else _FEWER_ROWS
        for panel in panels:
            yield ""
            yield from self._title(panel)
            changes = changed_at(self.history, panel.root)
            yield from plot(panel, self.ground, rows, changes)
        _, rest = shown_roots(self.history)
        if rest:
            yield from map(self._dim, self._filled(f"{rest}."))
        yield from self._leaves()
        yield ""
        for finding in findings(self.history):
            yield from self._finding(finding)
        for note in self.history.notes:
            yield from map(self._dim, self._filled(f"note: {note}"))

    def _head(self) -> Iterator[str]:
        title = self._cut(title_of(self.history), self.width)
        joint = f" {self.ground.signs.separator} "
        lines = [title]
        for fact in map(self._clean, facts_of(self.history)):
            longer = f"{lines[-1]}{joint}{fact}"
            if display_width(longer) <= self.width:
                lines[-1] = longer
            else:
                lines.append(self._cut(fact, self.width))
        yield self.ground.paint(title, Tone.BOLD) + lines[0][len(title) :]
        yield from lines[1:]

    def _title(self, panel: Panel) -> Iterator[str]:
        """The panel's name with the least, the largest and the last value; then its legend."""
        first = panel.series[0]
        finite = first.finite()
        facts = [f"last {value_text(first.values[-1])}"]
        if finite and min(finite) < max(finite):
            facts[:0] = [f"min {number_text(min(finite))}", f"max {number_text(max(finite))}"]
        numbers = cut_text(_GAP.join(facts), self.width - _NUMBER, self.ground.signs.more)
        name = self._cut(panel.title, self.width - len(numbers) - len(_GAP))
        keys = legend(panel, self.ground)
        line = f"{self.ground.paint(name, Tone.BOLD)}{_GAP}{self._dim(numbers)}"
        used = display_width(name) + len(_GAP) + len(numbers)
        for key in keys:
            if used + len(_GAP) + display_width(key.text) > self.width:
                yield line
                line, used = "", 0
            line += _GAP + self._key(key)
            used += len(_GAP) + display_width(key.text)
        yield line

    def _key(self, key: Key) -> str:
        sign, rest = key.text[: key.painted], key.text[key.painted :]
        return self.ground.paint(sign, key.tone) + self._dim(rest)

    def _leaves(self) -> Iterator[str]:
        """The leaves with the largest and the smallest median norm, the largest first."""
        rows = sorted(
            leaf_rows(leaf_norms(self.history)),
            key=lambda row: (row.median is None, -(row.median or 0.0)),
        )
        if not rows:
            return
        table = [self._cells(row) for row in rows]
        rest = len(rows) - _MOST_LEAVES
        if rest > 0:
            half = _MOST_LEAVES // 2
            table[half:-half] = [(f"({counted(rest, 'more leaf', 'more leaves')})", *[""] * 4)]
        columns = min(len(_HEADER) - 1, self.width // _NUMBER - 1)
        room = self.width - columns * _NUMBER
        name = min(room, max(display_width(row[0]) for row in (_HEADER, *table)))
        yield ""
        for k, row in enumerate((_HEADER, *table)):
            label = self._cut(row[0], name)
            label += " " * (name - display_width(label))
            line = label + "".join(f"{cell:>{_NUMBER}}" for cell in row[1 : columns + 1])
            yield self.ground.paint(line, Tone.BOLD) if not k else line.rstrip()

    def _cells(self, row: LeafRow) -> tuple[str, ...]:
        known = (row.median, row.low, row.high, row.last)
        return row.name or "(no name)", *("-" if n is None else value_text(n) for n in known)

    def _finding(self, finding: Finding) -> Iterator[str]:
        words = f"{finding.severity}: {finding.message}"
        for k, line in enumerate(self._filled(words)):
            head = f"{finding.severity}:" if not k else ""
            tone = _TONES[finding.severity]
            yield self.ground.paint(head, tone) + line.removeprefix(head)
        for told in finding.hint.splitlines():
            for line in self._filled(told, indent=_GAP):
                yield self._dim(line)

    def _filled(self, text: str, indent: str = "") -> list[str]:
        """The words of a text in lines that are not too wide; a word that is too wide is cut."""
        lines: list[str] = []
        for word in filter(None, _SPACES.split(self._clean(text))):
            longer = f"{lines[-1]} {word}" if lines else ""
            if lines and display_width(longer) <= self.width:
                lines[-1] = longer
            else:
                start = _GAP if lines and not indent else indent
                lines.append(start + self._cut(word, self.width - len(start)))
        return lines

    def _cut(self, text: str, room: int) -> str:
        return cut_text(self._clean(text), room, self.ground.signs.more)

    def _clean(self, text: str) -> str:
        """The text on one line, in the characters that may be used."""
        text = visible(text)
        if not self.style.ascii:
            return text
        return text.replace("µ", "u").encode("ascii", "backslashreplace").decode("ascii")

    def _dim(self, text: str) -> str:
        return self.ground.paint(text, Tone.DIM)
