"""The cuts of a program and the values that carry them on, as they are written down."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.cut_kinds import kind_of
from graphviz_cli.capture.cut_records import Cut, Join, Kept, Lineage, Rebirth, Source
from graphviz_cli.capture.cut_values import Call, Lineages, joined
from graphviz_cli.capture.frames import Origin
from graphviz_cli.capture.grad_blocks import GradBlocks
from graphviz_cli.capture.modules import ModuleCalls
from graphviz_cli.capture.specs import spec_of
from graphviz_cli.capture.uses import mask_of

_BLOCKS: Final = frozenset(("no_grad", "set_grad_enabled", "inference_mode"))


class CutLedger:
    """Knows which values are cut ones, and keeps the newest cuts and joins of each place.

    `locate` gives the origin of a call by its frame and a mask.
    """

    def __init__(
        self,
        locate: Callable[[FrameType, int], Origin],
        module_calls: ModuleCalls,
    ) -> None:
        self._locate = locate
        self._module_calls = module_calls
        self._lineages = Lineages()
        self._kept = Kept()
        self._count = 0
        self._blocks = GradBlocks()

    @property
    def joins(self) -> list[Join]:
        """All joins that are kept, in order."""
        return self._kept.all_joins()

    @property
    def rebirths(self) -> list[Rebirth]:
        """All leaves that are made of cut values and are kept, in order."""
        return list(self._kept.rebirths)

    @property
    def ends(self) -> list[Cut]:
        """The cuts that are kept whether their value joined anything or not, in order."""
        return self._kept.all_ends()

    def forget(self) -> None:
        """Let go of the graphs behind the cuts: they have been used."""
        self._kept = Kept()
        self._lineages.pass_by()

    def _give(self, tensor: Any, lineage: Lineage) -> None:
        """A tensor now has a value that comes from some cuts."""
        if not isinstance(tensor, torch.Tensor) or not lineage:
            return
        if not tensor.requires_grad:
            self._lineages.note(tensor, lineage)
        elif tensor.is_leaf:
            self._lineages.drop(tensor)
            self._kept.rebirths.append(Rebirth(weakref.ref(tensor), lineage))

    def _join(self, call: Call) -> None:
        """A call that made ops has perhaps taken cut values."""
        taken = tuple(
            (place, private.address_of_tensor(tensor), lineage)
            for place, tensor in call.tensors
            if (lineage := self._lineages.of(tensor))
        )
        if taken and not private.is_inside_backward():
            join = Join(call.start, call.end, call.name, taken)
            self._kept.join((id(call.frame.f_code), call.frame.f_lasti), join)

    def _cut(
        self,
        kind: str,
        call: Call,
        sources: Sequence[Source],
        lineage: Lineage,
        mask: int | None = None,
    ) -> Cut:
        known = {source.key: source for source in sources}
        block = None
        if kind in _BLOCKS:
            # Within one block the ops are one cut, or a target network would be hundreds.
            block = self._blocks.current
            merged = [cut for cut in lineage if cut.block == block]
            for cut in reversed(merged):
                known = {**cut.sources, **known}
            lineage = joined(
                outer for cut in lineage for outer in (cut.lineage if cut in merged else (cut,))
            )
        self._count += 1
        cut = Cut(
            number=self._count,
            kind=kind,
            op=call.name,
            origin=self._locate(call.frame, mask_of(call.name) if mask is None else mask),
            call=self._module_calls.running,
            spec=spec_of(call.value) if isinstance(call.value, torch.Tensor) else None,
            sources=known,
            lineage=lineage,
            block=block,
        )
        self._kept.end((id(call.frame.f_code), call.frame.f_lasti), cut)
        return cut

    def _kind(self, name: str, output: torch.Tensor) -> str:
        named = kind_of(name)
        if named is not None and (named != "copy_" or not torch.is_grad_enabled()):
            return named
        if not torch.is_grad_enabled():
            return self._blocks.kind
        is_number = output.is_floating_point() or output.is_complex()
        return "non-differentiable" if is_number else "integer output"
