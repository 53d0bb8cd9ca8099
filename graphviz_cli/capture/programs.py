"""The graph of a program, or of a function that is run like one."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphviz_cli.capture import private
from graphviz_cli.capture import roots as choice
from graphviz_cli.capture.absence import no_graph
from graphviz_cli.capture.backward import BackwardCall, BackwardCalls
from graphviz_cli.capture.callers import is_library, is_ours
from graphviz_cli.capture.contents import contents
from graphviz_cli.capture.device import requested
from graphviz_cli.capture.names import Namespace, TensorNames
from graphviz_cli.capture.recording import Observation, Recording
from graphviz_cli.capture.roots import Found
from graphviz_cli.capture.script import load_program, run_program
from graphviz_cli.capture.target import Request, Target
from graphviz_cli.capture.walk import RootTensor
from graphviz_cli.errors import NoGraphError, TargetError, UsageError

_FRAMES = 100
"""How many of the outermost and of the innermost frames of a failure are searched for tensors."""
_LOCAL_DEPTH = 3


def observe_program(target: Target, request: Request) -> Observation:
    """Run a script, or a module as by `python -m`, until its graph can be taken."""
    program = load_program(target)
    sys.argv = [program.argument, *request.script_args]
    title = target.module or Path(program.argument).name
    with (
        Recording(requested(request.device), keep_results=True, cuts=request.cuts) as recording,
        BackwardCalls(request.step or 1, recording.passed) as calls,
    ):
        run = run_program(program)
    return observed(recording, calls, request, Left(title, [run.variables], None, run.failure))


@dataclass(frozen=True, slots=True)
class Left:
    """What a program or a function left behind."""

    title: str
    namespaces: Sequence[Namespace]
    """Its variables, outermost function first."""
    results: Sequence[Found] | None
    """What it returned, if that is what counts instead of its variables."""
    failure: TargetError | None


def observed(
    recording: Recording, calls: BackwardCalls, request: Request, left: Left
) -> Observation:
    """What is to be drawn after a run.

    The outputs of the backward call at which it was stopped; else those of its tensors that nothing
    else was computed from; after a failure also those in the functions that it went through; else
    what functions that have returned did not use. `request.root` chooses another. Raises
    TargetError after a failure that left no graph, NoGraphError where there is none.
    """
    # Whatever a program made of being stopped is no failure of it.
    failure = None if calls.stopped else left.failure
    namespaces = list(left.namespaces)
    outputs: list[Found] = []
    if calls.taken is not None:
        namespaces += calls.taken.namespaces
        outputs = started_from(calls.taken)
    elif failure is None and request.step is not None:
        raise _too_few_calls(left.title, calls.count, request.step)
    found = [*outputs, *(_tensors(namespaces) if left.results is None else left.results)]
    if failure is not None:
        found += tensors_of_failure(failure)
        cuts = recording.attribution.cuts
        if cuts is not None:
            cuts.has_no_root = private.is_refusal(failure.__cause__)
    try:
        roots = _asked_for(request.root, found, namespaces)
    except UsageError:
        if failure is None:
            raise
        roots = []
    if outputs and request.root is None:
        roots = [RootTensor(name, output) for name, output in outputs]
    elif not roots and (request.root is None or failure is not None):
        candidates = choice.candidates(found)
        roots = choice.sinks(candidates) if left.results is None else choice.preferred(candidates)
    if not roots and not left.results and request.root is None:
        roots = choice.sinks(choice.candidates(("", t) for t in recording.frontier.tensors))
        if recording.attribution.cuts is not None:
            # The program's variables carry no graph: what was cut off last may be why.
            recording.attribution.cuts.has_no_root = bool(found)
    names = names_of([*namespaces, dict(left.results or ())], recording.frontier.modules)
    if not roots:
        if failure is not None:
            raise failure
        raise no_graph(
            left.title,
            found if request.root is None else choice.named(request.root, found, namespaces),
            names.modules,
            grad_enabled=torch.is_grad_enabled(),
            advice=_advice(left),
        )
    return Observation(
        left.title,
        roots,
        names,
        recording.attribution,
        parameters=parameters_of(names, recording.frontier.called),
        step=None if calls.taken is None else request.step or 1,
        notes=recording.notes,
        failure=failure,
        vectors={} if calls.taken is None else _vectors(calls.taken),
    )


def _vectors(call: BackwardCall) -> dict[int, torch.Tensor]:
    return {
        id(output): vector
        for output, vector in zip(call.outputs, call.vectors)
        if isinstance(vector, torch.Tensor)
    }


def started_from(call: BackwardCall) -> list[Found]:
    """The outputs of a call, each once, with their names."""
    unique: dict[int, Found] = {}
    for name, output in zip(call.names, call.outputs):
        if isinstance(output, torch.Tensor) and not output.requires_grad:
            continue
        unique.setdefault(id(output), (name, output))
    return list(unique.values())


def _asked_for(
    wanted: str | None, found: Sequence[Found], namespaces: Sequence[Namespace]
) -> list[RootTensor]:
    if wanted is None:
        return []
    if wanted == "all":
        return choice.candidates(found)
    return choice.candidates(choice.named(wanted, found, namespaces))


def names_of(namespaces: Sequence[Namespace], called: Iterable[nn.Module]) -> TensorNames:
    """The names that some variables give, and those of the modules that were called besides."""
    names = TensorNames(namespaces)
    numbers = itertools.count(2)
    taken = set(names.module_paths.values())
    for module in called:
        if id(module) not in names.module_paths:
            path = type(module).__name__
            while path in taken:
                path = f"{type(module).__name__}_{next(numbers)}"
            taken.add(path)
            names.add_module(module, path)
    return names


def parameters_of(names: TensorNames, called: Container[int]) -> list[torch.Tensor]:
    """Those of the modules that were `called`, by their addresses, and what optimizers hold."""
    return [
        parameter
        for module in names.modules
        if any(id(part) in called for part in module.modules())
        for parameter in module.parameters()
    ] + [tensor for tensor in names.optimized if names.of(tensor).owner is None]


def _tensors(namespaces: Sequence[Namespace]) -> list[Found]:
    return [
        found
        for variables in namespaces
        for found in contents(
            {name: value for name, value in variables.items() if not name.startswith("__")},
            torch.Tensor,
        )
    ]


def tensors_of_failure(failure: TargetError) -> list[Found]:
    """The tensors in the functions that an exception went through, outermost function first."""
    frames = []
    entry = None if failure.__cause__ is None else failure.__cause__.__traceback__
    while entry is not None:
        frames.append(entry.tb_frame)
        entry = entry.tb_next
    if len(frames) > 2 * _FRAMES:
        frames = frames[:_FRAMES] + frames[-_FRAMES:]
    # What the libraries call it comes last, for the first name counts.
    frames.sort(key=lambda frame: is_library(frame.f_code))
    found: list[Found] = []
    for frame in frames:
        if not is_ours(frame.f_code):
            variables: dict[str, Any] = dict(frame.f_locals)
            found += contents(variables, torch.Tensor, depth=_LOCAL_DEPTH)
    return found


def _advice(left: Left) -> str:
    """What to do with a program that has run nothing: name something that it defines."""
    variables = left.namespaces[0]
    own = [
        name
        for name, value in variables.items()
        if not name.startswith("_")
        and (isinstance(value, nn.Module) or inspect.isclass(value) or inspect.isfunction(value))
        and (isinstance(value, nn.Module) or value.__module__ == variables.get("__name__"))
    ]
    if left.results is not None or not own:
        return "Keep the result in a global variable, or call backward() on it."
    own.sort(key=lambda name: not isinstance(variables[name], nn.Module))
    return f"To draw what it defines, name it: {left.title}:{own[0]}"


def _too_few_calls(title: str, count: int, step: int) -> NoGraphError:
    if count == 0:
        return NoGraphError(
            f"{title} made no backward call, so there is no step {step}.",
            hint="Without --step the graph of its variables is drawn.",
        )
    calls = "1 backward call" if count == 1 else f"{count} backward calls"
    return NoGraphError(
        f"{title} made only {calls}, so there is no step {step}.",
        hint=f"--step {count} takes the last.",
    )
