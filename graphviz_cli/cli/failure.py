"""What torch's errors and warnings in the user's program mean, in terms of the graph."""

from __future__ import annotations

from collections.abc import Sequence

from graphviz_cli.errors import GraphvizCliError
from graphviz_cli.graph.finding import Finding
from graphviz_cli.graph.model import Graph, SourceLocation


def explanation_of(failure: GraphvizCliError, graph: Graph | None) -> Finding | None:
    """The finding for the exception that ended the program; None if it is none of autograd's."""
    cause = failure.__cause__
    if cause is None:
        return None
    from graphviz_cli.capture.places import place_of_failure

    return _explained(str(cause), graph, place_of_failure(cause))


def explain_in_hint(failure: GraphvizCliError, explanation: Finding | None) -> None:
    """Let an error without a hint tell what the explanation says."""
    if explanation is not None and failure.hint is None:
        place = explanation.source
        where = "" if place is None else f"{place.file}:{place.line}: "
        failure.hint = f"{where}{explanation.message}\n{explanation.hint}"


def explanations_of(
    graph: Graph,
    failure: GraphvizCliError | None,
    warned: Sequence[tuple[str, SourceLocation | None]],
) -> tuple[Finding, ...]:
    """The findings for an exception and for warnings, each once; the failure gets a hint."""
    found: list[Finding | None] = []
    if failure is not None:
        found.append(explanation_of(failure, graph))
        explain_in_hint(failure, found[0])
    found += [_explained(text, graph, place) for text, place in warned]
    return tuple(dict.fromkeys(finding for finding in found if finding is not None))


def _explained(text: str, graph: Graph | None, place: SourceLocation | None) -> Finding | None:
    # Most programs neither fail nor warn, and a saved graph cannot.
    from graphviz_cli.checks.torch_errors import explain

    return explain(text, graph, place)
