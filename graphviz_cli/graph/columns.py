"""Columns in which a value that many rows share is stored once."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T", bound=Hashable)

NONE = -1
"""Stands for None in an integer column."""


class Column(Sequence[T], Generic[T]):
    """A dictionary-encoded column: each distinct value once, and its number for every row."""

    __slots__ = ("codes", "values")

    def __init__(self, values: Sequence[T], codes: array[int]) -> None:
        self.values = tuple(values)
        self.codes = codes

    @classmethod
    def of(cls, rows: Iterable[T]) -> Column[T]:
        """Encode `rows`; values are numbered by first appearance."""
        numbers: dict[T, int] = {}
        codes = array("i", (numbers.setdefault(row, len(numbers)) for row in rows))
        return cls(tuple(numbers), codes)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Column[T]: ...
    def __getitem__(self, index: int | slice) -> T | Column[T]:
        if isinstance(index, slice):
            return Column(self.values, self.codes[index])
        return self.values[self.codes[index]]

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[T]:
        return map(self.values.__getitem__, self.codes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Column):
            return NotImplemented
        if self.values == other.values:
            return bool(self.codes == other.codes)
        return len(self) == len(other) and all(a == b for a, b in zip(self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Column({len(self)} rows of {len(self.values)} values)"

    def taken(self, rows: Iterable[int]) -> Column[T]:
        """The column whose row k is this one's row `rows[k]`."""
        codes = self.codes
        return Column(self.values, array("i", [codes[row] for row in rows]))
