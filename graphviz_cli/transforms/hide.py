"""Plumbing away: view ops become part of the op whose output they view."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace

from graphviz_cli.graph.model import Annotation, Combine, EdgeTable, Graph, Node, NodeKind
from graphviz_cli.graph.operations import quotient
from graphviz_cli.transforms.viewed import viewed

# Ops that give the same elements in another arrangement: by view, by copy (clone, and what
# functionalization makes of views), and for nested tensors.
_VIEW = re.compile(
    r"(Alias|Expand|Permute|ReshapeAlias|Squeeze|T|Transpose|UnsafeView|Unsqueeze|View)(Copy)?"
    r"Backward(AutogradNestedTensor)?\d+"
    r"|(Clone|LazyClone|Lift|LiftFresh|MkldnnReshape|ReshapeCopy)Backward\d+"
)
_SLICE = re.compile(r"SliceBackward\d+")

_THROUGH = re.compile(r"input (\d+): ([^,]*)")

_LATE = 2**31
_MOST_NAMED = 6


def is_view(name: str) -> bool:
    """Whether an op of this name gives the elements that it takes, in another arrangement."""
    return _VIEW.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Hide:
    """Merge view ops into the op whose output they view.

    A view, transpose, expand, clone and the like changes no number: it only says how the next op
    reads them. A view of a leaf (the transposed weight of a linear layer) is merged into the first
    op that reads it, so that the leaf stays what it is. A view that is a root stays. The annotation
    `views` counts what was merged, and `through` names the views through which an op reads.
    """

    views: bool = True

    def apply(self, graph: Graph) -> Graph:
        """The graph without its view ops, or the same one if nothing is to be hidden."""
        if not self.views:
            return graph
        owners = _Owners(graph)
        if not owners.representatives:
            return graph
        known = graph.annotations.get("views")
        values = dict(known.values) if known is not None else {}
        for view in sorted(owners.representatives):
            before = values.get(view, 0)
            values[view] = 1 + (before if isinstance(before, int) else 0)
        graph = graph.annotated(
            *owners.largest(),
            Annotation("views", values, combine=Combine.SUM),
            Annotation("through", owners.through(), combine=Combine.FIRST),
            viewed(graph, owners.representatives, owners.made_from),
        )
        representatives = array("i", range(len(graph.nodes)))
        for view, owner in owners.representatives.items():
            representatives[view] = owner
        return quotient(replace(graph, edges=owners.edges()), representatives, owners.named())


def hidden_views(graph: Graph) -> dict[tuple[int, int], str]:
    """The views through which an op reads, by the op and the number of its input."""
    through = graph.annotations.get("through")
    return {
        (op, int(input_nr)): views
        for op, text in (through.values.items() if through is not None else ())
        for input_nr, views in _THROUGH.findall(str(text))
    }


class _Owners:
    """Finds out, for every view op that can be hidden, which op it becomes part of."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made_from = _views(graph)
        self.bases: dict[int, tuple[int, int]] = {}
        self.representatives: dict[int, int] = {}
        if self.made_from:
            self._find_bases()
            self._find_owners()

    def edges(self) -> EdgeTable:
        """The edges, those into a hidden view leading to what it views, its own ones gone."""
        bases, hidden = self.bases, self.representatives
        edges = self.graph.edges
        rows = [k for k, source in enumerate(edges.sources) if source not in hidden]
        targets = array("i", map(edges.targets.__getitem__, rows))
        output_nrs = array("i", map(edges.output_nrs.__getitem__, rows))
        for row, target in enumerate(targets):
            if target in hidden:
                targets[row], output_nrs[row] = bases[target]
        return EdgeTable(
            array("i", map(edges.sources.__getitem__, rows)),
            targets,
            array("i", map(edges.input_nrs.__getitem__, rows)),
            output_nrs,
        )

    def through(self) -> dict[int, float | int | str]:
        """For every op the views that are hidden between it and what it reads, by its inputs."""
        names, hidden, edges = self.graph.nodes.names, self.representatives, self.graph.edges
        known = self.graph.annotations.get("through")
        texts: dict[int, list[str]] = {}
        for source, target, input_nr in zip(edges.sources, edges.targets, edges.input_nrs):
            if target not in hidden or source in hidden:
                continue
            passed: list[str] = []
            while target in hidden and len(passed) < _MOST_NAMED:
                passed.append(names[target].partition("Backward")[0])
                target = self.made_from[target][0]
            if target in hidden:
                passed.append("…")
            texts.setdefault(source, []).append(f"input {input_nr}: {' '.join(passed)}")
        values: dict[int, float | int | str] = {op: ", ".join(said) for op, said in texts.items()}
        return {**values, **(known.values if known else {})}

    def largest(self) -> Iterator[Annotation]:
        """What is largest among merged nodes, without the views: their numbers are not the op's."""
        for annotation in self.graph.annotations.values():
            if annotation.combine is Combine.MAX:
                kept = {
                    node: value
                    for node, value in annotation.values.items()
                    if self.representatives.get(node) not in annotation.values
                }
                yield replace(annotation, values=kept)

    def named(self) -> dict[int, Node]:
        """Ops without a name of their own that get that of their first view.

        In `q = self.query(x).view(...)` the user's name belongs to the view.
        """
        nodes = self.graph.nodes
        first: dict[int, int] = {}
        for view, owner in self.representatives.items():
            # A view of a leaf is merged into an op that it is an input of.
            if self.bases[view][0] == owner and nodes.user_names[view]:
                known = first.setdefault(owner, view)
                if nodes.sequence_nrs[view] < nodes.sequence_nrs[known]:
                    first[owner] = view
        return {
            owner: replace(nodes[owner], names=nodes.user_names[view])
            for owner, view in first.items()
            if not nodes.user_names[owner] and len(nodes.outputs[owner]) == 1
        }

    def _find_bases(self) -> None:
        """Follow views of views down to the output that they view."""
        bases, made_from = self.bases, self.made_from
        for view in made_from:
            path: dict[int, None] = {}
            node = view
            while node in made_from and node not in bases and node not in path:
                path[node] = None
                node = made_from[node][0]
            if node in path:  # a cycle, which only a folded graph can have
                bases.update((member, (member, 0)) for member in path)
                continue
            base = bases.get(node)
            if base is not None and base[0] == node:
                base = None
            for member in reversed(path):
                base = base or made_from[member]
                bases[member] = base

    def _find_owners(self) -> None:
        """Views of an op belong to it, views of anything else to the first op that reads them."""
        kinds = self.graph.nodes.kinds
        are_ops = [kind in (NodeKind.FUNCTION, NodeKind.MODULE) for kind in kinds.values]
        is_op = [are_ops[code] for code in kinds.codes]
        of_leaves = set()
        for view, (base, _) in self.bases.items():
            if base == view:
                continue
            if is_op[base]:
                self.representatives[view] = base
            else:
                of_leaves.add(view)
        if not of_leaves:
            return
        readers: dict[int, list[int]] = {view: [] for view in of_leaves}
        waiting = dict.fromkeys(of_leaves, 0)
        for source, target in zip(self.graph.edges.sources, self.graph.edges.targets):
            if target in readers:
                readers[target].append(source)
                waiting[target] += source in of_leaves
        ready = sorted(view for view, count in waiting.items() if not count)
        numbers = self.graph.nodes.sequence_nrs

        def rank(node: int) -> tuple[int, int]:
            return (_LATE if numbers[node] < 0 else numbers[node], node)

        for view in ready:  # grows while it is read: what reads a view comes before it
            candidates = [
                self.representatives.get(reader, reader)
                for reader in readers[view]
                if is_op[reader]
            ]
            if candidates:
                self.representatives[view] = min(candidates, key=rank)
            below = self.made_from[view][0]
            if below in of_leaves:
                waiting[below] -= 1
                if not waiting[below]:
                    ready.append(below)


