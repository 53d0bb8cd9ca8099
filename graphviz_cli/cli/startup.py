"""Python's own costs at the start and the end, kept small without changing what a program sees."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def user_modules_uncollected(*, enabled: bool) -> Iterator[None]:
    """Import large packages within this block.

    Garbage collection during `import torch` costs a seventh of it and finds nothing. What was
    imported is then put beyond the collector's reach (`gc.freeze`), which also saves taking torch
    apart at exit, a third of the whole: the operating system does that at once. Objects made
    after the block are collected and finalized as ever, also at exit, and atexit functions run.
    """
    if not enabled:
        gc.enable()
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def leave_to_the_system() -> None:
    """Spare Python from taking our own data apart at exit, where no program of the user ran."""
    gc.disable()
    gc.freeze()
