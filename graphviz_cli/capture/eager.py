"""Programs that use `torch.compile`, run without it so that the whole graph is seen."""

from __future__ import annotations

import functools
import sys
import warnings
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch


class EagerInsteadOfCompiled:
    """Within the block compiled functions run as they were written.

    A compiled region is one opaque node, and the compiler fails under observers. The stance is set
    when the program first calls `torch.compile`, because setting it imports the compiler, which
    takes as long as torch itself.
    """

    def __init__(self) -> None:
        self.was_needed = False
        """The program has compiled something."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._has_stance = False
        original = torch.compile

        @functools.wraps(original)
        def compile(*args: Any, **options: Any) -> Any:
            self.was_needed = True
            self._set_stance()
            return original(*args, **options)

        self._stack.callback(setattr, torch, "compile", original)
        setattr(torch, "compile", compile)  # noqa: B010 - a patch, not an attribute of ours
        if "torch._dynamo" in sys.modules:
            self._set_stance()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _set_stance(self) -> None:
        if not self._has_stance:
            self._has_stance = True
            # That our hooks on module calls see the wrapper as well does no harm.
            self._stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*there are global hooks on modules")
            self._stack.enter_context(torch.compiler.set_stance("force_eager"))
