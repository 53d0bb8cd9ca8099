"""What there is to tell of a run, in plain sentences."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median

from graphviz_cli.charts.graph_changes import graph_changes
from graphviz_cli.charts.heading import root_text
from graphviz_cli.charts.leaves import LeafNorms, leaf_norms
from graphviz_cli.drawing.format import bytes_text, counted, measure_text, number_text, visible
from graphviz_cli.graph.finding import Finding, Severity, gravest_first, listed
from graphviz_cli.graph.history import History, Step

_TOLERANCE = 1e-6
"""Norms that differ by a smaller share are the same norm, summed in another order."""
_STEADY = 1e-3
_FEWEST = 5
"""Steps before growth is called steady."""
_GROWN = 1.1
"""So much larger than the first is the last at least."""
_GROWING = 0.8
"""Share of the steps that must have grown beyond the one before; none may have shrunk."""


def findings(history: History) -> tuple[Finding, ...]:
    """All that the numbers show, the gravest first."""
    if not history.steps:
        text = "No backward call was measured."
        if history.calls:
            text = f"None of {counted(history.calls, 'backward call')} was measured."
        return (Finding("watch", Severity.NOTE, text),)
    run = _Run(history)
    tellers: tuple[Callable[[_Run], Iterator[Finding]], ...] = (
        _not_finite,
        _kept,
        _growing,
        _without_gradients,
        _missing,
        _zero,
        _clipping,
    )
    told = [finding for teller in tellers for finding in teller(run)]
    return tuple(gravest_first([*told, *graph_changes(history), *_cost(history)]))


@dataclass(frozen=True)
class _Run:
    """A history, and what several findings are made of."""

    history: History

    @cached_property
    def leaves(self) -> list[LeafNorms]:
        return leaf_norms(self.history)


def changed_by_clipping(step: Step) -> bool:
    """Whether the gradient norm was another one when the optimizer took its step."""
    if step.gradient is None or step.clipped is None:
        return False
    if math.isnan(step.gradient):
        return not math.isnan(step.clipped)
    return not math.isclose(step.gradient, step.clipped, rel_tol=_TOLERANCE)


def _not_finite(run: _Run) -> Iterator[Finding]:
    steps = run.history.steps
    bad = [step for step in steps if not _is_finite(step)]
    if not bad:
        return
    first = bad[0]
    whose = f" of {root_text(first.root)}" if len(run.history.roots) > 1 else ""
    words: dict[str, list[str]] = {}
    for name, value in (("loss", first.loss), ("gradient norm", first.gradient)):
        if value is not None and not math.isfinite(value):
            words.setdefault(_word(value), []).append(f"the {name}")
    said = [f"{' and '.join(names)}{whose} became {word}" for word, names in words.items()]
    text = f"step {first.number:,}: {' and '.join(said)}."
    names = run.history.structures[first.structure].leaves
    hit = [names[k] or "a leaf" for k, norm in enumerate(first.leaves) if not math.isfinite(norm)]
    if hit and first.loss is not None and math.isfinite(first.loss):
        text = (
            f"{text[:-1]} while the loss was still {number_text(first.loss)}: that of "
            f"{listed([visible(name) for name in hit])} ({len(hit):,} of "
            f"{counted(len(names), 'leaf', 'leaves')})."
        )
    if len(bad) > 1:
        text += f" So it is in {len(bad):,} of {counted(len(steps), 'step')}"
        text += ", up to the last." if bad[-1] is steps[-1] else ", but not in the last."
    yield Finding(
        "non-finite",
        Severity.ERROR if bad[-1] is steps[-1] else Severity.WARNING,
        text,
        hint=f"{_check(run.history, f'--step {first.number} -c non-finite')} names the op that "
        "made it.",
    )


def _check(history: History, options: str) -> str:
    """The command that looks at a step of the same run."""
    command = f"graphviz-cli check {shlex.quote(visible(history.target))} {options}"
    arguments = shlex.join(map(visible, history.arguments))
    return f"{command} -- {arguments}" if arguments else command


def _is_finite(step: Step) -> bool:
    return all(value is None or math.isfinite(value) for value in (step.loss, step.gradient))


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinite"


def _kept(run: _Run) -> Iterator[Finding]:
    history = run.history
    kept = [step for step in history.steps if step.kept]
    if not kept:
        return
    roots = list(dict.fromkeys(step.root for step in kept))
    first, most = kept[0], max(step.kept for step in kept)
    leaves = counted(most, "leaf", "leaves")
    steps = f"{len(kept):,} of {counted(len(history.steps), 'step')}"
    others = [root for root in history.roots if root not in roots]
    text = (
        f"Gradients add up: from step {first.number:,} on, in {steps}, up to {leaves} still held "
        "the gradient of before the optimizer's last step, for nothing had cleared it."
    )
    severity, hint = Severity.WARNING, "Call optimizer.zero_grad() before each backward()."
    if others:
        # As in a GAN: the generator's loss leaves gradients in the discriminator, which clears
        # them itself before its own step.
        severity = Severity.NOTE
        text += (
            f" Only calls from {listed([*map(root_text, roots)])} met such gradients, none from "
        )
        text += f"{listed([*map(root_text, others)])}."
        hint = "It does no harm if they are cleared before the optimizer that owns them steps."
    yield Finding("kept-gradient", severity, text, hint=hint)


def _growing(run: _Run) -> Iterator[Finding]:
    history = run.history
    for root in history.roots:
        steps = [step for step in history.steps if step.root == root]
        first, last = steps[0], steps[-1]
        ops = [history.structures[step.structure].ops for step in steps]
        held = [step.held for step in steps]
        whose = f" of {root_text(root)}" if len(history.roots) > 1 else ""
        between = f"from step {first.number:,} to step {last.number:,}"
        memory = f"{bytes_text(held[0])} to {bytes_text(held[-1])}"
        if _is_growing(ops):
            text = f"The graph{whose} grew steadily {between}: {ops[0]:,} to {ops[-1]:,} ops"
            text += f", {memory} held." if held[-1] > held[0] else "."
            hint = "Does each step carry the graph of those before? Call detach() on what is kept "
            hint += "from one step to the next."
        elif _is_growing(held):
            text = f"The bytes that the graph{whose} holds grew steadily {between}: {memory}."
            hint = "What is kept from one step to the next grows: call detach() on it, or drop it."
        else:
            continue
        yield Finding("growing-graph", Severity.WARNING, text, hint=hint)


def _is_growing(values: list[int]) -> bool:
    rises = [new - old for old, new in pairwise(values)]
    if len(values) < _FEWEST or min(rises) < 0 or values[-1] < _GROWN * values[0]:
        return False
    return sum(rise > 0 for rise in rises) >= _GROWING * len(rises)


def _without_gradients(run: _Run) -> Iterator[Finding]:
    history = run.history
    having = {step.root for step in history.steps if step.gradient is not None}
    roots = [root_text(root) for root in history.roots if root not in having]
    if roots:
        whose = f" from {listed(roots)}" if having else ""
        text = f"No step{whose} left a gradient in .grad, so that there are no norms of them."
        why = "None are left by torch.autograd.grad(), or where a hook takes the gradients away."
        yield Finding("no-gradient", Severity.NOTE, text, hint=why)


def _missing(run: _Run) -> Iterator[Finding]:
    leaves = [leaf for leaf in run.leaves if not leaf.present]
    if leaves:
        several = len(leaves) > 1
        they, them = ("they are", "them") if several else ("it is", "it")
        yield Finding(
            "missing-gradient",
            Severity.WARNING,
            f"{_named(leaves)} never got a gradient, though {they} in the graph.",
            hint=f"Every way to {them} passes an op whose backward gives None.",
        )


def _zero(run: _Run) -> Iterator[Finding]:
    leaves = [leaf for leaf in run.leaves if leaf.present and not any(leaf.present)]
    if leaves:
        steps = max(len(leaf.present) for leaf in leaves)
        in_all = f"in all {steps:,} steps" if steps > 1 else "in the only step"
        whose = "gradients of" if len(leaves) > 1 else "gradient of"
        be = "were" if len(leaves) > 1 else "was"
        yield Finding(
            "zero-gradient",
            Severity.WARNING,
            f"The {whose} {_named(leaves)} {be} exactly zero {in_all}.",
            hint=f"{_check(run.history, '-c zero-gradient')} looks for the op that made it zero.",
        )


def _named(leaves: list[LeafNorms]) -> str:
    return listed([visible(leaf.name) or "a leaf without a name" for leaf in leaves])


def _clipping(run: _Run) -> Iterator[Finding]:
    stepped = [step for step in run.history.steps if step.clipped is not None]
    pairs = [
        (step.gradient, step.clipped)
        for step in stepped
        if step.gradient is not None
        and step.clipped is not None
        and changed_by_clipping(step)
        and math.isfinite(step.gradient)
        and step.clipped < step.gradient
    ]
    if not pairs:
        return
    before, after = (median(pair[k] for pair in pairs) for k in (0, 1))
    norms = f"from {number_text(before)} to {number_text(after)}"
    norms += " (medians)" if len(pairs) > 1 else ""
    where = f"in {len(pairs):,} of {counted(len(stepped), 'step')}"
    if len(pairs) > 1 and not _is_steady([a for _, a in pairs]):
        ratios = [a / b for b, a in pairs]
        what = "Something between backward() and the optimizer's step cut the gradient norm"
        if _is_steady(ratios) and median(ratios):
            factor = number_text(1 / median(ratios))
            what = f"Gradients were divided by {factor} before the optimizer's step"
            norms = f"the norm went {norms}"
            yield Finding("clipping", Severity.NOTE, f"{what} {where}: {norms}.")
            return
    else:
        what = "Clipping cut the gradient norm"
    yield Finding("clipping", Severity.NOTE, f"{what} {where}: {norms}.")


def _is_steady(values: list[float]) -> bool:
    return max(values) - min(values) <= _STEADY * max(values)


def _cost(history: History) -> Iterator[Finding]:
    own = median(step.own_seconds for step in history.steps)
    seconds = [step.seconds for step in history.steps if step.seconds is not None]
    text = f"Measuring took {measure_text(own, 's')} a step"
    if seconds and median(seconds) > 0:
        program = median(seconds)
        text += f", the watched program {measure_text(program, 's')} (medians)"
    yield Finding("cost", Severity.NOTE, f"{text}.")
