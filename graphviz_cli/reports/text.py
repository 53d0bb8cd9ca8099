"""The verdict on every parameter and the findings, for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphviz_cli.drawing.format import counted, visible
from graphviz_cli.graph.cut_words import cut_words
from graphviz_cli.graph.fates import Fate, fates
from graphviz_cli.graph.finding import Finding
from graphviz_cli.graph.model import Graph, SourceLocation
from graphviz_cli.graph.verdict import Status

_ORDER = (
    Status.CUT,
    Status.UNUSED,
    Status.DROPPED,
    Status.UNKNOWN,
    Status.FROZEN,
    Status.REACHED,
)
_WIDEST = 48


@dataclass(frozen=True, slots=True)
class Text:
    """What becomes of every parameter, and one paragraph a finding, the gravest first."""

    suffix: ClassVar[str] = ".txt"

    def report(self, findings: Sequence[Finding], graph: Graph) -> str:
        """The verdict, then the findings, each with its place and its hint."""
        lines = [visible(line) for line in (*_verdict(graph), *_findings(findings))]
        return "".join(f"{line}\n" for line in lines)


def fate_text(fate: Fate, graph: Graph) -> str:
    """What becomes of some parameters, to follow their name and a colon."""
    verdict = fate.verdict
    match verdict.status:
        case Status.CUT:
            cut = graph.nodes[verdict.cuts[0]]
            place = f" at {_place(cut.source)}" if cut.source else ""
            text = f"cut{place}: the gradient is lost {cut_words(cut).place}"
            unseen = verdict.reason or "the value goes nowhere else"
            aside = "" if verdict.is_severed else f", and {unseen}"
            return text + aside
        case Status.UNUSED:
            return "never used"
        case Status.DROPPED:
            place = f" at {verdict.reason}" if verdict.reason else ""
            return f"used{place}, but its result is dropped"
        case Status.UNKNOWN:
            return f"unknown: {verdict.reason}".rstrip(": ")
    return str(verdict.status)


def _verdict(graph: Graph) -> Iterator[str]:
    if graph.provenance.partial:
        yield "No verdict on the parameters: the target failed before it was done."
        return
    known, what = fates(graph), ("parameter", "parameters")
    if not known:
        known, what = fates(graph, parameters_only=False), ("leaf", "leaves")
    if not known:
        yield "The graph has no leaves."
        return
    total = sum(len(fate.leaves) for fate in known)
    reached = sum(len(f.leaves) for f in known if f.verdict.status is Status.REACHED)
    verb = "gets" if reached == 1 else "get"
    unknown = sum(len(f.leaves) for f in known if f.verdict.status is Status.UNKNOWN)
    doubt = f", of {unknown:,} it cannot be told" if unknown else ""
    yield f"{reached:,} of {counted(total, *what)} {verb} a gradient{doubt}."
    shown = sorted(known, key=lambda fate: _ORDER.index(fate.verdict.status))
    width = min(_WIDEST, max(len(fate.pattern) for fate in shown) + 1)
    for fate in shown:
        count = f" ({counted(len(fate.leaves), *what)})" if len(fate.leaves) > 1 else ""
        yield f"  {f'{fate.pattern}:'.ljust(width)} {fate_text(fate, graph)}{count}"


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield ""
        place = f"{_place(finding.source)}: " if finding.source else ""
        yield f"{finding.severity}: {place}{finding.message} [{finding.check}]"
        if finding.source and finding.source.text:
            yield f"    {finding.source.text}"
        if finding.hint:
            yield f"  {finding.hint}"


def _place(source: SourceLocation) -> str:
    return f"{source.file}:{source.line}"
