"""The blocks of a program within which gradients are turned off."""

from __future__ import annotations

from types import FrameType

import torch

from graphviz_cli.capture.bookkeeping import grad_mode


class GradBlocks:
    """Told when gradients are turned off; tells which block is running, and what made it."""

    def __init__(self) -> None:
        self._number = 0
        self._kind = "no_grad"

    def begin(self) -> None:
        """Gradients are about to be turned off, if they are on."""
        if torch.is_grad_enabled():
            self._number += 1
            self._kind = ""

    def begun(self, frame: FrameType) -> None:
        """The mode was set by `frame`."""
        self._kind = self._kind or grad_mode(frame)

    @property
    def kind(self) -> str:
        """What keeps gradients from being recorded, where they are."""
        if torch.is_inference_mode_enabled():
            return "inference_mode"
        return self._kind or "no_grad"

    @property
    def current(self) -> int | None:
        """The block that is running: the same for all within one; None outside of any."""
        if torch.is_inference_mode_enabled():
            return -1
        return None if torch.is_grad_enabled() else self._number
