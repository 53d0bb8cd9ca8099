"""Where a program loses the gradient, and into which ops the value that lost it goes on.

A value that depends on a tensor with a history, but has none itself, is a cut one. It is known by a
weak reference and followed through ops without a history, until an op with one takes it: that is
the join, and it makes the cut matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any, Final

import torch
from torch import nn

from graphviz_cli.capture import private
from graphviz_cli.capture.bookkeeping import is_bookkeeping
from graphviz_cli.capture.constants import Constants
from graphviz_cli.capture.cut_kinds import Meaning, is_write, kind_of, meaning_of, name_of
from graphviz_cli.capture.cut_ledger import CutLedger
from graphviz_cli.capture.cut_records import (
    Lineage,
    Source,
    are_weights,
    is_only,
    source_of,
)
from graphviz_cli.capture.cut_values import Call, Placed, joined, tensors_in
from graphviz_cli.capture.double_backward import undifferentiable
from graphviz_cli.capture.frames import Origin
from graphviz_cli.capture.modules import ModuleCalls
from graphviz_cli.capture.source import CHANGED, SINGLE
from graphviz_cli.capture.uses import Uses, mask_of

_WIDEST: Final = 61
MOST_LOOKS: Final = 10_000
"""How many nodes are looked at between two backward passes. Each gets a Python object by that, and
a long chain of those overruns the stack when it is freed (`teardown.py`)."""


class Cuts(CutLedger):
    """Notes every place where the gradient is lost, told of every torch call of one thread.

    Nothing is computed, and no value is kept: cut values are known by weak references. What is kept
    is where they come from, a backward op and with it the graph behind it, of as many as
    `cut_records` says, until `forget` is called after a backward pass. So a program that goes on
    without any backward pass and without `no_grad` keeps some graphs alive that it would have
    freed. That a living value is a cut one stays known, but not what it was made of.
    """

    def __init__(
        self,
        locate: Callable[[FrameType, int], Origin],
        module_calls: ModuleCalls,
    ) -> None:
        super().__init__(locate, module_calls)
        self._meanings: dict[Any, tuple[Meaning, str, bool]] = {}
        """For each function what it does, its name, and whether it writes to its first argument."""
        self._looks = 0
        self._hidden: list[dict[int, torch.Tensor]] = []
        """For each custom Function that is running the parameters that its forward has used."""
        self.horizon = 0
        """Nodes with a smaller sequence number were made before the last backward pass."""
        self.has_no_root = False
        """Nothing to start from requires a gradient: the newest cut may be why."""
        self.uses = Uses(locate)
        self.constants = Constants(self._lineages)

    @property
    def is_full(self) -> bool:
        """Since the last backward pass there were more cuts than can be noted."""
        return self._looks >= MOST_LOOKS

    def forget(self) -> None:
        """Let go of the graphs behind the cuts: they have been used."""
        super().forget()
        self._looks = 0
        self.horizon = private.next_sequence_nr()
        self.uses.clear()
        self.constants.clear()

    # What the program does

    def before(self, function: Any, args: Sequence[Any]) -> Source | None:
        """The source that a call is about to destroy; to be asked before each torch call."""
        known = self._meanings.get(function)
        if known is None:
            name = name_of(function)
            known = self._meanings[function] = meaning_of(name), name, is_write(name)
        if known[0] is Meaning.DETACHING:
            return self._source(args[0])
        if known[0] is Meaning.GRAD_MODE and args and not args[0]:
            self._blocks.begin()
        return None

    def after(self, call: Call) -> None:
        """A torch call has ended, of which `before` was told."""
        meaning, call.name, writes = self._meanings[call.function]
        if meaning is Meaning.NOTHING:
            if writes:
                self.uses.note_write(call)
                self._lineages.drop(call.target)
            return
        if meaning is Meaning.GRADIENT:
            if not self._hidden and call.kwargs and call.kwargs.get("create_graph"):
                self._sort_out_gradients(call)
            return
        if meaning is Meaning.GRAD_MODE:
            self._blocks.begun(call.frame)
            return
        has_ops = call.start != call.end
        if has_ops and not self._hidden:
            self.constants.note(call)
        is_plain = has_ops and call.value.__class__ is torch.Tensor and not writes
        if is_plain and not (call.kwargs or self._lineages or self._hidden):
            # What nearly every call of a forward pass is: nothing can be lost in it.
            call.tensors = [((-1,), arg) for arg in call.args if arg.__class__ is nn.Parameter]
            self.uses.note(call)
            if private.is_computed(call.value):
                return
        call.tensors = tensors_in(call.args, call.kwargs)
        if writes:
            self.uses.note_write(call)
        else:
            self.uses.note(call)
        if self._hidden:
            # Within the forward of a custom Function nothing has a history.
            self._hide(tensor for _, tensor in call.tensors)
        elif not has_ops:
            if call.tensors or call.destroyed is not None:
                with private.undisturbed():
                    self._without_ops(meaning, call)
        else:
            if self._lineages:
                self._join(call)
            if writes:
                self._lineages.drop(call.target)
            elif not is_plain or not private.is_computed(call.value):
                with private.undisturbed():
                    self._sort_out(call)

    def enter_function(self) -> None:
        """The forward of a custom Function begins: what happens within it is hidden."""
        self._hidden.append({})

    def abandon_function(self) -> None:
        """The forward of a custom Function has raised."""
        self._hidden.pop()

    def leave_function(self, call: Call) -> None:
        """The forward of a custom Function, `call.function`, has ended."""
        hidden = self._hidden.pop()
        if self._hidden:
            self._hidden[-1].update(hidden)
            return
        call.name = call.function.__name__
        call.tensors = tensors_in(call.args)
        with private.undisturbed():
            # A node takes its number even where it turns out that no gradient is wanted.
            if any(isinstance(o, torch.Tensor) and o.requires_grad for o in call.outputs):
                given = {id(tensor) for _, tensor in call.tensors}
                unseen = [tensor for key, tensor in hidden.items() if key not in given]
                self.uses.note_hidden(unseen, call.name)
                if self._lineages:
                    self._join(call)
                self._sort_out(call, "mark_non_differentiable")
            else:
                known = {id(tensor) for _, tensor in call.tensors}
                used = [tensor for key, tensor in hidden.items() if key not in known]
                call.tensors = [*call.tensors, *(((-1,), tensor) for tensor in used)]
                self._sort_out(call, call.name if torch.is_grad_enabled() else self._blocks.kind)

    def module_called(self, module: nn.Module, call: Call) -> None:
        """A module was called without gradients; of what happened within it nothing is known."""
        parameters = list(module.parameters())
        if self._hidden:
            self._hide(parameters)
            return
        call.name = type(module).__name__
        call.tensors = [*tensors_in(call.args), *(((-1,), tensor) for tensor in parameters)]
        self.uses.note(call)
        call.value = [tensor for _, tensor in tensors_in((call.value,))]
        with private.undisturbed():
            self._sort_out(call, self._blocks.kind)

    def new_parameter(self, data: Any, parameter: Any, frame: FrameType) -> None:
        """A parameter was made of a tensor."""
        if not isinstance(data, torch.Tensor) or self._hidden:
            return
        with private.undisturbed():
            lineage = self._lineages.of(data)
            source = self._source(data)
            if source is not None and source.leaf is None:
                number = private.next_sequence_nr()
                call = Call(nn.Parameter, (data,), None, parameter, number, number, frame)
                call.name = "Parameter"
                lineage = (self._cut("new leaf", call, [source], lineage),)
            if lineage and not are_weights((), lineage):
                self._give(parameter, lineage)

    def passed(self, value: Any, receiver: Callable[[], Origin]) -> None:
        """A module's call is about to give `value`."""
        lineage = self._lineages.of(value) if self._lineages else ()
        if len(lineage) == 1 and lineage[0].receiver is None:
            call = lineage[0].call
            if call is not None and call[0] == self._module_calls.left:
                lineage[0].receiver = receiver()

    # What becomes of values

    def _without_ops(self, meaning: Meaning, call: Call) -> None:
        """A call that made no op."""
        if meaning in (Meaning.FIRST, Meaning.COPY):
            call.tensors = call.tensors[:1]
        elif meaning is Meaning.REST:
            call.tensors = call.tensors[1:]
        if call.destroyed is None and not any(
            tensor.requires_grad or self._lineages.of(tensor) for _, tensor in call.tensors
        ):
            return
        if self._is_no_part(call):
            return
        sources, lineage = self._history(call.tensors)
        if meaning is Meaning.ESCAPE:
            if sources or lineage:
                self._cut(kind_of(call.name) or call.name, call, sources, lineage)
        elif meaning is Meaning.DETACHING and call.destroyed is not None:
            self._give(call.value, (self._cut("detach", call, [call.destroyed], lineage),))
        elif meaning is Meaning.NEW_LEAF:
            own = self._lineages.of(call.target)
            if own and call.target is not None and call.target.requires_grad:
                self._give(call.target, own)
        elif meaning is Meaning.WRITE_DATA:
            self._write_data(call)
        elif meaning is Meaning.COPY and isinstance(call.value, nn.Parameter):
            return  # a copied model has weights of its own
        elif is_write(call.name):
            self._write(call)
        else:
            self._sort_out(call)

    def _sort_out(self, call: Call, kind: str | None = None) -> None:
        """Note those of the outputs that have no history though an argument has one.

        `kind` is that of the cut, for what is no torch function.
        """
        several = len(call.outputs) > 1
        bare = [
            (output, 1 << min(position, _WIDEST) if several else SINGLE)
            for position, output in enumerate(call.outputs)
            if isinstance(output, torch.Tensor)
            and (not output.requires_grad or kind_of(call.name) is not None)
        ]
        if not bare:
            return
        sources, lineage = self._history(call.tensors)
        if sources:
            arguments = {id(tensor) for _, tensor in call.tensors}
            bare = [(output, mask) for output, mask in bare if id(output) not in arguments]
        if not (sources or lineage) or (kind is None and self._is_no_part(call)):
            return
        # Within one block the last op is shown, for it is the one whose value goes on.
        block = self._blocks.current if kind is None and kind_of(call.name) is None else None
        is_new = bool(sources) or any(cut.block == block for cut in lineage if block is not None)
        for output, mask in bare:
            cuts = lineage
            if is_new:
                one = Call(call.function, call.args, None, output, call.start, call.end, call.frame)
                one.name = call.name
                cuts = (self._cut(kind or self._kind(call.name, output), one, sources, cuts, mask),)
            self._give(output, cuts)

    def _sort_out_gradients(self, call: Call) -> None:
        """Note those gradients that have no history since a custom Function gives them none."""
        outputs, inputs = (tuple(t for _, t in tensors_in((arg,))) for arg in call.args[:2])
        for position, (gradient, tensor) in enumerate(zip(call.outputs, inputs)):
            if not isinstance(gradient, torch.Tensor) or gradient.requires_grad:
                continue
            with private.undisturbed():
                sources = undifferentiable(outputs, tensor)
                if sources:
                    one = replace(call, value=gradient)
                    mask = 1 << min(position, _WIDEST)
                    cut = self._cut("once_differentiable", one, sources, (), mask)
                    self._give(gradient, (cut,))

    def _write(self, call: Call) -> None:
        """An op without a history has changed its first argument."""
        target = call.target
        if target is None:
            return
        own = self._lineages.of(target)
        for cut in own:
            if cut.kind in (".data", "detach"):
                cut.written, cut.origin = call.end, self._locate(call.frame, mask_of(call.name))
        others = [(place, tensor) for place, tensor in call.tensors if tensor is not target]
        sources, given = self._history(others)
        if target.requires_grad:
            # What was computed from the target itself is an update of it.
            given = tuple(cut for cut in given if not is_only(cut, target))
        if isinstance(target, nn.Parameter) and are_weights(sources, given):
            return
        if sources:
            kind = kind_of(call.name) or self._kind(call.name, target)
            given = (self._cut(kind, call, sources, given),)
        self._give(target, given if target.requires_grad else joined((*own, *given)))

    def _write_data(self, call: Call) -> None:
        """`target.data = value`."""
        target, value = call.target, call.args[1]
        if target is None or not isinstance(value, torch.Tensor):
            return
        sources, given = self._history([((1,), value)])
        if given and not sources and all(is_only(cut, target) for cut in given):
            for cut in given:
                if cut.written is None:
                    cut.origin = self._locate(call.frame, CHANGED)
                cut.written = call.end
        elif not are_weights(sources, given):
            if sources:
                given = (self._cut(".data", call, sources, given),)
            self._give(target, given)

    def _history(self, tensors: Sequence[Placed]) -> tuple[list[Source], Lineage]:
        """Those of the tensors that have a history, and the cuts that the others come from."""
        sources = [source for _, tensor in tensors if (source := self._source(tensor)) is not None]
        return sources, self._lineages.of_all(tensor for _, tensor in tensors)

    def _source(self, tensor: object) -> Source | None:
        if self.is_full and isinstance(tensor, torch.Tensor) and private.is_computed(tensor):
            return None
        source = source_of(tensor)
        if source is not None and source.leaf is None:
            self._looks += 1
        return source

    def _is_no_part(self, call: Call) -> bool:
        """Whether a call is no part of the forward pass."""
        return (
            private.is_inside_backward()
            or private.is_inside_transform()
            or is_bookkeeping(call.frame)
        )

    # What else is noted

    def _hide(self, tensors: Any) -> None:
        hidden = self._hidden[-1]
        for tensor in tensors:
            if isinstance(tensor, nn.Parameter) and private.requires_grad(tensor):
                hidden[id(tensor)] = tensor
