"""What torch says about a tensor as plain data, every distinct answer once."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from graphviz_cli.capture import private
from graphviz_cli.graph.model import Column, TensorSpec

Outputs = tuple[TensorSpec, ...]

UNKNOWN = "unknown"
"""Stands for an element type or a device that cannot be found out."""


def spec_of(tensor: Any) -> TensorSpec:
    """Shape, element type and place of a tensor, or of anything that has these three.

    What torch or a subclass refuses to tell is unknown.
    """
    try:
        return _known_spec(tuple(tensor.shape), tensor.dtype, tensor.device)
    except Exception:
        return _doubtful_spec(tensor)


@lru_cache(maxsize=4096)
def _known_spec(shape: tuple[Any, ...], dtype: Any, device: Any) -> TensorSpec:
    """That of a tensor that tells all three; raises TypeError for a symbol that is no key."""
    plain = tuple(map(private.plain_dimension, shape))
    return TensorSpec(plain, str(dtype).removeprefix("torch."), str(device))


def _doubtful_spec(tensor: Any) -> TensorSpec:
    # A nested tensor has no shape, and a subclass may answer in code of its own.
    shape: tuple[int | str, ...] | None = None
    dtype = device = UNKNOWN
    with suppress(Exception):
        shape = tuple(map(private.plain_dimension, tensor.shape))
    with suppress(Exception):
        dtype = str(tensor.dtype).removeprefix("torch.")
        device = str(tensor.device)
    return TensorSpec(shape, dtype, device)


def outputs_of(nodes: Iterable[Any]) -> Column[Outputs]:
    """The specs of the differentiable outputs of every node."""
    metadata_of = private.output_metadata
    known: dict[object, int] = {}
    numbers: dict[Outputs, int] = {}
    codes = array("i")
    append = codes.append
    for node in nodes:
        code: int | None = None
        key: object = None
        try:
            metadata = metadata_of(node)
            if len(metadata) == 1:
                (output,) = metadata
                key = (tuple(output.shape), output.dtype, output.device)
            else:
                key = tuple([(tuple(o.shape), o.dtype, o.device) for o in metadata])
            code = known.get(key)
        except Exception:  # a symbol cannot be hashed, a nested tensor has no shape
            key = None
        if code is None:
            specs = tuple(map(spec_of, metadata_of(node)))
            code = numbers.setdefault(specs, len(numbers))
            if key is not None:
                known[key] = code
        append(code)
    return Column(tuple(numbers), codes)


def doubted(
    outputs: Column[Outputs],
    custom: Iterable[int],
    used: Collection[tuple[int, int]],
) -> Column[Outputs]:
    """The same, but nothing is known of outputs that a custom Function may not have.

    Where one of its outputs is no differentiable tensor, torch speaks of a scalar
    (`Node::undefined_input` in torch/csrc/autograd/node.h). So a scalar among several outputs that
    nobody uses may be none. `custom` are the nodes of custom Functions, `used` node and output_nr
    of all outputs that an edge or a root goes to.
    """
    rows = {}
    for node in custom:
        specs = outputs[node]
        if len(specs) > 1 and any(spec.shape == () for spec in specs):
            rows[node] = tuple(
                spec if spec.shape != () or (node, output_nr) in used else _NOTHING_KNOWN
                for output_nr, spec in enumerate(specs)
            )
    if not rows:
        return outputs
    return Column.of(rows.get(node, specs) for node, specs in enumerate(outputs))


_NOTHING_KNOWN = TensorSpec(None, UNKNOWN, UNKNOWN)
