"""Everything that watches while the user's program runs, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import torch

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.eager import EagerInsteadOfCompiled
from graphviz_cli.capture.frontier import Frontier
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.torch_calls import tell_of_pass
from graphviz_cli.capture.walk import RootTensor
from graphviz_cli.errors import TargetError


@dataclass(frozen=True, slots=True)
class Observation:
    """What is to be drawn of a target that was run."""

    title: str
    roots: Sequence[RootTensor]
    """One without a name gets that of its variable."""
    names: TensorNames
    attribution: Attribution
    parameters: Sequence[torch.Tensor] = ()
    """Those of the modules that were called, whether a gradient reaches them or not."""
    inputs: tuple[str, ...] = ()
    step: int | None = None
    notes: tuple[str, ...] = ()
    failure: TargetError | None = None
    vectors: Mapping[int, torch.Tensor] = field(default_factory=dict)
    """What the program gave to its backward call, by the id of the root's tensor."""


class Recording:
    """Context manager that watches the user's program; nothing of it outlives the block.

    `device` becomes the default device. The results of functions are kept with `keep_results`.
    """

    def __init__(
        self, device: torch.device | None = None, *, keep_results: bool, cuts: bool = True
    ) -> None:
        self.attribution = Attribution(cuts=cuts)
        self.frontier = Frontier()
        self._eager = EagerInsteadOfCompiled()
        self._keep_results = keep_results
        self._device = device

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._device is not None and self._device.type != "cpu":
                stack.enter_context(self._device)
            stack.enter_context(self._eager)
            if self._keep_results:
                stack.enter_context(self.frontier)
            # Entered last, for it looks at who calls torch.
            stack.enter_context(self.attribution)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def passed(self) -> None:
        """A backward pass was made that is not to be drawn."""
        if self.attribution.cuts is not None:
            self.attribution.cuts.forget()
        self.attribution.forget()
        tell_of_pass()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how the program ran."""
        if self._eager.was_needed:
            return ("torch.compile was not applied, so that every op can be seen.",)
        return ()
