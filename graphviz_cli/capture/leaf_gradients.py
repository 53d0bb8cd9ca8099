"""What becomes of the gradients of leaves between two backward calls."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch.optim import Optimizer

from graphviz_cli.capture.engine import version
from graphviz_cli.graph.model import NONE


@dataclass(slots=True)
class _Leaf:
    """A leaf, and its gradient when we last looked."""

    tensor: weakref.ref[torch.Tensor]
    gradient: weakref.ref[torch.Tensor] | None = None
    gradient_version: int = 0
    version: int = 0
    step: int = NONE
    """The measured call that last reached it, by its index."""
    position: int = 0
    """Its place among the leaves of that call."""
    is_stepped: bool = False
    """An optimizer has it."""
    is_used: bool = False
    """The gradient is one with which the leaf was changed."""
    doubts: list[int] = field(default_factory=list)
    """The measured calls that added to a gradient that was used already. It may yet be cleared
    before it is used again: a GAN's generator leaves gradients in the discriminator."""

    def look(self, tensor: torch.Tensor) -> None:
        """Remember the gradient as it is."""
        gradient = tensor.grad
        self.gradient = None if gradient is None else weakref.ref(gradient)
        self.gradient_version = 0 if gradient is None else version(gradient)
        self.version = version(tensor)

    def has_kept(self, gradient: torch.Tensor | None, *, untouched: bool) -> bool:
        """A gradient is the one that was remembered, and if `untouched` still holds the same."""
        if gradient is None or self.gradient is None or self.gradient() is not gradient:
            return False
        return not untouched or version(gradient) == self.gradient_version


class LeafGradients:
    """Follows the gradients of the leaves that measured calls reached.

    Nothing is kept alive by it, and no gradient is read. That one was never cleared is taken for
    certain only once it was used again: when an optimizer takes a step, or, where none ever did,
    when the leaf was changed in place, which is seen at the call that follows.
    """

    def __init__(self) -> None:
        self.kept: Counter[int] = Counter()
        """For measured calls how many leaves held a used gradient, and were changed with it."""
        self._leaves: dict[int, _Leaf] = {}
        self._first_open = 0

    def suspects(self, leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """A call begins: those of the leaves whose gradient was used and not cleared since.

        One whose gradient is zero all over was cleared in a way that cannot be noticed.
        """
        found = []
        for tensor in leaves:
            leaf = self._leaves.get(id(tensor))
            if leaf is None:
                continue
            same = leaf.has_kept(tensor.grad, untouched=True)
            if same and not leaf.is_stepped and version(tensor) != leaf.version:
                self._confirm(leaf)
                leaf.is_used = True
            if not same:
                leaf.doubts.clear()
            elif leaf.is_used or leaf.doubts:
                found.append(tensor)
        return found

    def reached(
        self, step: int, leaves: Sequence[torch.Tensor | None], used: Collection[int]
    ) -> None:
        """The measured call `step` has ended; `used` are the suspects, by address."""
        for position, tensor in enumerate(leaves):
            if tensor is None:
                continue
            key = id(tensor)
            leaf = self._leaves.get(key)
            if leaf is None:
                leaf = self._leaves[key] = _Leaf(weakref.ref(tensor, self._forgetting(key)))
            leaf.look(tensor)
            leaf.step, leaf.position, leaf.is_used = step, position, False
            if key in used:
                leaf.doubts.append(step)
            else:
                leaf.doubts.clear()

    def passed(self, steps: int) -> None:
        """A call is not measured, after `steps` that were."""
        self._first_open = steps

    def before_step(self, optimizer: Optimizer) -> tuple[int, dict[int, torch.Tensor | None]]:
        """An optimizer will take a step: the newest call that gave it gradients, and these.

        They are by the leaf's place among that of the call, which is NONE if there was none since
        the last step.
        """
        owned = self._owned(optimizer)
        newest = max((leaf.step for leaf, _ in owned), default=NONE)
        if newest < self._first_open:
            newest = NONE
        gradients: dict[int, torch.Tensor | None] = {}
        for leaf, tensor in owned:
            if leaf.doubts and leaf.has_kept(tensor.grad, untouched=False):
                self._confirm(leaf)
            leaf.doubts.clear()
            if newest != NONE and leaf.step == newest:
                gradients[leaf.position] = tensor.grad
            leaf.step = NONE
        return newest, gradients

    def after_step(self, optimizer: Optimizer) -> None:
        """An optimizer has taken a step."""
        for leaf, tensor in self._owned(optimizer):
            leaf.look(tensor)
            leaf.is_stepped = leaf.is_used = True

    def _forgetting(self, key: int) -> Callable[[object], object]:
        return lambda _: self._leaves.pop(key, None)

    def _owned(self, optimizer: Optimizer) -> list[tuple[_Leaf, torch.Tensor]]:
        tensors = (tensor for group in optimizer.param_groups for tensor in group["params"])
        known = ((self._leaves.get(id(tensor)), tensor) for tensor in tensors)
        return [(leaf, tensor) for leaf, tensor in known if leaf is not None]

    def _confirm(self, leaf: _Leaf) -> None:
        self.kept.update(leaf.doubts)
        leaf.doubts.clear()
