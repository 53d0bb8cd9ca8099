"""A few numbers about many tensors: computed where the tensors are, fetched all at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.engine import has_data

_SMALL = 1e-15
"""Below this norm squares in single precision may have become zero."""

_WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


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


class Statistics:
    """Collects tensors' numbers as tensors without dimension; `fetch` waits for all of them.

    No tensor is kept.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._numbers: list[tuple[torch.Tensor | int, ...]] = []

    def add(self, tensor: Any) -> int | None:
        """Note a tensor; its row in what `fetch` gives, None where its values cannot be read."""
        with private.undisturbed(), torch.no_grad():
            values = _values(tensor.detach())
            if values is None:
                return None
            self._numbers.append(_numbers(values))
        self._sizes.append(tensor.numel())
        return len(self._sizes) - 1

    def fetch(self) -> list[Summary]:
        """The numbers of all tensors that were noted, with one synchronisation for each device."""
        fetched = _fetched(number for row in self._numbers for number in row)
        summaries = []
        for numel, row in zip(self._sizes, self._numbers):
            norm, least, largest, total, nonzero, nans, infinite, stored = (
                next(fetched) for _ in row
            )
            if stored < numel:
                least, largest = min(least, 0.0), max(largest, 0.0)
            if not stored:
                least = largest = 0.0 if numel else math.nan
            summaries.append(
                Summary(
                    numel,
                    float(norm),
                    float(least),
                    float(largest),
                    float(total),
                    numel - int(nonzero),
                    int(nans),
                    int(infinite),
                )
            )
        return summaries


def _values(tensor: torch.Tensor) -> torch.Tensor | None:
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


def _numbers(values: torch.Tensor) -> tuple[torch.Tensor | int, ...]:
    """Norm, least, largest, sum, and the counts of what is not zero, NaN, infinite, and of all."""
    count = values.numel()
    if not count:
        return 0, 0, 0, 0, 0, 0, 0, 0
    nonzero = torch.count_nonzero(values)
    real = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    if not real.is_floating_point():
        real = real.double()
    wide = _WIDE.get(real.dtype)
    least, largest = torch.aminmax(real)
    total = torch.sum(real, dtype=wide)
    if values.device.type != "cpu":
        # To look at a number here would mean to wait for it.
        norm = torch.linalg.vector_norm(real, dtype=torch.float64)
        nans, infinite = torch.isnan(values).sum(), torch.isinf(values).sum()
        return norm, least, largest, total, nonzero, nans, infinite, count
    norm = torch.linalg.vector_norm(real, dtype=wide)
    if _SMALL < norm.item() < math.inf:
        return norm, least, largest, total, nonzero, 0, 0, count
    # The squares of large or small numbers leave the range where the numbers do not.
    norm = torch.linalg.vector_norm(real, dtype=torch.float64)
    nans, infinite = torch.isnan(values).sum(), torch.isinf(values).sum()
    return norm, least, largest, total, nonzero, nans, infinite, count


def _fetched(numbers: Iterable[torch.Tensor | int]) -> Any:
    """The numbers as Python has them, in their order."""
    listed = list(numbers)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, number in enumerate(listed):
        if isinstance(number, torch.Tensor):
            groups.setdefault((number.device, number.dtype), []).append(place)
    result: list[Any] = list(listed)
    with private.undisturbed(), torch.no_grad():
        for places in groups.values():
            values = torch.stack([listed[place] for place in places]).tolist()  # type: ignore[misc]
            for place, value in zip(places, values):
                result[place] = value
    return iter(result)
