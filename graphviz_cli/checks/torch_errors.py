"""Torch's own autograd errors and warnings: what each means, where it comes from, and the cure.

The texts are those of torch 2.13; parts that differ between versions are left out of the patterns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from graphviz_cli.drawing.format import shape_text
from graphviz_cli.graph.cut_words import cut_words
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Graph, Node, NodeKind, SavedState, SourceLocation
from graphviz_cli.graph.verdict import MODIFIED

NAME = "autograd-error"
"""Stands for the name of a check in the findings."""


def explain(text: str, graph: Graph | None, place: SourceLocation | None) -> Finding | None:
    """What an error or a warning of torch's means; None for a text that is none of autograd's.

    `graph` is what had been built until then, if anything, and `place` the user's line that raised.
    The finding's nodes are those to mark, its source is `place`; the line of the node is in the
    message.
    """
    for error in _ERRORS:
        match = re.search(error.pattern, text)
        if match is not None:
            told = error.tell(_Case(match, graph, place))
            return Finding(NAME, error.severity, told.message, told.nodes, place, told.cure)
    return None


@dataclass(frozen=True, slots=True)
class _Case:
    match: re.Match[str]
    graph: Graph | None
    place: SourceLocation | None

    @property
    def expression(self) -> str:
        return "" if self.place is None else self.place.text

    def nodes(self, *kinds: NodeKind) -> Iterator[Node]:
        if self.graph is not None:
            for node in self.graph.nodes:
                if node.kind in kinds:
                    yield node

    def named(self, *kinds: NodeKind) -> Node | None:
        """The node that the expression which raised speaks of."""
        words = re.findall(r"[^\W\d]\w*", self.expression)
        for node in self.nodes(*kinds):
            if any(name in self.expression or name in words for name in node.names):
                return node
            last = node.label.rpartition(".")[2]
            if node.kind is NodeKind.LEAF and last in words:
                return node
        return None


@dataclass(frozen=True, slots=True)
class _Told:
    message: str
    cure: str
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Error:
    pattern: str
    tell: Callable[[_Case], _Told]
    severity: Severity = Severity.ERROR


def _where(node: Node) -> str:
    return f" at {node.source.file}:{node.source.line}" if node.source is not None else ""


def _calling(node: Node) -> str:
    name = node.names[0] if node.names else ""
    return f"{name} ({node.name})" if name and node.kind is NodeKind.FUNCTION else node.label


def _no_history(case: _Case) -> _Told:
    start = "backward() has nowhere to go: what it starts from was computed from no tensor that "
    cuts = sorted(
        case.nodes(NodeKind.CUT),
        key=lambda node: (node.source is None, node.source.line if node.source else 0),
    )
    if cuts:
        cut = cuts[-1]
        words = cut_words(cut)
        return _Told(
            f"{start}requires a gradient any more; the gradient is lost {words.place}"
            f"{_where(cut)}.",
            words.cure,
            (cut.id,),
        )
    return _Told(
        f"{start}requires a gradient.",
        "Look for detach(), .data, .item(), numpy, torch.tensor(result) or torch.no_grad() on the "
        "way to it, and whether all parameters are frozen.",
    )


def _not_scalar(case: _Case) -> _Told:
    cure = "Reduce it first: loss.mean().backward(), or loss.sum().backward(); or give the "
    cure += "gradient: y.backward(torch.ones_like(y))."
    if case.graph is not None:
        for root in case.graph.roots:
            node = case.graph.nodes[root.node]
            spec = node.outputs[root.output_nr] if root.output_nr < len(node.outputs) else None
            if spec is not None and spec.numel != 1:
                return _Told(
                    f"{root.name} has the shape {shape_text(spec, brackets=True)}, and only for "
                    f"one element is the gradient to start with known to be 1; it was made by "
                    f"{node.name}{_where(node)}.",
                    cure,
                    (node.id,),
                )
    return _Told("backward() was called on a tensor of several elements.", cure)


def _second_time(case: _Case) -> _Told:
    cure = "Call backward() once on the sum of the losses; detach() what is carried from one step "
    cure += "to the next; or pass retain_graph=True to the earlier call."
    graph = case.graph
    if graph is not None:
        states, offsets = graph.nodes.saved.states, graph.nodes.saved.offsets
        freed = [
            node
            for node in (graph.nodes if SavedState.FREED in states.values else ())
            if SavedState.FREED in states[offsets[node.id] : offsets[node.id + 1]]
        ]
        if freed:
            # The pass that failed has freed what it went through, and began at the newest op; so
            # the oldest is the one that an earlier pass must have freed.
            node = min(freed, key=lambda node: node.sequence_nr or 0)
            return _Told(
                f"{_calling(node)}, made{_where(node)}, is in a part of the graph that an earlier "
                "backward pass has used and freed.",
                cure,
                (node.id,),
            )
    return _Told("An earlier backward pass has used a part of this graph, and freed it.", cure)


def _modified(case: _Case) -> _Told:
    cure = "Write into a new tensor (x = x + 1 for x += 1, relu(x) for relu_(x)), or hand a "
    cure += "clone() to the op that needs the old value."
    shape = f"[{case.match['shape']}]".replace(" ", "")
    made_by = case.match["op"]
    what = f"the output of {made_by}" if made_by else f"a tensor of the shape {shape}"
    annotation = case.graph.annotations.get(MODIFIED) if case.graph else None
    if annotation is not None and case.graph is not None and annotation.values:
        node = case.graph.nodes[min(annotation.values)]
        text = str(annotation.values[node.id]).rstrip(".")
        return _Told(
            f"{_calling(node)}{_where(node)} saved {what} for backward; since then {text}.",
            cure,
            (node.id,),
        )
    for node in case.nodes(NodeKind.FUNCTION) if made_by else ():
        shapes = [shape_text(spec, brackets=True) for spec in node.outputs]
        if re.fullmatch(rf"{re.escape(made_by)}(Backward\d*)?", node.name) and shape in shapes:
            return _Told(
                f"The output of {_calling(node)}{_where(node)}, which is needed for its gradient, "
                "has been written to in place since.",
                cure,
                (node.id,),
            )
    return _Told(f"An op has saved {what} for backward, and it was written to since.", cure)


def _leaf_written(case: _Case) -> _Told:
    node = case.named(NodeKind.LEAF)
    what = "A leaf that requires a gradient" if node is None else f"The leaf {node.label}"
    return _Told(
        f"{what} is changed in place: its value is what the gradient is for, so autograd does not "
        "let it change.",
        "To update a weight, write under torch.no_grad(); to compute with it, make a new tensor: "
        "w = w + 1, or w.clone().",
        () if node is None else (node.id,),
    )


def _numpy(case: _Case) -> _Told:
    node = case.named(NodeKind.LEAF, NodeKind.FUNCTION)
    what = "A tensor" if node is None else f"{_calling(node)}{_where(node)}"
    return _Told(
        f"{what} carries a gradient, which numpy would lose without a word.",
        "For a plot or a log: t.detach().cpu().numpy(). To compute, stay with torch.",
        () if node is None else (node.id,),
    )


def _checkpoint(case: _Case) -> _Told:
    nodes = tuple(node.id for node in case.nodes(NodeKind.CUT) if "Checkpoint" in node.name)
    return _Told(
        "A reentrant checkpoint got no input that requires a gradient, so the parameters inside "
        "it get none.",
        "Call checkpoint(..., use_reentrant=False), or let an input require a gradient.",
        nodes,
    )


_ERRORS = (
    _Error(r"element \d+ of tensors does not require grad", _no_history),
    _Error(r"grad can be implicitly created only for scalar outputs", _not_scalar),
    _Error(r"Trying to backward through the graph a second time", _second_time),
    _Error(
        r"one of the variables needed for gradient computation has been modified by an inplace "
        r"operation(?:: \[\S+ \[(?P<shape>[^\]]*)\]\](?:, which is output \d+ of (?P<op>\w+))?)?",
        _modified,
    ),
    _Error(
        r"a (?:view of a )?leaf Variable that requires grad is being used in an in-place operation",
        _leaf_written,
    ),
    _Error(r"Can't call numpy\(\) on Tensor that requires grad", _numpy),
    _Error(r"None of the inputs have requires_grad=True", _checkpoint, Severity.WARNING),
)
