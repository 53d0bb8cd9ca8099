"""A program run under an Attribution, and what that says of each op, in the order of creation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.callers import begin
from graphviz_cli.graph.model import NONE, ModuleCall, SourceLocation


@dataclass(frozen=True)
class ObservedOp:
    op: str
    call: ModuleCall | None
    names: tuple[str, ...]
    source: SourceLocation | None
    node: Any

    @property
    def path(self) -> str | None:
        return None if self.call is None else self.call.path

    @property
    def text(self) -> str | None:
        return None if self.source is None else self.source.text


def ops_of(*roots: torch.Tensor) -> list[Any]:
    """All backward ops behind some tensors, by sequence number: a walk of its own."""
    found = [root.grad_fn for root in roots]
    for node in found:
        found += [child for child, _ in node.next_functions if child and child not in found]
    ops = [node for node in dict.fromkeys(found) if "AccumulateGrad" not in node.name()]
    return sorted(ops, key=lambda node: node._sequence_nr())


def explain(
    attribution: Attribution, *roots: torch.Tensor, top_names: Mapping[int, str] | None = None
) -> list[ObservedOp]:
    """What an Attribution says of the ops behind some tensors."""
    ops = ops_of(*roots)
    attributed = attribution.resolve([node._sequence_nr() for node in ops])
    calls = attribution.modules(top_names or {})
    return [
        ObservedOp(node.name(), None if call == NONE else calls[call], names, source, node)
        for node, call, names, source in zip(
            ops, attributed.modules, attributed.names, attributed.sources
        )
    ]


def observe(program: Callable[[], Any], **options: Any) -> list[ObservedOp]:
    """Run `program`, which gives one or more tensors, and explain their ops."""
    with Attribution() as attribution:
        result = begin(program)
    roots = result if isinstance(result, tuple) else (result,)
    return explain(attribution, *roots, **options)
