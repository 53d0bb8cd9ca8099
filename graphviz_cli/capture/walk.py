"""From the tensors that a program computed to the typed graph of how autograd goes back."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import ne
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import GradientEdge

from graphviz_cli.capture import private
from graphviz_cli.capture.columns import extended, patched
from graphviz_cli.capture.constants import Taken
from graphviz_cli.capture.cut_graph import CutGraph, merged
from graphviz_cli.capture.facts import Walked, facts_of
from graphviz_cli.capture.leaves import Leaf, reached_leaves, unreached_leaves
from graphviz_cli.capture.live import LiveGraph, paused_garbage_collection, visit
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.nodetypes import NodeTypes
from graphviz_cli.capture.order import creation_order
from graphviz_cli.capture.origins import origins_of, unknown_origins
from graphviz_cli.capture.saved import Saved, addresses_of, read_saved
from graphviz_cli.capture.specs import doubted, outputs_of
from graphviz_cli.errors import NoGraphError
from graphviz_cli.graph.model import (
    NONE,
    Column,
    Edge,
    Graph,
    NodeKind,
    NodeTable,
    Provenance,
    Role,
    Root,
    TensorSpec,
)

if TYPE_CHECKING:
    from graphviz_cli.capture.attribution import Attribution


@dataclass(frozen=True, slots=True)
class RootTensor:
    """A tensor from which the gradient shall start, and its name."""

    name: str
    tensor: torch.Tensor | GradientEdge


def walk(
    roots: Sequence[RootTensor],
    attribution: Attribution | None = None,
    names: TensorNames | None = None,
    unreached: Sequence[torch.Tensor] = (),
) -> Graph:
    """Walk autograd's graph from `roots` on.

    Nothing of the user's is called or changed: no hook fires, no checkpoint is computed again, no
    random number is drawn, and no tensor is kept. `attribution` tells which module call and which
    expression made an op, `names` what the user calls leaves and modules. Those of `unreached` that
    no gradient reaches become nodes without edges. Roots that require no gradient are left out.
    What cannot be seen is said in `provenance.notes`, one sentence each; the rest of the
    provenance, and the operators, are for the caller to fill in.

    Raises NoGraphError if no root requires a gradient.
    """
    known = TensorNames() if names is None else names
    with private.undisturbed(), paused_garbage_collection():
        starts = [_Start.of(root) for root in roots]
        if not any(start.requires_grad for start in starts):
            raise NoGraphError(
                "None of the results requires a gradient.",
                hint="Are they detached, or computed under torch.no_grad()?",
            )
        behind = _cuts_of(attribution, unreached, known)
        live = visit(
            (start.node for start in starts if start.node is not None),
            None if behind is None else behind.beyond,
        )
        cuts = () if behind is None else behind.cuts
        types = NodeTypes(live.nodes)
        sequence_nrs = private.sequence_nrs(live.nodes)
        ranks, is_exact = creation_order(types.ops, sequence_nrs, live.edges)
        own = sequence_nrs if attribution is None else attribution.own(sequence_nrs)
        reached = reached_leaves(live.nodes, types.leaves, known)
        alone = [start.leaf for start in starts if start.leaf is not None]
        taken = _constants_of(attribution, live, own, known)
        alone += unreached
        alone += [constant.tensor for constant in taken]
        leaves = reached + unreached_leaves(alone, reached, known, len(live.nodes) + len(cuts))
        graph_roots = tuple(_roots(starts, live, leaves))
        outputs = _outputs(live, types, graph_roots)
        borrowed = [leaf.tensor for leaf in leaves] + [t for t in known.tensors if t.is_leaf]
        saved = read_saved(live.nodes, types.fields, addresses_of(borrowed))
        total = len(live.nodes) + len(cuts) + len(leaves) - len(reached)
        if attribution is None:
            origins = unknown_origins(total)
        else:
            origins = origins_of(attribution, known, own, leaves, cuts)
        edges = live.edges if behind is None else behind.edges(live.nodes, live.edges)
        edges = merged(edges, _edges_to_constants(taken, leaves))
        walked = Walked(live.nodes, types, edges, origins.modules, leaves, cuts)
        facts = {fact.name: fact for fact in facts_of(walked, attribution, known)}
    parameters = array("q", bytes(8 * total))
    for leaf in leaves:
        parameters[leaf.id] = leaf.parameters
    no_roles: Column[Role | None] = Column((None,), array("i", bytes(4 * total)))
    rows_end = len(saved.table)
    cut_rows = dict(enumerate(cuts, len(live.nodes)))
    nodes = NodeTable(
        kinds=patched(
            types.kinds,
            {**{leaf.id: leaf.kind for leaf in leaves}, **dict.fromkeys(cut_rows, NodeKind.CUT)},
            total,
        ),
        names=patched(
            types.names,
            {
                **{leaf.id: leaf.name for leaf in leaves},
                **{row: cut.kind for row, cut in cut_rows.items()},
            },
            total,
        ),
        user_names=patched(origins.names, {leaf.id: leaf.called.names for leaf in leaves}, total),
        roles=patched(
            no_roles,
            {**dict.fromkeys(cut_rows), **{leaf.id: leaf.called.role for leaf in leaves}},
            total,
        ),
        outputs=patched(
            outputs,
            {
                **{leaf.id: (leaf.spec,) for leaf in leaves},
                **{row: () if c.spec is None else (c.spec,) for row, c in cut_rows.items()},
            },
            total,
        ),
        modules=origins.modules,
        sources=origins.sources,
        sequence_nrs=extended(ranks, NONE, total),
        saved=replace(saved.table, offsets=extended(saved.table.offsets, rows_end, total + 1)),
        sizes=extended(types.sizes, 0, total),
        parameters=parameters,
    )
    return Graph(
        nodes=nodes,
        edges=edges,
        roots=graph_roots,
        modules=origins.calls,
        storages=saved.storages,
        annotations=MappingProxyType(facts),
        provenance=Provenance(
            notes=(
                *_notes(starts, types, saved, is_exact=is_exact),
                *_doubtful(sequence_nrs, own),
                *(() if behind is None else behind.notes()),
            )
        ),
    )


def _cuts_of(
    attribution: Attribution | None, parameters: Sequence[torch.Tensor], names: TensorNames
) -> CutGraph | None:
    recorder = None if attribution is None else attribution.cuts
    if attribution is None or recorder is None:
        return None
    variables = [tensor for tensor in names.tensors if names.of(tensor).owner is None]
    return CutGraph(recorder, chain(parameters, variables), attribution.own)


def _constants_of(
    attribution: Attribution | None,
    live: LiveGraph,
    sequence_nrs: Sequence[int],
    names: TensorNames,
) -> Sequence[Taken]:
    recorder = None if attribution is None else attribution.cuts
    return () if recorder is None else recorder.constants.taken(live.nodes, sequence_nrs, names)


def _edges_to_constants(taken: Sequence[Taken], leaves: Sequence[Leaf]) -> list[Edge]:
    constants = (leaf for leaf in leaves if taken and leaf.kind is NodeKind.CONSTANT)
    ids = {id(leaf.tensor): leaf.id for leaf in constants}
    # One that was frozen after another op had taken it is a leaf, and keeps its edges alone.
    return [
        Edge(constant.node, ids[id(constant.tensor)], constant.input_nr)
        for constant in taken
        if id(constant.tensor) in ids
    ]


@dataclass(frozen=True, slots=True)
class _Start:
    """Where the walk begins for one root: at a node, or at a leaf whose node is not made for it."""

    name: str
    node: Any
    output_nr: int
    leaf: torch.Tensor | None

    @classmethod
    def of(cls, root: RootTensor) -> _Start:
        tensor = root.tensor
        if isinstance(tensor, GradientEdge):
            return cls(root.name, tensor.node, tensor.output_nr, None)
        is_leaf = tensor.requires_grad and tensor.grad_fn is None
        return cls(root.name, tensor.grad_fn, tensor.output_nr, tensor if is_leaf else None)

    @property
    def requires_grad(self) -> bool:
        return self.node is not None or self.leaf is not None


def _roots(starts: Sequence[_Start], live: LiveGraph, leaves: Sequence[Leaf]) -> Iterator[Root]:
    # The first nodes to be visited are those of the roots.
    ids = {node: position for position, node in enumerate(live.nodes[: len(starts)])}
    leaf_ids = {id(leaf.tensor): leaf.id for leaf in leaves}
    for start in starts:
        if start.node is not None:
            yield Root(start.name, ids[start.node], start.output_nr)
        elif start.leaf is not None:
            yield Root(start.name, leaf_ids[id(start.leaf)])


def _outputs(
    live: LiveGraph, types: NodeTypes, roots: Sequence[Root]
) -> Column[tuple[TensorSpec, ...]]:
    outputs = outputs_of(live.nodes)
    custom = types.custom
    if not custom:
        return outputs
    used = {*zip(live.edges.targets, live.edges.output_nrs)}
    used.update((root.node, root.output_nr) for root in roots)
    return doubted(outputs, custom, used)


def _notes(
    starts: Sequence[_Start], types: NodeTypes, saved: Saved, *, is_exact: bool
) -> Iterator[str]:
    cut = [start.name for start in starts if not start.requires_grad]
    if cut:
        yield f"Left out, as no gradient is required: {', '.join(cut)}."
    yield from types.hidden()
    if saved.unknown:
        functions = "custom Functions" if saved.unknown > 1 else "custom Function"
        yield f"Not seen of {saved.unknown} {functions}: what was saved, as backward has freed it."
    if not is_exact:
        yield "Not seen: the exact order of the forward pass, as several threads made the ops."


def _doubtful(sequence_nrs: Sequence[int], own: Sequence[int]) -> Iterator[str]:
    count = 0 if own is sequence_nrs else sum(map(ne, sequence_nrs, own))
    if count:
        ops = "1 op comes" if count == 1 else f"{count} ops come"
        yield f"Not seen: where {ops} from, as another thread numbered its own alike."
