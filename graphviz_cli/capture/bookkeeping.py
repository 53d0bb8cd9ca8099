"""What torch itself does that is no part of the forward pass."""

from __future__ import annotations

from types import CodeType, FrameType
from typing import Final

import torch

from graphviz_cli.capture.callers import is_torch, real_path

_PLACES: Final = (
    "/torch/optim/", "/torch/nn/utils/", "/torch/nn/init.py", "/torch/utils/", "/torch/amp/",
    "/torch/cuda/", "/torch/distributed/", "/torch/_tensor_str.py", "/torch/autograd/",
    "/torch/serialization.py", "/torch/testing/",
)  # fmt: skip
_known: dict[int, tuple[CodeType, bool]] = {}


def is_bookkeeping(frame: FrameType) -> bool:
    """Whether torch's own code is running that updates, initialises, prints or saves tensors."""
    code = frame.f_code
    known = _known.get(id(code))
    if known is None:
        path = real_path(code.co_filename).replace("\\", "/")
        known = code, is_torch(code) and any(place in path for place in _PLACES)
        _known[id(code)] = known
    return known[1]


def grad_mode(frame: FrameType) -> str:
    """Which of torch's ways to turn gradients off has called `frame`.

    `torch/autograd/grad_mode.py`: all of them end in `set_grad_enabled`.
    """
    outer = frame.f_back
    if outer is not None and outer.f_code is torch.no_grad.__enter__.__code__:
        return "no_grad"
    return "set_grad_enabled"
