"""A few numbers about many tensors: computed where the tensors are, fetched all at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.engine import has_data

_SMALL = 1e-15
"""Below this norm squares in single precision may have become zero."""

_FEW_ELEMENTS = 8192
"""Up to this many a call of torch costs more than the numbers in it do."""

_MOST_BYTES = 1 << 20
"""As much is copied at the most before it is measured."""

_BATCHED = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))

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
    """Collects numbers about tensors where these are; `fetch` waits for all of them.

    No tensor is kept. Small ones of one shape are copied, measured together, and dropped: never
    more than 1 MB of copies lives at a time.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._parts: list[tuple[Sequence[int], tuple[torch.Tensor | int, ...]]] = []
        self._batches: dict[object, tuple[list[int], list[torch.Tensor]]] = {}
        self._copied = 0
        """Bytes in the batches."""

    def add(self, tensor: Any) -> int | None:
        """Note a tensor; its row in what `fetch` gives, None where its values cannot be read."""
        with private.undisturbed():
            row = len(self._sizes)
            # What is detached needs no `no_grad`, which would cost as much as a sum.
            values = tensor.detach()
            numel = values.numel()
            if _is_small(values, numel):
                self._copy(row, values, numel * values.itemsize)
            else:
                stored = _values(values)
                if stored is None:
                    return None
                self._parts.append(((row,), _numbers(stored, None)))
            self._sizes.append(numel)
            return row

    def _copy(self, row: int, values: torch.Tensor, nbytes: int) -> None:
        if self._copied + nbytes > _MOST_BYTES:
            self._measure_batches()
        key = values.shape, values.dtype, values.device
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = [], []
        batch[0].append(row)
        batch[1].append(values.clone())
        self._copied += nbytes

    def _measure_batches(self) -> None:
        for rows, copies in self._batches.values():
            together = torch.stack(copies).reshape(len(copies), -1)
            self._parts.append((rows, _numbers(together, 1)))
        self._batches.clear()
        self._copied = 0

    def fetch(self) -> list[Summary]:
        """The numbers of all tensors that were noted, with one synchronisation for each device."""
        with private.undisturbed():
            self._measure_batches()
            columns = iter(_fetched([number for _, part in self._parts for number in part]))
        summaries: dict[int, Summary] = {}
        for rows, part in self._parts:
            numbers = (next(columns) for _ in part)
            lists = [n if isinstance(n, list) else [n] * len(rows) for n in numbers]
            for row, *line in zip(rows, *lists):
                summaries[row] = _summary(self._sizes[row], *line)
        return [summaries[row] for row in range(len(self._sizes))]


def _summary(numel: int, *numbers: float) -> Summary:
    norm, least, largest, total, nonzero, nans, infinite, stored = numbers
    if stored < numel:
        least, largest = min(least, 0.0), max(largest, 0.0)
    if not stored:
        least = largest = 0.0 if numel else math.nan
    return Summary(
        numel,
        float(norm),
        float(least),
        float(largest),
        float(total),
        numel - int(nonzero),
        int(nans),
        int(infinite),
    )


def _is_small(tensor: torch.Tensor, numel: int) -> bool:
    return (
        0 < numel <= _FEW_ELEMENTS
        and type(tensor) in _PLAIN
        and tensor.dtype in _BATCHED
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and not tensor.is_meta
    )


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


def _numbers(values: torch.Tensor, dim: int | None) -> tuple[torch.Tensor | int, ...]:
    """Norm, least, largest, sum, and the counts of what is not zero, NaN, infinite, and of all.

    Of the whole tensor, or along one dimension.
    """
    count = values.numel() if dim is None else values.shape[dim]
    if not count:
        return 0, 0, 0, 0, 0, 0, 0, 0
    real = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    if not real.is_floating_point():
        real = real.double()
    wide = _WIDE.get(real.dtype)
    if dim is None:
        least, largest = torch.aminmax(real)
    else:  # along a dimension `aminmax` takes twenty times as long as these
        least, largest = real.amin(dim), real.amax(dim)
    total = torch.sum(real, dim, dtype=wide)
    nonzero = torch.count_nonzero(values, dim)
    if values.device.type != "cpu":
        # To look at a number here would mean to wait for it.
        norm = torch.linalg.vector_norm(real, dim=dim, dtype=torch.float64)
        nans, infinite = torch.isnan(values).sum(dim), torch.isinf(values).sum(dim)
        return norm, least, largest, total, nonzero, nans, infinite, count
    norm = torch.linalg.vector_norm(real, dim=dim, dtype=wide)
    norms = [norm.item()] if dim is None else norm.tolist()
    if all(_SMALL < number < math.inf for number in norms):
        return norm, least, largest, total, nonzero, 0, 0, count
    # The squares of large or small numbers leave the range where the numbers do not.
    exact = torch.linalg.vector_norm(real, dim=dim, dtype=torch.float64)
    norm = torch.where((norm > _SMALL) & (norm < math.inf), norm, exact)
    nans, infinite = torch.isnan(values).sum(dim), torch.isinf(values).sum(dim)
    return norm, least, largest, total, nonzero, nans, infinite, count


def _fetched(numbers: Sequence[torch.Tensor | int]) -> list[Any]:
    """The numbers as Python has them, in their order; a list for each tensor of them."""
    result: list[Any] = list(numbers)
    groups: dict[object, list[tuple[int, torch.Tensor]]] = {}
    for place, number in enumerate(numbers):
        if isinstance(number, torch.Tensor):
            groups.setdefault((number.device, number.dtype), []).append((place, number))
    for group in groups.values():
        values = torch.cat([number.reshape(-1) for _, number in group]).tolist()
        start = 0
        for place, number in group:
            end = start + number.numel()
            result[place] = values[start:end]
            start = end
    return result
