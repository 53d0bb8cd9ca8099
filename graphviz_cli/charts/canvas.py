"""Lines drawn with characters: dots of braille, or points and quotes in ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pen:
    """The characters that a curve is made of; each stands for a small grid of dots."""

    across: int
    """Dots in a character, side by side."""
    down: int
    bits: tuple[tuple[int, ...], ...]
    """The bit of each dot: a row for each of `down`."""
    first: int = 0
    """The code point of no dots, to which the bits are added."""
    characters: Mapping[int, str] | None = None
    """By their bits, where they are no range of code points."""

    def character(self, bits: int) -> str:
        """The character of some dots."""
        return self.characters[bits] if self.characters else chr(self.first + bits)


# The Unicode Standard, Braille Patterns: the bits of dots 1 to 8.
BRAILLE = Pen(2, 4, ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)), 0x2800)
POINTS = Pen(1, 2, ((1,), (2,)), characters={1: "'", 2: ".", 3: ":"})


class Canvas:
    """A grid of characters with lines on it; rows count from the top, in dots."""

    def __init__(self, pen: Pen, columns: int, rows: int) -> None:
        self.pen = pen
        self.columns = columns
        self.rows = rows
        self._bits = [[0] * columns for _ in range(rows)]

    def line(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """All dots between two, both included, each given as column and row."""
        (x, y), (x1, y1) = start, end
        # Bresenham: Algorithm for computer control of a digital plotter (1965).
        width, height = abs(x1 - x), -abs(y1 - y)
        right, below = (1 if x < x1 else -1), (1 if y < y1 else -1)
        error = width + height
        while True:
            self._dot(x, y)
            if (x, y) == (x1, y1):
                return
            doubled = 2 * error
            if doubled >= height:
                error += height
                x += right
            if doubled <= width:
                error += width
                y += below

    def lines(self) -> list[list[str]]:
        """The characters, row by row; blanks where nothing was drawn."""
        return [[self.pen.character(bits) if bits else " " for bits in row] for row in self._bits]

    def _dot(self, x: int, y: int) -> None:
        pen = self.pen
        bit = pen.bits[y % pen.down][x % pen.across]
        self._bits[y // pen.down][x // pen.across] |= bit
