"""Tensors of a few elements, copied and written out."""

from __future__ import annotations

from typing import Any

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.engine import has_data


def copied(tensor: torch.Tensor, most: int) -> torch.Tensor | None:
    """A dense copy of a tensor that has at most `most` elements; None of any other."""
    with private.undisturbed(), torch.no_grad():
        if tensor.numel() > most or private.inner_tensors(tensor) or tensor.is_nested:
            return None
        tensor = tensor.detach()
        if tensor.layout is not torch.strided:
            return tensor.to_dense()
        return tensor.clone() if has_data(tensor) and not tensor.is_quantized else None


def text(tensor: torch.Tensor) -> str:
    """`2`, `[1, 0.5]`, `[[1, 2], [3, 4]]`: four significant digits."""
    with private.undisturbed(), torch.no_grad():
        return _written(tensor.tolist())


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, complex):
        sign = "-" if str(value.imag).startswith("-") else "+"
        return f"{_written(value.real)}{sign}{_written(abs(value.imag))}i"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
