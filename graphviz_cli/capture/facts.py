"""What else is known of a graph's leaves and ops, for the checks: annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.cut_records import Cut
from graphviz_cli.capture.cuts import Cuts
from graphviz_cli.capture.leaves import Leaf
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.nodetypes import NodeTypes
from graphviz_cli.graph.model import NONE, Annotation, EdgeTable, NodeKind
from graphviz_cli.graph.verdict import (
    CUT_OP,
    KEPT_ON_CTX,
    MODIFIED,
    OPTIMIZER,
    UNKNOWN,
    USED,
)

_CHECKPOINT = "CheckpointFunction"
"""The custom Function of a reentrant checkpoint, as recorded."""

_Values = dict[int, float | int | str]


@dataclass(frozen=True, slots=True)
class Walked:
    """A graph while its nodes live."""

    nodes: Sequence[Any]
    types: NodeTypes
    edges: EdgeTable
    modules: Sequence[int]
    """Of every node, leaves included, the module call that it belongs to, or NONE."""
    leaves: Sequence[Leaf]
    cuts: Sequence[Cut]
    """Their ids follow behind the nodes'."""


def facts_of(
    walked: Walked, attribution: Attribution | None, names: TensorNames
) -> tuple[Annotation, ...]:
    """The annotations of a graph, without those that would be empty."""
    recorder = None if attribution is None else attribution.cuts
    found: dict[str, _Values] = {
        OPTIMIZER: {
            leaf.id: name
            for leaf in walked.leaves
            if (name := names.optimizer_of(leaf.tensor)) is not None
        },
        KEPT_ON_CTX: dict(_kept_on_ctx(walked)),
        CUT_OP: {
            row: cut.op.partition(".__")[0]
            for row, cut in enumerate(walked.cuts, len(walked.nodes))
        },
    }
    if attribution is not None and recorder is not None:
        lonely = _lonely(walked)
        found[USED] = dict(_used(lonely, attribution, recorder))
        found[UNKNOWN] = dict(_hidden(walked, lonely, recorder))
        found[MODIFIED] = dict(_modified(walked, attribution, recorder))
    return tuple(Annotation(name, values) for name, values in found.items() if values)


def _lonely(walked: Walked) -> list[Leaf]:
    """The leaves that no op of the graph takes."""
    taken = set(walked.edges.targets)
    return [leaf for leaf in walked.leaves if leaf.kind is NodeKind.LEAF and leaf.id not in taken]


def _used(
    leaves: Sequence[Leaf], attribution: Attribution, recorder: Cuts
) -> Iterator[tuple[int, str]]:
    for leaf in leaves:
        origin = recorder.uses.of(leaf.tensor)
        if origin is not None:
            source, _ = attribution.explain(origin)
            yield leaf.id, "an op" if source is None else f"{source.file}:{source.line}"


def _hidden(walked: Walked, lonely: Sequence[Leaf], recorder: Cuts) -> Iterator[tuple[int, str]]:
    """The leaves that are used, or may be used, within ops whose inside cannot be seen.

    Among them are those that other ops take as well, if it is a checkpoint: they get a gradient in
    two passes.
    """
    alone = {leaf.id for leaf in lonely}
    in_call = {walked.modules[node]: name for node, name in walked.types.opaque.items()}
    in_call.pop(NONE, None)
    for leaf in walked.leaves:
        function = recorder.uses.hider_of(leaf.tensor)
        call = walked.modules[leaf.id]
        if function is not None and (leaf.id in alone or function == _CHECKPOINT):
            yield leaf.id, f"it is used within {function}, which hides its ops"
        elif leaf.id in alone and call in in_call and recorder.uses.of(leaf.tensor) is None:
            yield leaf.id, f"its module calls {in_call[call]}, which hides its ops"


def _kept_on_ctx(walked: Walked) -> Iterator[tuple[int, str]]:
    for node_id in walked.types.custom:
        node = walked.nodes[node_id]
        if private.is_torchs_function(type(node)):
            continue
        attributes = getattr(node, "__dict__", {})
        kept = [name for name, value in attributes.items() if _holds_tensor(value)]
        if kept:
            yield node_id, ", ".join(f"ctx.{name}" for name in kept)


def _holds_tensor(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(item, torch.Tensor) for item in value)
    return isinstance(value, torch.Tensor)


def _modified(
    walked: Walked, attribution: Attribution, recorder: Cuts
) -> Iterator[tuple[int, str]]:
    if not recorder.uses.has_writes:
        return
    for node_id, (node, fields) in enumerate(zip(walked.nodes, walked.types.fields)):
        if fields is None:
            continue
        for name, saved in _saved(node, fields.attributes, is_custom=fields.is_custom):
            data = saved.data
            if not isinstance(data, torch.Tensor) or saved.unpack_hook is not None:
                continue
            address = private.address_of_tensor(data)
            origin = None if address is None else recorder.uses.write_to(address)
            if origin is None:
                continue
            is_output = not fields.is_custom and private.is_output_stale(node, name)
            if is_output or private.is_stale(saved):
                source, _ = attribution.explain(origin)
                where = "" if source is None else f" at {source.file}:{source.line}"
                yield node_id, f"{name} was written to in place{where}"
                break


def _saved(
    node: Any, attributes: Sequence[tuple[str, str]], *, is_custom: bool
) -> Iterator[tuple[str, Any]]:
    try:
        if is_custom:
            for position, saved in enumerate(private.custom_saved(node)):
                yield f"saved_tensors[{position}]", saved
            return
        for name, attribute in attributes:
            field = getattr(node, attribute)
            for saved in field if isinstance(field, tuple) else (field,):
                yield name, saved
    except RuntimeError:  # freed
        return
