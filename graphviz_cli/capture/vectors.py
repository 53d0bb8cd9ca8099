"""The vector that each root's Jacobian is multiplied with: where the backward pass starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd.graph import GradientEdge

from graphviz_cli.capture.backward import Output
from graphviz_cli.capture.probes.few import text
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Root, TensorSpec

_FEW = 8
_DEFAULT = "ones"
_HINT = "It takes ones, sum, mean, numbers (1,0.1,0.01), a .pt or .npy file; NAME=... for one root."


@dataclass(frozen=True, slots=True)
class Vector:
    """A root's gradient, and how it is told."""

    tensor: torch.Tensor | None
    """None lets torch start from 1, which it does for a scalar."""
    text: str


def vectors(
    roots: Sequence[tuple[Root, Output, TensorSpec]],
    asked_for: Sequence[str],
    given: Mapping[int, torch.Tensor],
) -> list[Vector]:
    """A vector for each root.

    `asked_for` is what the user said, for all roots or as `NAME=...` for one; else that of the
    program's own call counts (`given`, by the id of the root's tensor), else a scalar starts from 1
    and anything else from ones. Raises UsageError for what fits no root.
    """
    general, own = _DEFAULT, dict[str, str]()
    names = {root.name for root, _, _ in roots}
    for item in asked_for:
        name, equals, value = item.partition("=")
        if not equals:
            general = item
        elif name in names:
            own[name] = value
        else:
            raise UsageError(
                f"There is no root named {name!r} to start from.",
                hint=f"The roots: {', '.join(sorted(names))}.",
            )
    found = []
    for root, output, spec in roots:
        chosen = own.get(root.name)
        if chosen is None and general == _DEFAULT and "ones" not in asked_for:
            known = given.get(id(output))
            if known is not None:
                found.append(_one() if _is_one(known) else Vector(known, _told(known)))
                continue
        found.append(_vector(general if chosen is None else chosen, root, output, spec))
    return found


def _vector(asked: str, root: Root, output: Output, spec: TensorSpec) -> Vector:
    shape, like = _shape(root, output, spec)
    numel = math.prod(shape)
    if asked in ("ones", "sum", "mean") and numel == 1:
        return _one()
    if asked in ("ones", "sum"):
        told = "ones" + (" (its sum)" if asked == "sum" else "")
        return Vector(torch.ones(shape, **like), told)
    if asked == "mean":
        return Vector(torch.full(shape, 1 / max(numel, 1), **like), f"1/{numel} each (its mean)")
    tensor = _read(asked)
    if tensor.numel() != numel or (tensor.ndim > 1 and tuple(tensor.shape) != shape):
        raise UsageError(
            f"--grad-output has {tensor.numel()} numbers of shape {list(tensor.shape)}, and the "
            f"root {root.name} has the shape {list(shape)}."
        )
    tensor = tensor.detach().reshape(shape).to(**like)
    return Vector(tensor, _told(tensor))


def _one() -> Vector:
    # Torch imports sympy, which takes a second, to look at a gradient that it is given.
    return Vector(None, "1")


def _is_one(tensor: torch.Tensor) -> bool:
    return tensor.numel() == 1 and bool((tensor.detach() == 1).all())


def _shape(root: Root, output: Output, spec: TensorSpec) -> tuple[tuple[int, ...], dict[str, Any]]:
    if not isinstance(output, GradientEdge):
        return tuple(output.shape), {"dtype": output.dtype, "device": output.device}
    if spec.shape is None or any(isinstance(size, str) for size in spec.shape):
        raise UsageError(f"The shape of {root.name} is unknown, so backward cannot start there.")
    dtype = getattr(torch, spec.dtype)
    return tuple(int(size) for size in spec.shape), {"dtype": dtype, "device": spec.device}


def _read(text: str) -> torch.Tensor:
    """Numbers that stand in the text itself, or in the file that it names."""
    try:
        return _tensor(_words(text))
    except ValueError:
        pass
    path = Path(text)
    try:
        if path.suffix in (".pt", ".pth"):
            loaded = torch.load(path, weights_only=True, map_location="cpu")
        elif path.suffix == ".npy":
            import numpy

            loaded = torch.from_numpy(numpy.load(path, allow_pickle=False))
        else:
            loaded = _tensor(_words(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(
            f"--grad-output cannot be {text!r}: it is no number, and no such file is there.",
            hint=_HINT,
        ) from None
    except (OSError, ValueError, ImportError, RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"--grad-output cannot be read from {text}: {reason}") from None
    except Exception as error:  # what unpickling raises is not listed anywhere
        raise UsageError(f"{text} holds no tensor that can be read safely.", hint=_HINT) from error
    if not isinstance(loaded, torch.Tensor):
        raise UsageError(f"{text} holds a {type(loaded).__name__} and no tensor.", hint=_HINT)
    return loaded


def _tensor(words: Sequence[str]) -> torch.Tensor:
    if any("j" in word for word in words):
        return torch.tensor([complex(word) for word in words], dtype=torch.complex128)
    return torch.tensor([float(word) for word in words], dtype=torch.float64)


def _words(text: str) -> list[str]:
    words = text.replace(",", " ").split()
    if not words:
        raise ValueError("no numbers")
    return words


def _told(tensor: torch.Tensor) -> str:
    """A vector in a few words."""
    if tensor.numel() <= _FEW:
        return text(tensor.detach())
    if bool((tensor == 1).all()):
        return "ones"
    return f"given, {'×'.join(map(str, tensor.shape))}, norm {float(tensor.detach().norm()):.3g}"
