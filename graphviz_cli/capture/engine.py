"""The private names of torch that running the user's program needs, each behind one function.

What reading the graph needs stands in `private.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import _disable_current_modes

from graphviz_cli.capture.probes.clock import gpu_is_in_use

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


def version(tensor: torch.Tensor) -> int:
    """A number that goes up with every change in place; writing through `.data` is none."""
    return tensor._version


def norms_of(tensors: list[torch.Tensor], dtype: torch.dtype | None) -> Sequence[torch.Tensor]:
    """The Euclidean norm of each tensor, of no dimension, added up in `dtype` if that is given.

    On a GPU one kernel does many tensors, which no public function offers.
    """
    norms: Sequence[torch.Tensor] = torch._foreach_norm(tensors, 2, dtype=dtype)
    return norms


@contextmanager
def out_of_dispatch() -> Iterator[None]:
    """Compute without any TorchDispatchMode of the program being told, nor autograd."""
    modes = _disable_current_modes() if torch._C._len_torch_dispatch_stack() else nullcontext()
    with torch._C.DisableTorchFunction(), torch.no_grad(), modes:
        yield


def is_recording_gpu_work() -> bool:
    """Whether a CUDA graph is being made, during which nobody may wait for the GPU."""
    return gpu_is_in_use() and torch.cuda.is_current_stream_capturing()


def wait_for_gpu() -> None:
    """Wait until the GPU, if one is in use, has done what it was given."""
    if gpu_is_in_use():
        torch.cuda.synchronize()
