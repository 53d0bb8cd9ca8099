"""Which of the graphs of a run are equal, told by what they consist of."""

from __future__ import annotations

import sys
import weakref
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.backward import Output, node_of
from graphviz_cli.capture.live import LiveGraph, paused_garbage_collection, visit
from graphviz_cli.capture.nodetypes import NodeTypes
from graphviz_cli.capture.saved import SavedFields, addresses_of, read_saved
from graphviz_cli.capture.specs import outputs_of
from graphviz_cli.graph.model import NONE

_DIGEST_SIZE = 16


@dataclass(frozen=True, slots=True)
class Structured:
    """What can be told of a live graph without its names and sources."""

    digest: str
    form: str
    """The digest without the shapes."""
    ops: int
    edges: int
    leaves: list[torch.Tensor]
    """By their ids; a root that is a leaf comes last."""
    parameters: bytes
    """Equal where the leaves are the same parameters."""
    held: int
    """Bytes that only the graph keeps alive."""


class Parameters:
    """Numbers for parameters, equal in every run: each keeps its own as long as it lives.

    The number of a dead one is free again for one of the same size, so that a parameter that is
    made anew in each step keeps one.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._free: defaultdict[int, list[int]] = defaultdict(list)
        """By the number of elements."""
        self._count = 0

    def number(self, leaf: torch.Tensor) -> int:
        """The number of a parameter; NONE for another tensor."""
        if not isinstance(leaf, torch.nn.Parameter):
            return NONE
        key = id(leaf)
        known = self._known.get(key)
        if known is None:
            free = self._free[leaf.numel()]
            number = heappop(free) if free else self._count
            self._count += number == self._count
            known = weakref.ref(leaf, lambda _: heappush(free, self._known.pop(key)[1])), number
            self._known[key] = known
        return known[1]


class Structures:
    """Reads the structure of live graphs. Nothing of a graph is kept."""

    def __init__(self) -> None:
        self._parameters = Parameters()
        self._alone = _references_if_alone()

    def of(self, outputs: Sequence[Output]) -> Structured:
        """The structure of the graph behind some tensors.

        The digest is of the ops, their outputs' shapes, types and devices, of the edges with both
        of their numbers, of the roots, and of which parameters are reached; other leaves count by
        their shape.
        """
        with private.undisturbed(), paused_garbage_collection():
            required = [o for o in outputs if not isinstance(o, torch.Tensor) or o.requires_grad]
            starts = [(node_of(output), output) for output in required]
            live = visit(node for node, _ in starts if node is not None)
            types = NodeTypes(live.nodes)
            leaves = [live.nodes[leaf].variable for leaf in types.leaves]
            alone = {id(output): output for node, output in starts if node is None}
            leaves += [leaf for key, leaf in alone.items() if key not in set(map(id, leaves))]
            parameters = array("q", map(self._parameters.number, leaves)).tobytes()
            roots = [(node is None, output.output_nr) for node, output in starts]
            return Structured(
                *_digests(live, types, roots, parameters),
                ops=len(types.ops),
                edges=len(live.edges),
                leaves=leaves,
                parameters=parameters,
                held=self._held(live.nodes, types.fields, leaves),
            )

    def _held(
        self,
        nodes: Sequence[Any],
        fields: Sequence[SavedFields | None],
        leaves: Sequence[torch.Tensor],
    ) -> int:
        others = self._held_by_others(nodes, fields)
        saved = read_saved(nodes, fields, addresses_of([*leaves, *others]))
        return sum(storage.nbytes for storage in saved.storages if storage.owned)

    def _held_by_others(
        self, nodes: Sequence[Any], fields: Sequence[SavedFields | None]
    ) -> Iterator[torch.Tensor]:
        """The saved tensors without a gradient that a variable of the program's holds, too.

        An input of the program's, or a buffer: unlike a mask that an op has made for itself.
        """
        for node, places in zip(nodes, fields):
            for handle in () if places is None else _handles(node, places):
                if handle.unpack_hook is None and _references(handle) > self._alone:
                    tensor = handle.data
                    if tensor.is_leaf:
                        yield tensor


def _digests(
    live: LiveGraph, types: NodeTypes, roots: Sequence[object], leaves: bytes
) -> tuple[str, str]:
    """With and without the shapes."""
    names, outputs, edges = types.names, outputs_of(live.nodes), live.edges
    kinds = [tuple((spec.dtype, spec.device) for spec in specs) for specs in outputs.values]
    known = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    kind_of = [known[kind] for kind in kinds]
    hash = blake2b(digest_size=_DIGEST_SIZE)

    def add(*parts: bytes | array[int]) -> str:
        for part in parts:
            hash.update(len(part).to_bytes(8, "little"))
            hash.update(part)
        return hash.hexdigest()

    form = add(
        repr((names.values, tuple(known), roots)).encode(),
        names.codes,
        array("i", map(kind_of.__getitem__, outputs.codes)),
        edges.sources,
        edges.targets,
        edges.input_nrs,
        edges.output_nrs,
        leaves,
    )
    return add(repr(outputs.values).encode(), outputs.codes), form


def _handles(node: Any, places: SavedFields) -> Iterator[Any]:
    try:
        if places.is_custom:
            yield from private.custom_saved(node)
        for _, attribute in places.attributes:
            value = getattr(node, attribute)
            yield from value if isinstance(value, tuple) else (value,)
    except RuntimeError:  # freed
        return


def _references(handle: Any) -> int:
    """How often a saved tensor is referred to; of a view, what it is a view of."""
    tensor = handle.data
    if not isinstance(tensor, torch.Tensor) or tensor.requires_grad:
        return 0
    tensor = private.viewed(tensor)
    return sys.getrefcount(tensor)


def _references_if_alone() -> int:
    """What `_references` gives for a tensor that nothing but a graph holds."""
    with torch.enable_grad():
        node: Any = (torch.ones((), requires_grad=True) * torch.ones(())).grad_fn
    places = SavedFields.of(type(node))
    return 0 if places is None else max(map(_references, _handles(node, places)))