def _views(graph: Graph) -> dict[int, tuple[int, int]]:
    """The view ops that make one thing from one thing: what they view, and its output's number."""
    names = graph.nodes.names
    views = {code for code, name in enumerate(names.values) if _VIEW.fullmatch(name)}
    slices = {code for code, name in enumerate(names.values) if _SLICE.fullmatch(name)}
    if not views and not slices:
        return {}
    plumbing = views | slices
    kinds = [kind is NodeKind.FUNCTION for kind in graph.nodes.kinds.values]
    roots = {root.node for root in graph.roots}
    made_from: dict[int, tuple[int, int]] = {}
    several: set[int] = set()
    for source, target, output_nr in zip(
        graph.edges.sources, graph.edges.targets, graph.edges.output_nrs
    ):
        if names.codes[source] in plumbing:
            if source in made_from:
                several.add(source)
            made_from[source] = (target, output_nr)
    return {
        view: (target, output_nr)
        for view, (target, output_nr) in made_from.items()
        if view not in several
        and view not in roots
        and kinds[graph.nodes.kinds.codes[view]]
        and (names.codes[view] in views or _takes_everything(graph, view, target, output_nr))
    }


def _takes_everything(graph: Graph, view: int, target: int, output_nr: int) -> bool:
    """Whether a slice leaves nothing out, as `x[:, :]` does."""
    ours, theirs = graph.nodes.outputs[view], graph.nodes.outputs[target]
    return (
        len(ours) == 1
        and output_nr < len(theirs)
        and ours[0].shape is not None
        and ours[0].shape == theirs[output_nr].shape
    )
