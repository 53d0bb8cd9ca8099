"""Where the target runs: never anywhere else than was asked for."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from graphviz_cli.errors import TargetError, UsageError


def requested(text: str) -> torch.device | None:
    """Read `auto`, `cpu`, `cuda` or `cuda:N`; None is auto.

    Asking for anything but CUDA does not wake CUDA up, since a program may still choose its GPUs
    (`CUDA_VISIBLE_DEVICES`). Raises UsageError if there is no such device here.
    """
    if text == "auto":
        return None
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(
            f"There is no device {text!r}.", hint="Known: auto, cpu, cuda, cuda:0, cuda:1, ..."
        )
    if device.type == "cuda":
        _check_cuda(device)
    return device


def place(module: nn.Module, device: torch.device | None) -> torch.device:
    """Move a module, and tell where its inputs belong.

    Without a request a module on the CPU goes to CUDA where there is some, and one that its program
    has put elsewhere stays. Raises TargetError if it cannot be moved.
    """
    held = {tensor.device for tensor in itertools.chain(module.parameters(), module.buffers())}
    if device is None:
        if all(place.type == "cpu" for place in held) and torch.cuda.is_available():
            device = torch.device("cuda")
        else:
            first = next(itertools.chain(module.parameters(), module.buffers()), None)
            return torch.device("cpu") if first is None else first.device
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    if held != {device}:
        try:
            module.to(device)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise TargetError(
                f"{type(module).__name__} cannot be moved to {device}: {reason}",
                hint="--device cpu runs it without." if device.type == "cuda" else None,
            ) from None
    return device


def described(device: torch.device) -> str:
    """A device's name, with the model of a GPU."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def _check_cuda(device: torch.device) -> None:
    hint = "--device cpu, or auto, which is CUDA where there is some."
    if torch.version.cuda is None and torch.version.hip is None:
        raise UsageError("CUDA was asked for, but this torch is built without it.", hint=hint)
    if not torch.cuda.is_available():
        raise UsageError("CUDA was asked for, but torch finds no GPU it can use.", hint=hint)
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise UsageError(
            f"There is no {device}: torch finds {count} GPU{'s' if count > 1 else ''}.", hint=hint
        )
