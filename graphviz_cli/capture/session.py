"""From a target to its graph."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType

import torch

from graphviz_cli.capture import roots as choice
from graphviz_cli.capture.absence import no_graph
from graphviz_cli.capture.callers import is_ours
from graphviz_cli.capture.contents import contents
from graphviz_cli.capture.device import described
from graphviz_cli.capture.engine_run import BackwardPlan, measured
from graphviz_cli.capture.forward import observe_attribute
from graphviz_cli.capture.inputs import parse_input
from graphviz_cli.capture.loading import import_folder
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.operators import operators
from graphviz_cli.capture.programs import observe_program
from graphviz_cli.capture.recording import Observation
from graphviz_cli.capture.script import python_state
from graphviz_cli.capture.target import Captured, Request, Target
from graphviz_cli.capture.walk import walk
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Graph, NodeKind, Root
from graphviz_cli.graph.verdict import UNRECORDED

_UNNAMED = "result"


def capture_target(target: Target, request: Request) -> Captured:
    """Run a target and take its graph; see `graphviz_cli.capture.capture`."""
    with prepared(target, request):
        observe = observe_program if target.is_program else observe_attribute
        with ExitStack() as stack:
            for probe in request.probes:
                stack.enter_context(probe.forward())
            seen = observe(target, request)
        graph = observed_graph(seen, target)
        if not request.probes:
            return Captured(graph, seen.failure)
        plan = BackwardPlan(
            request.grad_outputs,
            seen.vectors,
            [*seen.parameters, *seen.names.tensors],
            # A program that was stopped does nothing more with its graph.
            keep_graph=seen.step is None,
            names=seen.names,
        )
        graph, failure = measured(graph, seen.roots, request.probes, plan)
        return Captured(graph, seen.failure or failure)


@contextmanager
def prepared(target: Target, request: Request) -> Iterator[None]:
    """Within the block a target finds Python as if it were run by itself.

    Raises UsageError for a request that makes no sense.
    """
    _check(target, request)
    argv = [str(target.path or target.module), *request.script_args]
    with python_state(argv, import_folder(target)):
        if request.seed is not None:
            _seed(request.seed)
        yield


def observed_graph(seen: Observation, target: Target) -> Graph:
    """The graph of what was observed of a target, while it lives."""
    graph = _completed(walk(seen.roots, seen.attribution, seen.names, seen.parameters))
    provenance = replace(
        graph.provenance,
        target=target.shown,
        title=seen.title,
        inputs=seen.inputs,
        step=seen.step,
        partial=seen.failure is not None,
        notes=(
            *graph.provenance.notes,
            *seen.notes,
            *(() if seen.attribution.cuts else (UNRECORDED,)),
        ),
    )
    return replace(graph, provenance=provenance)


def graph_of(tensors: Sequence[object], names: Sequence[str]) -> Graph:
    """The graph of tensors, see `graphviz_cli.capture.capture_tensors`."""
    frame = _caller()
    variables = {} if frame is None else {**frame.f_globals, **frame.f_locals}
    found: list[choice.Found] = []
    for position, value in enumerate(tensors):
        name = next((key for key, held in variables.items() if held is value), "")
        if position < len(names):
            name = names[position]
        found += contents(value, torch.Tensor, name=name or _UNNAMED)
    roots = choice.candidates(found)
    if not roots:
        raise no_graph(
            "The program", found, grad_enabled=torch.is_grad_enabled(), advice="Pass the loss."
        )
    graph = _completed(walk(roots, names=TensorNames([variables])))
    notes = (*graph.provenance.notes, UNRECORDED)
    return replace(graph, provenance=replace(graph.provenance, notes=notes))


def _completed(graph: Graph) -> Graph:
    """The graph with what its ops are, where it comes from, and names for nameless roots."""
    kinds, names = graph.nodes.kinds, graph.nodes.names
    functions = kinds.values.index(NodeKind.FUNCTION) if NodeKind.FUNCTION in kinds.values else -1
    ops = dict.fromkeys(n for n, kind in zip(names.codes, kinds.codes) if kind == functions)
    outputs = graph.nodes.outputs
    devices = dict.fromkeys(outputs[root.node][root.output_nr].device for root in graph.roots)
    return replace(
        graph,
        roots=_named_roots(graph),
        operators=operators(names.values[code] for code in ops),
        provenance=replace(
            graph.provenance,
            torch=torch.__version__,
            device=", ".join(described(torch.device(device)) for device in devices),
        ),
    )


def _named_roots(graph: Graph) -> tuple[Root, ...]:
    """The roots; one without a name is called after the variable that its op was assigned to."""
    taken = {root.name for root in graph.roots}
    roots = []
    for root in graph.roots:
        name = root.name
        if not name:
            given = graph.nodes.user_names[root.node]
            base = name = given[0] if given else _UNNAMED
            number = 2
            while name in taken:
                name, number = f"{base} #{number}", number + 1
            taken.add(name)
        roots.append(replace(root, name=name))
    return tuple(roots)


def _check(target: Target, request: Request) -> None:
    if request.step is not None and request.step < 1:
        raise UsageError(f"There is no step {request.step}.", hint="The first backward call is 1.")
    if request.seed is not None and not 0 <= request.seed < 2**63:
        raise UsageError(f"The seed {request.seed} is out of range.", hint="It is at least 0.")
    for text in request.inputs:
        parse_input(text)
    if not target.is_program:
        return
    for given, flag in ((request.inputs, "-i"), (request.arguments, "-a")):
        if given:
            raise UsageError(
                f"{flag} is for a module or a function, and {target.text} is run as a program.",
                hint=f"Name something in it ({target.text}:NAME), or give it arguments after --.",
            )
    if request.train is not None:
        raise UsageError(
            "--train and --eval are for a module; a program chooses the mode of its own.",
            hint=f"Name a module in it: {target.text}:NAME.",
        )


def _seed(seed: int) -> None:
    """Seed what programs draw random numbers from: torch on all devices, Python, numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def _caller() -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None and is_ours(frame.f_code):
        frame = frame.f_back
    return frame
