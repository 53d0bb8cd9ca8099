"""What is measured of each backward call, and of what becomes of its gradients."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

import torch
from torch.optim import Optimizer

from graphviz_cli.capture.backward import BackwardCall, EngineCall, backward_call
from graphviz_cli.capture.callers import is_library, outward
from graphviz_cli.capture.leaf_gradients import LeafGradients
from graphviz_cli.capture.norms import Numbers, norms, number_of, total
from graphviz_cli.capture.structures import Structured, Structures
from graphviz_cli.graph.history import Step, Structure
from graphviz_cli.graph.model import Graph

_MOST_GRAPHS = 20
_MOST_SHAPES = 3
"""So many are kept besides of graphs that differ from one of these in shapes only."""
_UNNAMED = "result"

Draw = Callable[[BackwardCall, int, Sequence[torch.Tensor]], tuple[Graph, tuple[str, ...]]]
"""Gives the graph of a call, of which the number is told, and the names of its leaves."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that is being measured, while the engine runs."""

    number: int
    root: str
    digest: str
    structure: Structure | None
    """Where no step before had it."""
    held: int
    leaves: list[torch.Tensor | None]
    """Those of the structure; None for one that this call gives no gradient."""
    norms_before: list[float]
    """Of the gradients in `suspects`, once they are fetched."""
    suspects: list[torch.Tensor]
    loss: Any


class Measurements:
    """The steps and structures of a run, as far as it has come."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._steps: list[Step] = []
        self._structures: list[Structure] = []
        self._counts: Counter[int] = Counter()
        self._known: dict[str, int] = {}
        self._forms: set[str] = set()
        self._kept: Counter[bool] = Counter()
        """How many graphs are kept, by whether one of the same form came before."""
        self._leaf_names: dict[bytes, tuple[str, ...]] = {}
        self._roots: dict[tuple[int, ...], tuple[list[CodeType], str]] = {}
        """What calls start from, by their place; the code keeps its address as long as it lives."""
        self._newest: dict[str, int] = {}
        """The number of the last step that started from a root."""
        self._reader = Structures()
        self._gradients = LeafGradients()
        self._waiting = Numbers()
        self._clipped: dict[int, array[float]] = {}
        """The norms of leaves when optimizers took their steps, by the index of the call's step."""

    def begin(self, call: EngineCall, number: int) -> Begun:
        """Look at the graph of a call before the engine runs."""
        structured = self._reader.of(call.outputs)
        root, structure = self._identified(call, number, structured)
        receiving = {id(tensor) for tensor in call.inputs}
        leaves = [
            leaf if call.accumulates and (not receiving or id(leaf) in receiving) else None
            for leaf in structured.leaves
        ]
        suspects = self._gradients.suspects([leaf for leaf in leaves if leaf is not None])
        norms_before: list[float] = []
        self._waiting.add(norms([leaf.grad for leaf in suspects]), norms_before.extend)
        loss = call.outputs[0] if isinstance(call.outputs[0], torch.Tensor) else None
        return Begun(
            number=number,
            root=root,
            digest=structured.digest,
            structure=structure,
            held=structured.held,
            leaves=leaves,
            norms_before=norms_before,
            suspects=suspects,
            loss=loss,
        )

    def end(self, begun: Begun, seconds: float | None, own_seconds: float) -> Step:
        """Look at the gradients that a call has left; what measuring it took is added up."""
        started = time.perf_counter()
        found: list[float] = []
        self._waiting.add(
            norms([None if leaf is None else leaf.grad for leaf in begun.leaves]), found.extend
        )
        loss = None if begun.loss is None else number_of(begun.loss)
        losses: list[float] = []
        self._waiting.add([] if loss is None else [loss], losses.extend)
        self._fetch()
        used = {id(leaf) for leaf, norm in zip(begun.suspects, begun.norms_before) if norm != 0}
        self._gradients.reached(len(self._steps), begun.leaves, used)
        structure = self._known.get(begun.digest)
        if structure is None and begun.structure is not None:
            structure = self._known[begun.digest] = len(self._structures)
            self._structures.append(begun.structure)
            form = begun.structure.form
            self._kept[form in self._forms] += begun.structure.graph is not None
            self._forms.add(form)
        assert structure is not None
        self._counts[structure] += 1
        self._newest[begun.root] = begun.number
        step = Step(
            number=begun.number,
            root=begun.root,
            structure=structure,
            loss=losses[0] if losses else None,
            gradient=total(found),
            clipped=None,
            leaves=array("d", found),
            held=begun.held,
            kept=0,
            seconds=seconds,
            own_seconds=own_seconds + time.perf_counter() - started,
        )
        self._steps.append(step)
        return step

    def passed(self) -> None:
        """A call is not measured."""
        self._gradients.passed(len(self._steps))

    def before_step(self, optimizer: Optimizer) -> None:
        """An optimizer will take a step."""
        index, gradients = self._gradients.before_step(optimizer)
        # Until the numbers are there no gradient may be held.
        positions = tuple(gradients)

        def use(values: list[float]) -> None:
            clipped = self._clipped.setdefault(index, array("d", self._steps[index].leaves))
            for position, value in zip(positions, values):
                clipped[position] = value

        if positions:
            self._waiting.add(norms(list(gradients.values())), use)

    def after_step(self, optimizer: Optimizer) -> None:
        """An optimizer has taken a step."""
        self._gradients.after_step(optimizer)

    def steps(self) -> tuple[Step, ...]:
        """All steps, now that the run is over."""
        self._fetch()
        for index, count in self._gradients.kept.items():
            self._steps[index] = replace(self._steps[index], kept=count)
        return tuple(self._steps)

    def structures(self) -> tuple[Structure, ...]:
        """All structures, in order of appearance."""
        return tuple(
            replace(structure, count=self._counts[number])
            for number, structure in enumerate(self._structures)
        )

    def _fetch(self) -> None:
        self._waiting.fetch()
        for index, leaves in self._clipped.items():
            self._steps[index] = replace(self._steps[index], clipped=total(leaves))
        self._clipped.clear()

    def _identified(
        self, call: EngineCall, number: int, structured: Structured
    ) -> tuple[str, Structure | None]:
        """The name of a call's root, and its structure if that is a new one."""
        codes = []
        place: list[int] = []
        for frame in outward(call.frame):
            codes.append(frame.f_code)
            place += id(frame.f_code), frame.f_lasti
            if not is_library(frame.f_code):
                break
        is_new = structured.digest not in self._known
        known = self._roots.get(tuple(place))
        if known is not None and not is_new:
            return known[1], None
        seen = backward_call(call)
        root = seen.names[0] or _UNNAMED
        self._roots[tuple(place)] = codes, root
        return root, self._structure(seen, number, structured) if is_new else None

    def _structure(self, seen: BackwardCall, number: int, structured: Structured) -> Structure:
        graph = None
        names = self._leaf_names.get(structured.parameters)
        is_like_another = structured.form in self._forms
        is_kept = self._kept[is_like_another] < (_MOST_SHAPES if is_like_another else _MOST_GRAPHS)
        if is_kept or names is None:
            graph, names = self._draw(seen, number, structured.leaves)
            self._leaf_names[structured.parameters] = names
        return Structure(
            digest=structured.digest,
            form=structured.form,
            first=number,
            count=0,
            ops=structured.ops,
            edges=structured.edges,
            leaves=names,
            graph=graph if is_kept else None,
            other=self._newest.get(seen.names[0] or _UNNAMED),
        )
