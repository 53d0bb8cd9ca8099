"""The private names of torch that running the user's program needs, each behind one function.

What reading the graph needs stands in `private.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensor,
    FakeTensorMode,
)

FAKE_LOGGER = "torch._subclasses.fake_tensor"
"""Where fake tensors report every op that fails."""

NEEDS_VALUES: tuple[type[Exception], ...] = (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
"""What fake tensors raise where a program asks for the values that they do not have."""


@contextmanager
def fake_tensors() -> Iterator[FakeTensorMode]:
    """Within the block new tensors have shape, type and device, but no data, and ops compute only
    these.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def without_data(module: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A deep copy of a module whose tensors are fake; raises what copying its attributes raises."""
    with FakeCopyMode(mode):
        return copy.deepcopy(module)


def has_data(tensor: torch.Tensor) -> bool:
    """Whether the elements of a strided tensor can be read."""
    return tensor.device.type != "meta" and not isinstance(tensor, FakeTensor)


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` was given, or the module itself."""
    original = getattr(module, "_orig_mod", None)
    return original if isinstance(original, nn.Module) else module


def clear_hooks(module: nn.Module) -> None:
    """Take all forward hooks from a module and its parts."""
    for part in module.modules():
        for attribute in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            getattr(part, attribute).clear()
