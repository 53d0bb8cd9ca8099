"""What was measured at every backward call of a program: plain data, as a graph is."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from graphviz_cli.graph.model import Graph

ABSENT = -1.0
"""Stands for a missing norm in `Step.leaves`: a norm is never negative, but can be NaN."""


class Ending(StrEnum):
    """Why nothing more was measured."""

    DONE = "done"
    """The program came to its end."""
    ENOUGH = "enough"
    """It was stopped at the call that was asked for."""
    INTERRUPTED = "interrupted"
    """By Ctrl-C."""
    FAILED = "failed"
    """The program raised."""


@dataclass(frozen=True, slots=True)
class Step:
    """A backward call that was measured.

    Norms are Euclidean. What cannot be told is None: the value of a loss with several elements, the
    gradients of a call of `autograd.grad`.
    """

    number: int
    """Which backward call of the program it was, from 1."""
    root: str
    """What the program calls the tensor that it started from; the first where there are several."""
    structure: int
    """Index into `History.structures`."""
    loss: float | None
    gradient: float | None
    """Global norm of the `.grad` of all leaves of the graph, just after the call."""
    clipped: float | None
    """The same when an optimizer next took a step, after clipping; None if none did before the next
    backward call."""
    leaves: array[float]
    """The norm of each of `Structure.leaves`, or `ABSENT`."""
    held: int
    """Bytes that only the graph kept alive when the call began."""
    kept: int
    """How many leaves still held the gradient of before the last step of an optimizer."""
    seconds: float | None
    """Since the backward call before, what measuring took not counted; None for the first."""
    own_seconds: float
    """What measuring this call took."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A graph that one or more steps had: ops, shapes, edges, and which parameters it reaches."""

    digest: str
    """Equal for equal graphs, in hexadecimal; the same in every run of a program."""
    form: str
    """The same without the shapes: equal also for batches or sequences of another length."""
    first: int
    """The step that had it first, by its number."""
    count: int
    """How many of the measured steps had it."""
    ops: int
    edges: int
    leaves: tuple[str, ...]
    """What the program calls its leaves."""
    graph: Graph | None = None
    """That of its first step; None where too many came before to keep all."""
    other: int | None = None
    """The number of the step before the first, with which it is compared; None if there is none."""
    difference: tuple[str, ...] = ()
    """How it differs from the graph of that step, or from one with the same form, a line each,
    additions with `+` in front, losses with `-`."""


@dataclass(frozen=True, slots=True)
class History:
    """The backward calls of a run, in their order."""

    target: str
    title: str
    torch: str
    device: str
    every: int
    """Each so manyth call was measured."""
    calls: int
    """Backward calls of the program, measured or not."""
    steps: Sequence[Step]
    structures: Sequence[Structure]
    ending: Ending
    notes: tuple[str, ...] = ()
    """What could not be seen, one sentence each."""
    arguments: tuple[str, ...] = ()
    """Those of the program, to name a command that runs it again."""

    @property
    def roots(self) -> tuple[str, ...]:
        """What the backward calls started from, each name once, in order of appearance."""
        return tuple(dict.fromkeys(step.root for step in self.steps))
