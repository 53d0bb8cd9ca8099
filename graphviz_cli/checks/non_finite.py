"""Where NaN and infinities begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from graphviz_cli.checks.culprits import Deed, cure
from graphviz_cli.checks.evidence import Evidence
from graphviz_cli.checks.measured import (
    GRADIENT,
    OUTPUT,
    SAVED,
    Measured,
    span,
)
from graphviz_cli.checks.naming import called, learning, located, named
from graphviz_cli.checks.origins import INPUT, Origin, Origins, Way
from graphviz_cli.drawing.format import counted
from graphviz_cli.graph.finding import Finding, Severity, listed
from graphviz_cli.graph.model import Graph, NodeKind, Role, SourceLocation
from graphviz_cli.graph.traversal import Adjacency, ancestors
from graphviz_cli.graph.verdict import OPAQUE

_CHECKPOINT = "CheckpointFunctionBackward"
_HIDING = (*OPAQUE, _CHECKPOINT)
_MODULE_HOOK = "BackwardHookFunctionBackward"
"""What torch puts around a module with a backward hook (torch/nn/modules/_functions.py)."""
_MOST = 3
"""How many places are told in full."""
_WRITTEN_BEFORE = (
    "An optimizer's step before this one wrote it (`graphviz-cli watch` names the first step with "
    "NaN), or it was loaded so."
)
_PRODUCT_WITH_LOGARITHM = "0 times -inf is NaN; torch.xlogy(p, p), for p * log(p), is 0 at 0."


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The op that first turned finite numbers into NaN or infinities.

    Where a root is not finite, it is the op of the forward pass from which that comes: none of its
    inputs is NaN, or infinite, and its result is. A leaf that was so before, or a tensor from
    outside the graph, is told instead where there is one. Where the roots are finite and a
    gradient is not, it is the op of the backward pass that received a finite gradient and sent on
    another, or the place where finite gradients add up to one; if the forward pass had given it
    what is not finite, the op that made it there. An infinity or a NaN that reaches no root and no
    leaf's gradient is nobody's harm (attention masks, padding, a `torch.where`), and is not told.
    """

    needs: ClassVar[tuple[str, ...]] = (GRADIENT, OUTPUT, SAVED)

    def check(self, graph: Graph) -> Iterator[Finding]:
        """One finding for the ops of a name at one line; what the others are is in the first."""
        values, gradients = Measured(graph, OUTPUT), Measured(graph, GRADIENT)
        if all(map(values.is_finite, {root.node for root in graph.roots})) and all(
            map(gradients.is_finite, gradients.norms)
        ):
            return iter(())
        tale = _Tale(graph)
        return tale.of_values() if tale.faulty_roots else tale.of_gradients()


