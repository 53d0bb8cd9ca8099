"""A few numbers about many tensors: computed where the tensors are, fetched all at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.engine import has_data

SMALL = 1e-15
"""Below this norm squares in single precision may have become zero."""

_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))
_FLOATS = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))

WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
"""In which type the elements of another are added up."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of one tensor, or of several together.

    Of complex numbers the least, the largest and the sum are those of their real and imaginary
    parts. The values that a sparse tensor leaves out are zeros.
    """

    numel: int
    norm: float
    """Euclidean."""
    least: float
    largest: float
    total: float
    zeros: int
    nans: int
    infinite: int

    @property
    def mean(self) -> float:
        """The arithmetic mean; NaN of nothing."""
        return self.total / self.numel if self.numel else math.nan

    def share(self, count: int) -> float:
        """A number of elements as a part of all."""
        return count / self.numel if self.numel else 0.0

    @classmethod
    def of(cls, parts: Sequence[Self]) -> Self:
        """That of several tensors as if they were one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            numel=sum(part.numel for part in parts),
            norm=math.hypot(*(part.norm for part in parts)),
            least=_extreme(min, [part.least for part in parts]),
            largest=_extreme(max, [part.largest for part in parts]),
            total=sum(part.total for part in parts),
            zeros=sum(part.zeros for part in parts),
            nans=sum(part.nans for part in parts),
            infinite=sum(part.infinite for part in parts),
        )


def _extreme(choose: Any, values: Sequence[float]) -> float:
    nans = [value for value in values if math.isnan(value)]
    return nans[0] if nans else float(choose(values, default=math.nan))


_Numbers = tuple[torch.Tensor | float, ...]
"""Norm, least, largest, sum, and the counts of what is not zero, NaN, infinite, and stored."""


class Statistics:
    """Collects numbers about tensors where these are; `fetch` waits for all of them.

    No tensor is kept but those numbers that are on a GPU.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._numbers: list[_Numbers] = []
        self._awaited: list[int] = []
        """The rows that are on a GPU."""

    def add(self, tensor: Any) -> int | None:
        """Note a tensor; its row in what `fetch` gives, None where its values cannot be read."""
        with private.undisturbed():
            # What is detached needs no `no_grad`, which would cost as much as a sum.
            values = tensor.detach()
            stored = values if _is_usual(values) else stored_values(values)
            if stored is None:
                return None
            row = len(self._sizes)
            if stored.is_cpu:
                self._numbers.append(_here(stored))
            else:
                self._numbers.append(_elsewhere(stored))
                self._awaited.append(row)
            self._sizes.append(values.numel())
        return row

    def fetch(self) -> list[Summary]:
        """The numbers of all tensors that were noted, with one synchronisation for each device."""
        numbers: list[Any] = list(self._numbers)
        fetched = _fetched([numbers[row] for row in self._awaited])
        for row, found in zip(self._awaited, fetched):
            numbers[row] = found
        return list(map(_summary, self._sizes, numbers))


def _summary(numel: int, numbers: Sequence[float]) -> Summary:
    norm, least, largest, total, nonzero, nans, infinite, stored = numbers
    if stored < numel:
        least, largest = min(least, 0.0), max(largest, 0.0)
    if not stored:
        least = largest = 0.0 if numel else math.nan
    zeros = numel - int(nonzero)
    return Summary(numel, norm, least, largest, total, zeros, int(nans), int(infinite))


def _is_usual(tensor: torch.Tensor) -> bool:
    """It is the kind of tensor that nearly all are, of which nothing else need be asked."""
    return (
        type(tensor) in _PLAIN
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.dtype in _FLOATS
        and not tensor.is_nested
    )


def stored_values(tensor: torch.Tensor) -> torch.Tensor | None:
    """The elements that are stored, as an ordinary tensor; None where there are none to be read."""
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce().values()
    elif tensor.layout is not torch.strided:
        parts = dict(private.sparse_parts(tensor))
        if "values" not in parts:
            return None
        tensor = parts["values"]
    elif tensor.is_nested or private.inner_tensors(tensor):
        return None
    return None if tensor.is_quantized or not has_data(tensor) else tensor


def _here(values: torch.Tensor) -> _Numbers:
    """The numbers about a tensor in the CPU's memory, at once."""
    count = values.numel()
    if not count:
        return (0.0,) * 8
    real, wide = _real(values)
    least, largest = torch.aminmax(real)
    total = torch.sum(real, dtype=wide).item()
    nonzero = torch.count_nonzero(values).item()
    norm = torch.linalg.vector_norm(real, dtype=wide).item()
    nans = infinite = 0.0
    if not SMALL < norm < math.inf:
        # The squares of large or small numbers leave the range where the numbers do not.
        norm = torch.linalg.vector_norm(real, dtype=torch.float64).item()
        nans, infinite = torch.isnan(values).sum().item(), torch.isinf(values).sum().item()
    return norm, least.item(), largest.item(), total, nonzero, nans, infinite, count


def _elsewhere(values: torch.Tensor) -> _Numbers:
    """The numbers about a tensor on a GPU: to look at one here would mean to wait for it."""
    count = values.numel()
    if not count:
        return (0.0,) * 8
    real, wide = _real(values)
    least, largest = torch.aminmax(real)
    total = torch.sum(real, dtype=wide)
    nonzero = torch.count_nonzero(values)
    norm = torch.linalg.vector_norm(real, dtype=torch.float64)
    nans, infinite = torch.isnan(values).sum(), torch.isinf(values).sum()
    return norm, least, largest, total, nonzero, nans, infinite, count


def _real(values: torch.Tensor) -> tuple[torch.Tensor, torch.dtype | None]:
    """The real and imaginary parts as floating-point numbers, and in which type to add them up."""
    real = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    if not real.is_floating_point():
        real = real.double()
    return real, WIDE.get(real.dtype)


def _fetched(rows: Sequence[_Numbers]) -> list[list[float]]:
    """The rows with all numbers as Python has them."""
    result: list[list[Any]] = [list(row) for row in rows]
    places: dict[tuple[torch.device, torch.dtype], list[tuple[int, int]]] = {}
    for at, row in enumerate(rows):
        for column, number in enumerate(row):
            if isinstance(number, torch.Tensor):
                places.setdefault((number.device, number.dtype), []).append((at, column))
    with private.undisturbed():
        for group in places.values():
            values = torch.stack([result[at][column] for at, column in group]).tolist()
            for (at, column), value in zip(group, values):
                result[at][column] = value
    return result
