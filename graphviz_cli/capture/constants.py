"""The tensors without a gradient that ops took beside one with: weak notes of each."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from graphviz_cli.capture import private
from graphviz_cli.capture.cut_records import Place
from graphviz_cli.capture.cut_values import Call, Lineages
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.operators import operators
from graphviz_cli.capture.slots import free_inputs, saved_at, told_slot
from graphviz_cli.graph.model import Operator

_MOST: Final = 20_000
"""How many uses are kept, the newest."""
_PLAIN: Final = frozenset((torch.Tensor, nn.Parameter))


@dataclass(frozen=True, slots=True)
class _Use:
    """A call that made ops took a tensor that requires no gradient."""

    tensor: weakref.ref[torch.Tensor]
    start: int
    end: int
    """The range of the sequence numbers of the ops."""
    op: str
    place: Place


@dataclass(frozen=True, slots=True)
class Taken:
    """Input `input_nr` of a node is a constant."""

    node: int
    input_nr: int
    tensor: torch.Tensor


class Constants:
    """Told of torch calls that made ops; keeps no tensor alive.

    Values that have lost a gradient are no constants: `lineages` knows them.
    """

    def __init__(self, lineages: Lineages) -> None:
        self._lineages = lineages
        self._uses: deque[_Use] = deque(maxlen=_MOST)

    def note(self, call: Call) -> None:
        """Note what of a call's arguments may be a constant: floating, without a gradient."""
        for position, argument in enumerate(call.args):
            if argument.__class__ in _PLAIN:
                self._note(argument, (position,), call)
            elif argument.__class__ is list or argument.__class__ is tuple:
                for nested, item in enumerate(argument):
                    if item.__class__ in _PLAIN:
                        self._note(item, (position, nested), call)
        for key, argument in call.kwargs.items() if call.kwargs else ():
            if argument.__class__ in _PLAIN:
                self._note(argument, (key,), call)

    def _note(self, tensor: torch.Tensor, place: Place, call: Call) -> None:
        if tensor.requires_grad or not (tensor.is_floating_point() or tensor.is_complex()):
            return
        if not self._lineages.of(tensor):
            use = _Use(weakref.ref(tensor), call.start, call.end, call.name, place)
            self._uses.append(use)

    def clear(self) -> None:
        """Forget all."""
        self._uses.clear()

    def taken(
        self, nodes: Sequence[Any], sequence_nrs: Sequence[int], names: TensorNames
    ) -> list[Taken]:
        """Those with a name that ops among `nodes` took, where their input is certain."""
        uses = [
            (use, tensor)
            for use in self._uses
            if (tensor := use.tensor()) is not None
            and not tensor.requires_grad
            and names.of(tensor).names
        ]
        if not uses:
            return []
        places = {number: place for place, number in enumerate(sequence_nrs)}
        places.pop(private.UNNUMBERED, None)
        candidates = []
        for use, tensor in uses:
            taking = [places[number] for number in range(use.start, use.end) if number in places]
            free = {node: slots for node in taking if (slots := free_inputs(nodes[node]))}
            if free:
                candidates.append((use, tensor, free))
        known = operators({nodes[node].name() for _, _, free in candidates for node in free})
        found: dict[tuple[int, int], Taken] = {}
        for use, tensor, free in candidates:
            told = _told(use, tensor, nodes, free, known)
            if told is not None:
                found.setdefault(told, Taken(*told, tensor))
        return list(found.values())


def _told(
    use: _Use,
    tensor: torch.Tensor,
    nodes: Sequence[Any],
    free: Mapping[int, Sequence[int]],
    known: Mapping[str, Operator],
) -> tuple[int, int] | None:
    """The node and its free input that a tensor went into, if that is certain."""
    saved = saved_at(private.address_of_tensor(tensor), nodes, free, known)
    if saved is not None or use.end != use.start + 1:
        return saved
    for node, slots in free.items():
        operator = known.get(nodes[node].name())
        slot = None if operator is None else told_slot(operator, use.op, use.place)
        if slot is not None and slot in slots:
            return node, slot
    return None
