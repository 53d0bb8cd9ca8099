"""Points in time, of the CPU's clock or of a GPU's."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch


def gpu_is_in_use() -> bool:
    """Whether anything has woken up CUDA in this process; asking does not."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def mark(*, on_gpu: bool) -> Any:
    """The time now; on a GPU a mark in the stream in which work is queued, which does not wait."""
    if not on_gpu:
        return perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def seconds(start: Any, end: Any) -> float:
    """The time between two marks; waits until the GPU has passed the second."""
    if isinstance(start, float) and isinstance(end, float):
        return end - start
    if isinstance(start, float) or isinstance(end, float):
        return 0.0  # the GPU woke up in between: no clock saw both
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
