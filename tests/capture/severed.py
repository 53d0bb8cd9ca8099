"""A program run under the recorder of cuts, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.callers import begin
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.graph.model import Graph, Node, NodeKind


@dataclass(frozen=True)
class Shown:
    """A cut as a reader sees it: where it stands, and between what."""

    kind: str
    text: str
    names: tuple[str, ...]
    before: tuple[str, ...]
    """The ops, leaves and cuts that the value comes from."""
    after: tuple[str, ...]
    """Those that took it in, with the input it went into (`MulBackward0:1`)."""
    path: str | None


def graph_of(
    program: Callable[[], Any],
    parameters: Callable[[], Sequence[torch.Tensor]] = tuple,
    *,
    cuts: bool = True,
    names: Callable[[], TensorNames] = TensorNames,
) -> Graph:
    """The graph of what `program` returns, one root or several.

    `parameters` and `names` are asked for when it has ended.
    """
    with Attribution(cuts=cuts) as attribution:
        result = begin(program)
    roots = result if isinstance(result, tuple) else (result,)
    tensors = [RootTensor(f"root{k}", root) for k, root in enumerate(roots)]
    return walk(tensors, attribution, names(), parameters())


def label(node: Node) -> str:
    if node.kind is NodeKind.LEAF:
        return node.names[0] if node.names else "leaf"
    return node.name


def shown(graph: Graph) -> list[Shown]:
    found = []
    for node in (graph.nodes[cut] for cut in graph.nodes.ids(NodeKind.CUT)):
        assert node.source is not None
        before = tuple(label(graph.nodes[e.target]) for e in graph.edges if e.source == node.id)
        after = tuple(
            f"{label(graph.nodes[e.source])}:{e.input_nr}"
            for e in graph.edges
            if e.target == node.id
        )
        path = None if node.module is None else graph.modules[node.module].path
        found.append(Shown(node.name, node.source.text, node.names, before, after, path))
    return found
