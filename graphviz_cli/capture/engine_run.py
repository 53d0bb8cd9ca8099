"""The backward pass that is run to be measured, after which everything is as it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.backward import Output, node_of
from graphviz_cli.capture.live import paused_garbage_collection, visit
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.probes import Probe
from graphviz_cli.capture.probes.clock import gpu_is_in_use
from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.capture.usercode import attempt
from graphviz_cli.capture.vectors import vectors
from graphviz_cli.capture.walk import RootTensor
from graphviz_cli.errors import TargetError
from graphviz_cli.graph.model import Graph, NodeKind, Root, TensorSpec


@dataclass(frozen=True, slots=True)
class BackwardPlan:
    """How the backward pass shall be run.

    `asked_for` says where it starts, as `capture.target.Request.grad_outputs`; `given` is what the
    program gave to its own call, by the id of the output. `tensors` are those whose `.grad` is put
    back besides that of the leaves. Without `keep_graph` the saved tensors are freed on the way.
    """

    asked_for: Sequence[str] = ()
    given: Mapping[int, torch.Tensor] = field(default_factory=dict)
    tensors: Iterable[torch.Tensor] = ()
    keep_graph: bool = True
    names: TensorNames | None = None
    """What the user calls tensors."""


def measured(
    graph: Graph, roots: Sequence[RootTensor], probes: Sequence[Probe], plan: BackwardPlan
) -> tuple[Graph, TargetError | None]:
    """The graph with what the probes saw, and what went wrong in a function of the user's.

    `graph` is what `walk` made of `roots`. A backward pass is run if a probe needs one; hooks of
    the user's on tensors and ops run as they always do, those that run after a gradient was
    accumulated do not. The `.grad` of all known tensors and the random numbers are left as they
    were. Raises UsageError if `plan` names a vector that fits no root.
    """
    with private.undisturbed():
        starts = [root.tensor for root in roots if _requires_grad(root.tensor)]
        nodes = visit(node for node in map(node_of, starts) if node is not None).nodes
    live = LiveBackward(graph, nodes, starts, plan.names)
    failure = None
    if any(probe.needs_backward for probe in probes):
        failure, told = _run(live, list(zip(graph.roots, starts)), probes, plan)
        provenance = replace(graph.provenance, vectors=told)
        if failure is not None:
            note = "The backward pass ended early, so gradients are missing."
            provenance = replace(provenance, notes=(*provenance.notes, note))
        graph = replace(graph, provenance=provenance)
    annotations = [a for probe in probes for a in probe.annotations(live)]
    return graph.annotated(*annotations), failure


def _run(
    live: LiveBackward,
    starts: Sequence[tuple[Root, Output]],
    probes: Sequence[Probe],
    plan: BackwardPlan,
) -> tuple[TargetError | None, tuple[str, ...]]:
    specified = [(root, output, _spec(live.graph, root)) for root, output in starts]
    with private.undisturbed():
        chosen = vectors(specified, plan.asked_for, plan.given)
    leaves = [
        node.variable
        for number, node in enumerate(live.nodes)
        if live.graph.nodes.kinds[number] is NodeKind.LEAF
    ]
    own = [output for _, output in starts if isinstance(output, torch.Tensor)]
    with ExitStack() as stack:
        stack.enter_context(_gradients_put_back([*leaves, *own, *plan.tensors]))
        stack.enter_context(_random_numbers_put_back())
        stack.enter_context(paused_garbage_collection())
        for probe in probes:
            stack.enter_context(probe.backward(live))
        stack.enter_context(_hooks(live))
        # In one thread ops run in the same order every time.
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        outcome = attempt(
            "The backward pass",
            torch.autograd.backward,
            [output for _, output in starts],
            [vector.tensor for vector in chosen],
            retain_graph=plan.keep_graph,
        )
    told = tuple(f"{root.name}: {v.text}" for (root, _), v in zip(starts, chosen))
    return outcome.failure, told


def _requires_grad(output: Output) -> bool:
    return not isinstance(output, torch.Tensor) or output.requires_grad


def _spec(graph: Graph, root: Root) -> TensorSpec:
    return graph.nodes.outputs[root.node][root.output_nr]


@contextmanager
def _hooks(live: LiveBackward) -> Iterator[None]:
    """Let every node call what observes it; afterwards no hook of ours is left."""
    before, after = tuple(live.before), tuple(live.after)

    def prehook(number: int) -> Callable[[Any], None]:
        def call(outputs: Any) -> None:
            with private.undisturbed():
                for callback in before:
                    callback(number, outputs)

        return call

    def posthook(number: int) -> Callable[[Any, Any], None]:
        def call(inputs: Any, outputs: Any) -> None:
            with private.undisturbed():
                for callback in after:
                    callback(number, inputs, outputs)

        return call

    handles = []
    try:
        for number, node in enumerate(live.nodes):
            if before:
                handles.append(node.register_prehook(prehook(number)))
            if after:
                handles.append(node.register_hook(posthook(number)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _gradients_put_back(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Take away `.grad` and what runs once it is accumulated; afterwards both are as before."""
    unique = {id(tensor): tensor for tensor in tensors}
    kept: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    hooks: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    with private.undisturbed():
        for tensor in unique.values():
            if tensor.requires_grad and (tensor.is_leaf or tensor.retains_grad):
                kept.append((tensor, tensor.grad))
                tensor.grad = None
            registered = private.post_accumulate_hooks(tensor)
            if registered:
                hooks.append((registered, dict(registered)))
                registered.clear()
    try:
        yield
    finally:
        with private.undisturbed():
            for tensor, gradient in kept:
                tensor.grad = gradient
        for registered, before in hooks:
            registered.update(before)


@contextmanager
def _random_numbers_put_back() -> Iterator[None]:
    """Let the block draw random numbers that nobody misses afterwards."""
    state = torch.get_rng_state()
    on_gpus = torch.cuda.get_rng_state_all() if gpu_is_in_use() else []
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
