"""What is noted of a place where the gradient is lost, and how much of it is kept."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, TypeAlias, TypeVar

import torch
from torch import nn

from graphviz_cli.capture import private
from graphviz_cli.capture.frames import Origin
from graphviz_cli.capture.modules import Running
from graphviz_cli.graph.model import TensorSpec

T = TypeVar("T")

JOINS: Final = 256
"""How many joins are kept of one place in the program, the newest."""
ENDS: Final = 4
"""How many cuts are kept of one place whose values have joined nothing, the newest."""
_PLACES: Final = 2_000

Place: TypeAlias = tuple[int | str, ...]
"""Where a tensor stands among the arguments of a call: its position, or the name, and the position
in a list."""

Lineage: TypeAlias = "tuple[Cut, ...]"
"""The cuts that a value without a history comes from."""


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor with a history: output `output_nr` of a backward op, or a leaf."""

    node: Any
    output_nr: int
    leaf: torch.Tensor | None

    @property
    def key(self) -> tuple[int, int]:
        """The same for the same tensor."""
        return id(self.node if self.leaf is None else self.leaf), self.output_nr


@dataclass(slots=True, eq=False)
class Cut:
    """One place where the gradient is lost."""

    number: int
    """In the order in which the program made them."""
    kind: str
    op: str
    """The torch function that was called."""
    origin: Origin
    call: Running | None
    """The module call that was running."""
    spec: TensorSpec | None
    """Of the value without a history; None for one that is no tensor."""
    sources: dict[tuple[int, int], Source]
    lineage: Lineage
    """Earlier cuts that the value comes from as well."""
    block: int | None = None
    """The block without gradients within which it happened."""
    receiver: Origin | None = None
    """Who got the value from the module call that made it."""
    written: int | None = None
    """The sequence number at which it was written to, for a tensor on the memory of its source."""
    is_past: bool = False
    """It was made before the last backward pass; what it was made of is forgotten."""

    def pass_by(self) -> bool:
        """Let go of the graph behind it; False if there is none, and so nothing to remember."""
        behind = [self]
        for cut in behind:  # grows while it is read
            if cut.is_past or any(source.leaf is None for source in cut.sources.values()):
                self.is_past = True
                self.sources, self.lineage = {}, ()
                break
            behind += (earlier for earlier in cut.lineage if earlier not in behind)
        return self.is_past


@dataclass(frozen=True, slots=True)
class Join:
    """A call that made ops with a history took cut values."""

    start: int
    end: int
    """The range of the sequence numbers of the ops."""
    op: str
    taken: tuple[tuple[Place, int | None, Lineage], ...]
    """Of each of the values the place, the address of its storage, and the cuts that it comes
    from."""


@dataclass(frozen=True, slots=True)
class Rebirth:
    """A cut value became a leaf with a gradient of its own."""

    leaf: weakref.ref[torch.Tensor]
    lineage: Lineage


@dataclass(slots=True)
class Kept:
    """The newest of everything, by the place in the program."""

    joins: dict[Hashable, deque[Join]] = field(default_factory=dict)
    ends: dict[Hashable, deque[Cut]] = field(default_factory=dict)
    rebirths: deque[Rebirth] = field(default_factory=lambda: deque(maxlen=_PLACES))

    def all_joins(self) -> list[Join]:
        """The joins of all places, in order."""
        return sorted(chain(*self.joins.values()), key=lambda join: join.end)

    def all_ends(self) -> list[Cut]:
        """The cuts of all places, in order."""
        return sorted(chain(*self.ends.values()), key=lambda cut: cut.number)

    def join(self, site: Hashable, join: Join) -> None:
        """Keep a join that was made at a place in the program."""
        _add(self.joins, site, join, JOINS)

    def end(self, site: Hashable, cut: Cut) -> None:
        """Keep a cut that was made at a place in the program."""
        _add(self.ends, site, cut, ENDS)


def _add(kept: dict[Hashable, deque[T]], site: Hashable, item: T, most: int) -> None:
    known = kept.get(site)
    if known is None:
        if len(kept) >= _PLACES:
            del kept[next(iter(kept))]
        known = kept[site] = deque(maxlen=most)
    known.append(item)


def source_of(tensor: Any) -> Source | None:
    """The tensor as a source; None if it has no history, or autograd refuses to tell."""
    if not isinstance(tensor, torch.Tensor) or not private.requires_grad(tensor):
        return None
    try:
        with private.undisturbed():
            node = tensor.grad_fn
            return Source(node, tensor.output_nr, tensor if node is None else None)
    except RuntimeError:  # a view out of several that was written to
        return None


def is_only(cut: Cut, leaf: Any) -> bool:
    """Whether a cut value comes from one leaf alone."""
    sources = cut.sources.values()
    return bool(sources) and not cut.lineage and all(source.leaf is leaf for source in sources)


def are_weights(sources: Iterable[Source], lineage: Lineage) -> bool:
    """Whether nothing but parameters flows in: weights that are copied, or averaged."""
    flowing = [*sources, *(s for cut in lineage for s in cut.sources.values())]
    return bool(flowing) and all(isinstance(source.leaf, nn.Parameter) for source in flowing)
