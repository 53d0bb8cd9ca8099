"""Changing some rows of a column."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping
from typing import TypeVar

from graphviz_cli.graph.model import Column

T = TypeVar("T", bound=Hashable)


def patched(column: Column[T], rows: Mapping[int, T], length: int) -> Column[T]:
    """The column with other values in some rows, and as many rows more as it is short of `length`.

    `rows` must hold a value for each row that is added.
    """
    numbers = {value: code for code, value in enumerate(column.values)}
    codes = extended(column.codes, 0, length)
    for row, value in rows.items():
        codes[row] = numbers.setdefault(value, len(numbers))
    return Column(tuple(numbers), codes)


def extended(numbers: array[int], value: int, length: int) -> array[int]:
    """The numbers, and `value` as often behind them as they are short of `length`."""
    return numbers + array(numbers.typecode, [value]) * (length - len(numbers))
