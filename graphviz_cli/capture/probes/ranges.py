"""The least and the largest element of saved tensors: computed where they are, fetched at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.engine import has_data
from graphviz_cli.capture.saved import SavedFields

Range: TypeAlias = tuple[torch.Tensor, ...]
"""Least and largest element and, where there may be NaN, whether there are infinities."""


def saved_ranges(nodes: Sequence[Any]) -> dict[int, list[tuple[str, Range]]]:
    """By the position of a node what it holds: name and range of each tensor.

    Nothing is unpacked and nothing is kept. A tensor that several nodes hold is looked at once.
    """
    fields: dict[type, SavedFields | None] = {}
    known: dict[object, Range] = {}
    found: dict[int, list[tuple[str, Range]]] = {}
    with private.undisturbed(), torch.no_grad():
        for number, node in enumerate(nodes):
            kind = type(node)
            if kind not in fields:
                fields[kind] = SavedFields.of(kind)
            for name, tensor in _held(node, fields[kind]):
                if _is_readable(tensor):
                    place = private.address_of_tensor(tensor), tensor.storage_offset()
                    key = *place, tensor.dtype, tensor.shape, tensor.stride()
                    if key not in known:
                        known[key] = _range(tensor.detach())
                    found.setdefault(number, []).append((name, known[key]))
    return found


def texts(ranges: Sequence[Range]) -> list[str]:
    """`0 to 1.41`, `-inf to 3`; `NaN to NaN`, and `NaN to inf` where there are infinities as well.

    One synchronisation for each device and element type.
    """
    unique = {id(number): number for numbers in ranges for number in numbers}
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for key, number in unique.items():
        groups.setdefault((number.device, number.dtype), []).append(key)
    fetched: dict[int, float] = {}
    with private.undisturbed(), torch.no_grad():
        for keys in groups.values():
            fetched.update(zip(keys, torch.stack([unique[key] for key in keys]).tolist()))
    written = []
    for least, largest, *infinite in ([fetched[id(n)] for n in numbers] for numbers in ranges):
        largest = math.inf if math.isnan(least) and any(infinite) else largest
        written.append(f"{_written(least)} to {_written(largest)}")
    return written


def _held(node: Any, fields: SavedFields | None) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that a node has saved as they are and that were not written to since."""
    if fields is None:
        return
    try:
        rows = [(name, getattr(node, attribute)) for name, attribute in fields.attributes]
        if fields.is_custom:
            rows.append(("saved_tensors", private.custom_saved(node)))
    except RuntimeError:  # a list of tensors, or what a custom Function has saved, was freed
        return
    for name, value in rows:
        is_list = isinstance(value, tuple)
        for position, saved in enumerate(value if is_list else (value,)):
            if saved.unpack_hook is None and isinstance(saved.data, torch.Tensor):
                is_output_stale = not is_list and private.is_output_stale(node, name)
                if not is_output_stale and not private.is_stale(saved):
                    yield f"{name}[{position}]" if is_list else name, saved.data


def _is_readable(tensor: torch.Tensor) -> bool:
    return (
        tensor.layout is torch.strided
        and not tensor.is_nested
        and not tensor.is_quantized
        and not private.inner_tensors(tensor)
        and has_data(tensor)
        and tensor.numel() > 0
    )


def _range(tensor: torch.Tensor) -> Range:
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    least, largest = torch.aminmax(real)
    if not real.is_floating_point() or (real.device.type == "cpu" and not least.isnan()):
        return least, largest
    # Of a tensor that holds NaN it tells nothing else. (On a GPU, to ask would mean to wait.)
    return least, largest, torch.isinf(real).any()


def _written(number: float) -> str:
    """Three significant digits; whole numbers of integer types in full."""
    if isinstance(number, float):
        return "NaN" if math.isnan(number) else f"{number:.3g}"
    return str(int(number))
