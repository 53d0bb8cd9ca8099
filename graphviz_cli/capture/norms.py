"""Norms of many gradients: computed where they are, and waited for once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch

from graphviz_cli.capture import engine
from graphviz_cli.capture.probes.statistics import SMALL, WIDE, stored_values
from graphviz_cli.graph.history import ABSENT

Number = torch.Tensor | float
"""A tensor without dimension is one that a GPU is still at."""


class Numbers:
    """Collects numbers; `fetch` waits for all of them, once for each device."""

    def __init__(self) -> None:
        self._waiting: list[tuple[list[Number], Callable[[list[float]], None]]] = []

    def add(self, numbers: Iterable[Number], use: Callable[[list[float]], None]) -> None:
        """Note some numbers, with which `use` shall be called."""
        self._waiting.append((list(numbers), use))

    def fetch(self) -> None:
        """Hand out all that was added, in its order."""
        waiting, self._waiting = self._waiting, []
        places: dict[torch.device, list[tuple[list[Number], int, torch.Tensor]]] = {}
        for numbers, _ in waiting:
            for position, number in enumerate(numbers):
                if isinstance(number, torch.Tensor):
                    places.setdefault(number.device, []).append((numbers, position, number))
        for rows in places.values():
            with engine.out_of_dispatch():
                values = torch.stack([number for _, _, number in rows]).tolist()
            for (numbers, position, _), value in zip(rows, values):
                numbers[position] = value
        for numbers, use in waiting:
            use([float(number) for number in numbers])


def number_of(tensor: torch.Tensor) -> Number | None:
    """The value of a tensor with one element; None where it has more or cannot be read."""
    with engine.out_of_dispatch():
        values = _values(tensor.detach()) if tensor.numel() == 1 else None
        if values is None or values.numel() != 1:
            return None
        return values.reshape(()).double() if values.is_cuda else values.item()


def norms(tensors: Sequence[torch.Tensor | None]) -> list[Number]:
    """The Euclidean norm of each tensor, ABSENT for None and where the values cannot be read.

    That of a sparse tensor is of what it stands for, duplicates added up.
    """
    found: list[Number] = [ABSENT] * len(tensors)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    if all(tensor is None for tensor in tensors):
        return found
    with engine.out_of_dispatch():
        values = [None if tensor is None else _values(tensor.detach()) for tensor in tensors]
        for position, value in enumerate(values):
            if value is not None:
                groups.setdefault((value.device, value.dtype), []).append(position)
        for (device, dtype), places in groups.items():
            group = [value for place in places if (value := values[place]) is not None]
            if device.type != "cpu":
                # To look at a number here would mean to wait for it. Only CUDA has wide ones.
                wide = torch.float64 if device.type == "cuda" else WIDE.get(dtype)
                numbers: Sequence[Number] = engine.norms_of(group, wide)
            else:
                plain = [norm.item() for norm in engine.norms_of(group, WIDE.get(dtype))]
                numbers = [
                    # The squares of large or small numbers leave the range where they do not.
                    norm
                    if SMALL < norm < math.inf
                    else torch.linalg.vector_norm(value, dtype=torch.float64).item()
                    for norm, value in zip(plain, group)
                ]
            for place, number in zip(places, numbers):
                found[place] = number
    return found


def total(norms: Iterable[float]) -> float | None:
    """The norm of several tensors as if they were one; None if all are absent."""
    squares = [norm * norm for norm in norms if norm != ABSENT]
    return math.sqrt(sum(squares)) if squares else None


def _values(tensor: torch.Tensor) -> torch.Tensor | None:
    """The elements that are stored, as real numbers; None where there are none to be read."""
    stored = stored_values(tensor)
    if stored is None:
        return None
    if stored.is_complex():
        return torch.view_as_real(stored.resolve_conj())
    return stored if stored.is_floating_point() else None
