"""Tensors of a few elements, copied and written out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.engine import has_data
from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.graph.model import NodeKind


def known_tensors(live: LiveBackward) -> Iterator[tuple[int, torch.Tensor]]:
    """Leaves, roots and the results of ops that an op has saved, with the ids of their nodes.

    Nothing is unpacked by a hook of the user's; what was written to since is left out.
    """
    graph = live.graph
    kinds, outputs, names = graph.nodes.kinds, graph.nodes.outputs, graph.nodes.names
    for number, node in enumerate(live.nodes):
        if kinds[number] is NodeKind.LEAF:
            yield number, node.variable
    for root, tensor in zip(graph.roots, live.roots):
        if isinstance(tensor, torch.Tensor) and len(outputs[root.node]) == 1:
            yield root.node, tensor
    targets = {
        (source, input_nr): target
        for source, target, input_nr in zip(
            graph.edges.sources, graph.edges.targets, graph.edges.input_nrs
        )
        if target < len(live.nodes) and len(outputs[target]) == 1
    }
    for number, node in enumerate(live.nodes):
        operator = graph.operators.get(names[number])
        for name, attribute in private.saved_fields(type(node)) if operator else ():
            assert operator is not None
            place: int | None = None
            if name in operator.inputs:
                place = targets.get((number, operator.inputs.index(name)))
            elif name == "result" and len(outputs[number]) == 1:
                place = number
            tensor = None if place is None else _saved(node, attribute)
            if place is not None and tensor is not None:
                yield place, tensor


def _saved(node: Any, attribute: str) -> torch.Tensor | None:
    try:
        saved = getattr(node, attribute)
    except RuntimeError:  # freed
        return None
    if isinstance(saved, tuple) or saved.unpack_hook is not None:
        return None
    tensor = saved.data
    return tensor if isinstance(tensor, torch.Tensor) and not private.is_stale(saved) else None


def copied(tensor: torch.Tensor, most: int) -> torch.Tensor | None:
    """A dense copy of a tensor that has at most `most` elements; None of any other."""
    with private.undisturbed(), torch.no_grad():
        if tensor.numel() > most or private.inner_tensors(tensor) or tensor.is_nested:
            return None
        tensor = tensor.detach()
        if tensor.layout is not torch.strided:
            return tensor.to_dense()
        return tensor.clone() if has_data(tensor) and not tensor.is_quantized else None


def text(tensor: torch.Tensor) -> str:
    """`2`, `[1, 0.5]`, `[[1, 2], [3, 4]]`: four significant digits."""
    with private.undisturbed(), torch.no_grad():
        return _written(tensor.tolist())


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, complex):
        sign = "-" if str(value.imag).startswith("-") else "+"
        return f"{_written(value.real)}{sign}{_written(abs(value.imag))}i"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
