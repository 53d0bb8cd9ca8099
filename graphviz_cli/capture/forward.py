"""The graph of what a target names: a module, a class, a function or a tensor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import nn

from graphviz_cli.capture import roots as choice
from graphviz_cli.capture.absence import no_graph
from graphviz_cli.capture.backward import BackwardCalls
from graphviz_cli.capture.contents import contents
from graphviz_cli.capture.device import place, requested
from graphviz_cli.capture.engine import uncompiled
from graphviz_cli.capture.inputs import (
    Call,
    Draw,
    asked_for,
    check_fit,
    examples,
    given,
    literal,
    offered,
    required,
    signature_of,
)
from graphviz_cli.capture.loading import attribute, imported
from graphviz_cli.capture.names import Namespace, TensorNames
from graphviz_cli.capture.programs import Left, observed, tensors_of_failure
from graphviz_cli.capture.recording import Observation, Recording
from graphviz_cli.capture.roots import Found
from graphviz_cli.capture.synthesis import is_partial, synthesised
from graphviz_cli.capture.target import Request, Target
from graphviz_cli.capture.usercode import Outcome, attempt
from graphviz_cli.errors import UsageError

_OUTPUT = "output"
_GUESSED = "The inputs were guessed; others are given with -i."


def observe_attribute(target: Target, request: Request) -> Observation:
    """Import what a target names, make a module or tensors of it, and run a module's forward."""
    title = target.attribute or ""
    with ExitStack() as stack:
        # Tensors may be made while the file is imported, or by the function that it names.
        device = requested(request.device)
        with Recording(device, keep_results=True, cuts=request.cuts) as recording:
            calls = BackwardCalls(request.step or 1, recording.passed)
            file = stack.enter_context(imported(target))
            value = attribute(file, target)
            outcome, result, call = Outcome(value), title, Call()
            if callable(value) and not isinstance(value, nn.Module | torch.Tensor):
                call = _function_call(value, request)
                with calls:
                    outcome = attempt(f"{title}()", value, *call.args, **call.kwargs)
                result = _OUTPUT
            elif request.arguments:
                raise UsageError(f"-a is for a class or a function, and {title} is neither.")
        if isinstance(outcome.value, nn.Module) and calls.taken is None:
            return observe_module(outcome.value, request, vars(file))
        namespaces = [vars(file), call.named(value)]
        left = Left(title, namespaces, _tensors(outcome.value, result), outcome.failure)
        seen = observed(recording, calls, request, left)
        return replace(seen, inputs=call.described(value))


def observe_module(module: nn.Module, request: Request, variables: Namespace) -> Observation:
    """Run the forward of a module once; `variables` are those of the file that it comes from."""
    if request.step is not None:
        raise UsageError("--step counts the backward calls of a program; a module makes none.")
    module = uncompiled(module)
    title = type(module).__name__
    if request.train is not None:
        module.train(request.train)
    device = place(module, requested(request.device))
    call, source = _module_call(module, request, Draw.for_module(module, device, request.seed))
    named_inputs = call.named(module.forward)
    inputs = call.described(module.forward)
    names = TensorNames()
    names.add_module(module, "")
    names.add_variables(named_inputs)
    names.add_variables(variables)
    with Recording(keep_results=False, cuts=request.cuts) as recording:
        outcome = attempt(title, module, *call.args, **call.kwargs)
    failure = outcome.failure
    if failure is not None and source is not None:
        listed = " ".join(f"-i '{text}'" for text in inputs)
        failure.hint = f"The inputs come from {source}: {listed}. Give others with -i."
    found = _tensors(outcome.value, _OUTPUT)
    if failure is not None:
        found += tensors_of_failure(failure)
    candidates = choice.candidates(found)
    roots = choice.preferred(candidates)
    if request.root == "all":
        roots = candidates
    elif request.root is not None and failure is None:
        found = choice.named(request.root, found, [{_OUTPUT: outcome.value}])
        roots = choice.candidates(found)
    if not roots:
        if failure is not None:
            raise failure
        raise no_graph(
            title,
            found,
            [module],
            grad_enabled=torch.is_grad_enabled(),
            advice=f"Its forward returned {_kind(outcome.value)}.",
        )
    return Observation(
        title,
        roots,
        names,
        recording.attribution,
        parameters=list(module.parameters()),
        inputs=inputs,
        notes=(*recording.notes, *((_GUESSED,) if source == _SYNTHESIS else ())),
        failure=failure,
    )


_SYNTHESIS = "a guess"


def _module_call(module: nn.Module, request: Request, draw: Draw) -> tuple[Call, str | None]:
    """The call of a module's forward, and who chose it if the user did not."""
    if request.inputs:
        return asked_for(request.inputs, module.forward, draw), None
    offer, source = offered(module, draw.device) or (None, _SYNTHESIS)
    if offer is not None and not is_partial(module, offer):
        return offer, source
    call = synthesised(module, draw, offer)
    if call is not None:
        if call is not offer:
            source = _SYNTHESIS
        return call, source if call.args or call.kwargs else None
    raise UsageError(
        f"The inputs of {signature_of(module.forward)} cannot be guessed.",
        hint=f"Give them, e.g. {' '.join(examples(module.forward))}",
    )


def _function_call(function: Any, request: Request) -> Call:
    """The arguments of a class or a function: `-a`, and `-i` for what it needs besides.

    Inputs that the function itself does not need are for the module that it makes.
    """
    arguments: dict[str, Any] = {}
    for text in request.arguments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(
                f"The argument {text!r} cannot be understood.", hint="Write -a KEY=VALUE."
            )
        arguments[name.strip()] = literal(value)
    wanted = [parameter for parameter in required(function) if parameter.name not in arguments]
    call = Call(kwargs=arguments)
    if wanted and request.inputs and not inspect.isclass(function):
        device = requested(request.device) or torch.device("cpu")
        call = given(request.inputs, Draw.of(device, torch.get_default_dtype(), request.seed))
        call = Call(call.args, {**call.kwargs, **arguments})
    missing = " ".join(f"-a {parameter.name}=..." for parameter in wanted)
    hint = f"Give them, e.g. {missing}" if missing else None
    check_fit(call, function, "arguments", hint=hint)
    return call


def _tensors(value: object, name: str) -> list[Found]:
    """The tensors of a result: by their own names where it has some, else below `name`."""
    has_names = isinstance(value, Mapping) or is_dataclass(value) or hasattr(value, "_fields")
    return list(contents(value, torch.Tensor, name="" if has_names else name))


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
