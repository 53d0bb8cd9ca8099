"""Lines of text in columns, plain or in a terminal's colours: the same characters either way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import repeat
from typing import NamedTuple

from graphviz_cli.drawing.format import cut_text, display_width


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that are not words."""

    fork: str = "├── "
    last: str = "└── "
    bar: str = "│   "
    branch: str = "├─ "
    branch_bar: str = "│  "
    parameter: str = "●"
    input: str = "▷"
    constant: str = "○"
    absent: str = "✗"
    unknown: str = "?"
    cut: str = "✂"
    root: str = "★"
    previous: str = "↑"
    inputs: str = "←"
    outputs: str = "→"
    times: str = "×"
    separator: str = "·"
    more: str = "…"
    finding: str = "⚠"


UNICODE = Glyphs()
ASCII = Glyphs(
    fork="|-- ",
    last="`-- ",
    bar="|   ",
    branch="|- ",
    branch_bar="|  ",
    parameter="*",
    input=">",
    constant="o",
    absent="x",
    unknown="?",
    cut="/",
    root="!",
    previous="^",
    inputs="<-",
    outputs="->",
    times="x",
    separator="|",
    more="...",
    finding="!!",
)


class Tone(StrEnum):
    """What a piece of text is; a terminal has a colour for each."""

    PLAIN = "plain"
    DIM = "dim"
    OP = "op"
    MODULE = "module"
    PARAMETER = "parameter"
    INPUT = "input"
    ROOT = "root"
    ABSENT = "absent"
    CUT = "cut"
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class TableColumn:
    """The cells of a column, one for each line."""

    header: str
    cells: Sequence[str]
    is_right: bool = False
    tone: Tone = Tone.PLAIN
    least: int = 0
    """Its least width, so that other numbers in it do not move what comes after."""
    rank: int = 0
    """Columns of a lower rank are the first to go where there is no room."""


class Line(NamedTuple):
    """A line of a tree, without its columns."""

    subject: int
    """The node that it is about, or -1 - call for an open module call."""
    guide: str
    label: str
    tone: Tone
    kind: str = ""
    """What follows the label in grey: ` Linear`, ` GPT2Block ×12`."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Medium:
    """What the text is written on."""

    glyphs: Glyphs = UNICODE
    width: int | None = None
    """Room in characters; None where nothing is ever cut."""
    paint: Callable[[str, Tone], str] | None = None
    """Puts colours around a piece of text; None where there are none."""


_STEP = 8
"""The first column grows in steps, so that a slightly longer name does not move everything."""

_WIDEST = 72
"""A longer label or cell moves only the rest of its own line."""

_NOTE = 16
"""So much of the notes is worth more than a further column."""

_NARROWEST = 16
_GAP = "  "


def table_lines(lines: Sequence[Line], columns: Sequence[TableColumn], medium: Medium) -> list[str]:
    """The header, where there are columns, and every line.

    Where the medium has a width, columns of a low rank are left out and what is still too long is
    cut.
    """
    widths = _label_widths(lines)
    indent = _indent(widths)
    if medium.width is not None:
        longest_note = max((len(line.note) for line in lines), default=0)
        columns = _fitting(columns, medium.width - indent - min(longest_note, _NOTE))
        used = sum(map(_width, columns))
        indent = min(indent, max(medium.width - used, _NARROWEST))
        lines = _cut(lines, indent, max(medium.width - indent - used, 0), medium.glyphs.more)
        widths = _label_widths(lines)
    _, guides, labels, tones, kinds, notes = zip(*lines) if lines else ((),) * 6
    fillings = [" " * max(indent - width, len(_GAP)) for width in range(max(widths, default=0) + 1)]
    rows = map(
        "".join,
        zip(
            _toned(guides, None, medium),
            _toned(labels, tones, medium),
            _toned(kinds, None, medium),
            map(fillings.__getitem__, widths),
            *(_padded(column, medium) for column in columns),
            _toned(notes, None, medium),
        ),
    )
    if not columns:
        return list(map(str.rstrip, rows))
    heads = [_pad(c.header, _width(c), is_right=c.is_right) for c in columns]
    header = " " * indent + "".join(_painted(head, Tone.DIM, medium) for head in heads)
    return list(map(str.rstrip, (header, *rows)))


def _label_widths(lines: Sequence[Line]) -> list[int]:
    """How far guide, label and kind of each line reach."""
    if not lines:
        return []
    _, guides, labels, _, kinds, _ = zip(*lines)
    widths = {text: display_width(text) for text in {*labels, *kinds}}
    if all(len(text) == width for text, width in widths.items()):
        return list(map(len, map("".join, zip(guides, labels, kinds))))
    return [len(g) + widths[label] + widths[kind] for g, label, kind in zip(guides, labels, kinds)]


def _indent(widths: Sequence[int]) -> int:
    """Where the columns begin."""
    widest = max((width for width in set(widths) if width <= _WIDEST), default=0)
    return -(-(widest + len(_GAP)) // _STEP) * _STEP


def _width(column: TableColumn) -> int:
    widths = map(display_width, set(column.cells))
    widest = max((width for width in widths if width <= _WIDEST), default=0)
    return max(widest, column.least, len(column.header)) + len(_GAP)


def _fitting(columns: Sequence[TableColumn], room: int) -> Sequence[TableColumn]:
    kept = list(columns)
    while kept and sum(map(_width, kept)) > room:
        kept.remove(min(reversed(kept), key=lambda column: column.rank))
    return kept


def _cut(lines: Sequence[Line], indent: int, room_for_note: int, more: str) -> list[Line]:
    """The lines with labels that end before the columns begin, and notes that end with the line."""
    shorter = {note: cut_text(note, room_for_note, more) for note in {line.note for line in lines}}
    cut = []
    for line in lines:
        room = indent - len(_GAP)
        guide = line.guide[:room]
        label = cut_text(line.label, room - len(guide), more)
        kind = cut_text(line.kind, room - len(guide) - display_width(label), more)
        cut.append(Line(line.subject, guide, label, line.tone, kind, shorter[line.note]))
    return cut


def _padded(column: TableColumn, medium: Medium) -> list[str]:
    # A cell stands in many lines: it is filled up and painted once.
    width = _width(column)
    done = {}
    for cell in set(column.cells):
        text = cell
        if medium.width is not None:
            text = cut_text(cell, width - len(_GAP), medium.glyphs.more)
        done[cell] = _painted(_pad(text, width, is_right=column.is_right), column.tone, medium)
    return [done[cell] for cell in column.cells]


def _pad(text: str, width: int, *, is_right: bool) -> str:
    fill = " " * (width - len(_GAP) - display_width(text))
    return f"{fill}{text}{_GAP}" if is_right else f"{text}{fill}{_GAP}"


def _painted(text: str, tone: Tone, medium: Medium) -> str:
    core = text.strip()
    if medium.paint is None or not core:
        return text
    start = text.index(core)
    return f"{text[:start]}{medium.paint(core, tone)}{text[start + len(core) :]}"


def _toned(texts: Sequence[str], tones: Sequence[Tone] | None, medium: Medium) -> Sequence[str]:
    if medium.paint is None:
        return texts
    painted = cache(lambda text, tone: _painted(text, tone, medium))
    return list(map(painted, texts, repeat(Tone.DIM) if tones is None else tones))