class _Tale:
    """What there is to tell of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = graph.nodes
        self._adjacency = Adjacency(graph)
        self._origins = Origins(graph, self._adjacency)
        self._evidence = Evidence(graph, self._adjacency, self._origins)
        finite = self._origins.outputs.is_finite
        self.faulty_roots = [root for root in graph.roots if not finite(root.node)]

    def of_values(self) -> Iterator[Finding]:
        root = self.faulty_roots[0]
        numbers = self._origins.value(root.node)
        start = f"{root.name or 'the root'} is {'' if numbers is None else numbers.fault}: "
        origins = self._origins.of_values([root.node for root in self.faulty_roots])
        told = [(origin, *self._of_value(origin)) for origin in origins]
        yield from self._findings(start, told, self._consequence())

    def of_gradients(self) -> Iterator[Finding]:
        origins = self._origins.of_gradients()
        causes = {o: cause for o in origins if (cause := self._origins.cause(o))}
        blamed = {cause.node for cause in causes.values()}
        told = []
        for origin in origins:
            if cause := causes.get(origin):
                told.append((cause, *self._of_value(cause)))
            elif origin.node not in blamed:
                told.append((origin, *self._of_gradient(origin)))
        yield from self._findings("", told, "")

    def _findings(
        self, start: str, told: Sequence[tuple[Origin, str, str]], end: str
    ) -> Iterator[Finding]:
        """Group by op and line, and tell the first few of these."""
        groups: dict[object, list[tuple[Origin, str, str]]] = {}
        for row in told:
            node = row[0].node
            source = self._nodes.sources[node]
            key: object = row
            if row[0].way is Way.LEAF:
                key = Way.LEAF
            elif source:
                key = row[0].way, self._nodes.names[node], source.file, source.line
            groups.setdefault(key, []).append(row)
        rest = len(groups) - _MOST
        for place, rows in enumerate([*groups.values()][:_MOST]):
            origin, message, hint = rows[0]
            others = list(dict.fromkeys(row[0].node for row in rows if row[0].node != origin.node))
            if others:
                message += f", and so {'does' if len(others) == 1 else 'do'} "
                if origin.way is Way.LEAF:
                    message += named(self._graph, others)
                else:
                    message += f"{counted(len(others), 'op')} more of this line"
                    message += self._among(others)
            if not place:
                message = start + message + end
                if rest > 0:
                    message += f"; {counted(rest, 'other place')} {'does' if rest == 1 else 'do'} "
                    message += "the like"
            nodes = [origin.node, *(() if origin.spoiled < 0 else (origin.spoiled,)), *others]
            yield Finding(
                check="non-finite",
                severity=Severity.ERROR,
                message=f"{message}.",
                nodes=tuple(nodes),
                source=self._source(origin),
                hint=hint,
            )

    def _of_value(self, origin: Origin) -> tuple[str, str]:
        """What happened in the forward pass, and the cure."""
        node = origin.node
        numbers = self._origins.value(node)
        assert numbers is not None
        if origin.way is Way.LEAF:
            what = numbers.faulty(self._evidence.numel(node))
            message = f"{called(self._graph, node)} holds {what} before the forward pass"
            message += "" if self.faulty_roots else self._aside(origin)
            is_own = self._nodes.roles[node] is Role.PARAMETER
            return message, _WRITTEN_BEFORE if is_own else ""
        aside = self._aside(origin)
        if origin.way is Way.INPUT:
            phrase = str(self._graph.annotations[INPUT].values[node])
            message = f"{phrase}, and it goes into {called(self._graph, node)}{aside}"
            spoiled = self._nodes.names[origin.spoiled] if origin.spoiled >= 0 else ""
            is_product = spoiled.startswith("MulBackward") or (numbers.has_nan and "-inf" in phrase)
            return message, _PRODUCT_WITH_LOGARITHM if is_product and "log" in phrase else ""
        faulty = [
            (source, found)
            for source in self._origins.inputs(node)
            if (found := self._origins.value(source)) is not None and not found.is_finite
        ]
        given = " of finite numbers"
        deed = self._evidence.deed(origin, numbers)
        if deed.numel == 0:
            given = " of no elements"
        elif faulty:
            given = f" of {faulty[0][1].fault} from {called(self._graph, faulty[0][0])}"
        elif known := self._evidence.given(node):
            given += f" ({', '.join(f'{name}: {span(*known[name])}' for name in known)})"
        maker, unseen = called(self._graph, node), self._origins.unseen(node)
        if unseen:
            names = [*dict.fromkeys(self._nodes.names[op] for op in unseen)]
            maker += f", or {' or '.join(names[:_MOST])} before it,"
        what = numbers.faulty(self._evidence.numel(node))
        # Of several ops the first was given the numbers.
        advice = cure(replace(deed, op=self._nodes.names[[node, *unseen][-1]]))
        return f"{maker} makes {what}{given}{aside}{self._hidden(node)}", advice or self._seen(node)

    def _aside(self, origin: Origin) -> str:
        """Which op makes NaN of an infinity, or a gradient that is not finite."""
        if origin.spoiled < 0:
            return ""
        maker = located(self._graph, origin.spoiled)
        if self.faulty_roots:
            return f", of which {maker} makes NaN"
        return f", and {maker} then turns a finite gradient into one that is not"

    def _of_gradient(self, origin: Origin) -> tuple[str, str]:
        """What happened in the backward pass, and the cure."""
        node = origin.node
        gradients = self._origins.gradients
        received = gradients.at(node)
        if origin.way is not Way.OP:
            assert received is not None
            what = received.faulty(self._evidence.numel(node))
            dtype = next((spec.dtype for spec in self._nodes.outputs[node]), "")
            match origin.way:
                case Way.SEED:
                    names = [root.name for root in self._graph.roots if root.node == node]
                    starts = f"The backward pass of {listed(names)} starts from {what}"
                    return starts, "It is the gradient that backward() was given."
                case Way.SUM:
                    message = f"Finite gradients of {called(self._graph, node)} add up to {what}"
                    deed = Deed("", dtype, False, received.has_nan, True, {})
                    return message, cure(deed)
            message = f"A hook turns the finite gradient of {called(self._graph, node)} into {what}"
            return message, "A hook on a tensor or a module can change its gradient."
        sent = gradients.along(node, origin.input_nr)
        assert sent is not None
        what = sent.faulty(spec.numel if (spec := self._evidence.made(origin)) else None)
        if self._nodes.names[node] == _MODULE_HOOK:
            name = called(self._graph, node).removeprefix(_MODULE_HOOK).removeprefix(" in ")
            message = f"A backward hook of {name or 'a module'} turns a finite gradient into {what}"
            return message, "The module's full backward hook returns another gradient."
        message = f"{called(self._graph, node)} turns a finite gradient into {what}"
        formula = self._evidence.formula(origin)
        message += f": {formula}" if formula else ""
        known = [f"grad: {received.span}"] if received is not None else []
        if saved := self._evidence.saved(node, formula):
            known.append(f"saved {saved}")
        message += f" ({'; '.join(known)})" if known else ""
        advice = cure(self._evidence.deed(origin, sent))
        return message + self._hidden(node), advice or self._seen(node)

    def _consequence(self) -> str:
        """How many of the gradients are not finite either."""
        leaves = learning(self._graph)
        known = [leaf for leaf in leaves if leaf in self._origins.gradients.norms]
        bad = sum(not self._origins.gradients.is_finite(leaf) for leaf in known)
        if not bad:
            return ""
        is_own = self._nodes.roles[known[0]] is Role.PARAMETER
        what = ("parameter", "parameters") if is_own else ("leaf", "leaves")
        return f"; so is the gradient of {bad:,} of {counted(len(known), *what)}"

    def _source(self, origin: Origin) -> SourceLocation | None:
        """The line of an op; of a leaf that of the op that takes it first."""
        if self._nodes.kinds[origin.node] is NodeKind.FUNCTION:
            return self._nodes.sources[origin.node]
        users = ancestors(self._adjacency, [origin.node]) - {origin.node}
        rows = [(self._nodes.sequence_nrs[n], n) for n in users if self._nodes.sources[n]]
        return self._nodes.sources[min(rows)[1]] if rows else None

    def _among(self, nodes: Iterable[int]) -> str:
        calls = dict.fromkeys(self._nodes.modules[node] for node in nodes)
        paths = [self._graph.modules[call].path for call in calls if call >= 0]
        paths = list(dict.fromkeys(filter(None, paths)))
        return f", in {listed(paths)}" if paths else ""

    def _hidden(self, node: int) -> str:
        is_hiding = self._nodes.names[node].startswith(_HIDING)
        return "; which of the ops within it did so cannot be seen" if is_hiding else ""

    def _seen(self, node: int) -> str:
        is_checkpoint = self._nodes.names[node] == _CHECKPOINT
        return "checkpoint(..., use_reentrant=False) shows the ops within." if is_checkpoint else ""
