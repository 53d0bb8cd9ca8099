"""Small hand-built histories."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from graphviz_cli.graph.history import ABSENT, Ending, History, Step, Structure
from tests.graphs import HOSTILE_NAMES


@dataclass
class Run:
    """Builds a history step by step, as `watch` would measure it."""

    every: int = 1
    steps: list[Step] = field(default_factory=list)
    structures: list[Structure] = field(default_factory=list)

    def structure(
        self,
        ops: int,
        leaves: Sequence[str] = ("w",),
        difference: Sequence[str] = (),
        form: int | None = None,
    ) -> int:
        """A graph, to be given to `step`; the first step that has it is noted there."""
        k = len(self.structures)
        row = Structure(
            digest=f"{k:016x}",
            form=f"{k if form is None else form:016x}",
            first=0,
            count=0,
            ops=ops,
            edges=ops + 1,
            leaves=tuple(leaves),
            difference=tuple(difference),
        )
        self.structures.append(row)
        return k

    def step(
        self,
        loss: float | None = 1.0,
        norms: Sequence[float | None] | None = None,
        structure: int = 0,
        root: str = "loss",
        **facts: object,
    ) -> None:
        """A measured call; the global norm follows from those of the leaves, which are 1."""
        known = self.structures[structure]
        number = len(self.steps) * self.every + 1
        other = next((s.number for s in reversed(self.steps) if s.root == root), None)
        if not known.count:
            known = replace(known, first=number, other=other)
        self.structures[structure] = replace(known, count=known.count + 1)
        given = [1.0] * len(known.leaves) if norms is None else norms
        leaves = array("d", (ABSENT if norm is None else norm for norm in given))
        step = Step(
            number=number,
            root=root,
            structure=structure,
            loss=loss,
            gradient=math.sqrt(sum(norm * norm for norm in given if norm is not None)),
            clipped=None,
            leaves=leaves,
            held=1000,
            kept=0,
            seconds=None if not self.steps else 0.010,
            own_seconds=0.001,
        )
        self.steps.append(replace(step, **facts))  # type: ignore[arg-type]

    def build(self, **facts: object) -> History:
        history = History(
            target="train.py",
            title="train.py",
            torch="2.13.0",
            device="cpu",
            every=self.every,
            calls=len(self.steps) * self.every,
            steps=tuple(self.steps),
            structures=tuple(self.structures),
            ending=Ending.DONE,
        )
        return replace(history, **facts)  # type: ignore[arg-type]


def losses(*values: float | None) -> History:
    """A run of these losses, with one graph."""
    run = Run()
    run.structure(3)
    for value in values:
        run.step(value)
    return run.build()


def wave(k: int, seed: int = 0) -> float:
    """Noise from 0 to 1, the same everywhere."""
    return (math.sin(k * 12.9898 + seed * 78.233) * 43758.5453) % 1


def training(steps: int = 1000, leaves: int = 5) -> History:
    """A loss that falls over three decades, clipped gradients, and a graph that changes at 17."""
    names = [f"model.layers.{k // 2}.{'weight' if k % 2 == 0 else 'bias'}" for k in range(leaves)]
    run = Run()
    run.structure(23, names)
    run.structure(25, names, ["+ Tanh (net.py:12)", "+ Mul (net.py:13)"])
    for k in range(steps):
        loss = 2.3 * math.exp(-6 * k / max(steps, 2)) * (0.8 + 0.4 * wave(k))
        norms = [
            loss * (0.5 + wave(k, leaf + 1)) * 10 ** (-2.5 * leaf / leaves)
            for leaf in range(leaves)
        ]
        norm = math.hypot(*norms)
        run.step(
            loss,
            norms,
            int(16 <= k < 600),
            gradient=norm,
            clipped=min(norm, 1.0),
            held=4_200_000 + 1000 * (k % 7),
            seconds=None if k == 0 else 0.010 + 0.003 * wave(k, 99),
            own_seconds=0.001 + 0.0002 * wave(k, 98),
        )
    return run.build()


def adversarial(steps: int = 200) -> History:
    """Two losses that take turns, each with its own graph."""
    run = Run()
    run.structure(40, ["D.weight", "D.bias"])
    run.structure(60, ["D.weight", "D.bias", "G.weight"])
    for k in range(steps):
        if k % 2 == 0:
            run.step(0.7 + 0.1 * wave(k), [0.5, 0.1], 0, "errD")
        else:
            run.step(1.5 + wave(k), [0.4, 0.1, 2.0 + wave(k, 1)], 1, "errG")
    return run.build()


def blowing_up(steps: int = 100, at: int = 57) -> History:
    """Gradients that become NaN in two of three leaves, and the loss a step later."""
    run = Run()
    run.structure(9, ["a", "b", "c"])
    nan = math.nan
    for number in range(1, steps + 1):
        norms = [1.0, 2.0, 3.0] if number < at else [1.0, nan, nan] if number == at else [nan] * 3
        run.step(nan if number > at else 1 + number / 10, norms)
    return run.build()


def hostile() -> History:
    """Every name holds something that a writer of text, XML or HTML could trip over."""
    run = Run()
    for k, name in enumerate(HOSTILE_NAMES):
        run.structure(k + 3, HOSTILE_NAMES, [f"+ {name}"])
    for k in range(2 * len(HOSTILE_NAMES)):
        name = HOSTILE_NAMES[k % len(HOSTILE_NAMES)]
        run.step(0.5 + wave(k), [wave(k, n) for n in range(len(HOSTILE_NAMES))], k // 2, name)
    return run.build(target='a "b" </script>.py', title="</script><b>\n", notes=("</title>&",))
