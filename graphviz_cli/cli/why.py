"""`graphviz-cli why`: the way of the gradient to a tensor, or what is in its way."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from graphviz_cli.cli.clock import Clock
from graphviz_cli.cli.commands import Action
from graphviz_cli.cli.draw import terminable, write_results
from graphviz_cli.cli.findings import findings_to_draw
from graphviz_cli.cli.obtain import obtain
from graphviz_cli.cli.options import OPTIONS
from graphviz_cli.cli.parser import TargetCommand, click_option, refuse_for_saved_graph, target
from graphviz_cli.cli.report import report
from graphviz_cli.cli.request import Request, request
from graphviz_cli.cli.streams import Streams
from graphviz_cli.cli.threads import limit_the_wait
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.finding import marked
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.operations import induced_subgraph
from graphviz_cli.graph.traversal import Adjacency
from graphviz_cli.reports.explanation import explain, named

_OWN = ("show", "direction", "theme")
"""The options of a view that make sense where the view is the path itself."""


def command(name: str, help: str) -> click.Command:
    """`graphviz-cli why TARGET NAME...`."""
    rows = [
        row
        for row in OPTIONS
        if (row.section != "View" or row.name in _OWN) and row.name not in ("ascii", "cuts")
    ]
    return TargetCommand(
        name,
        params=[
            target(),
            click.Argument(["names"], nargs=-1, required=True, metavar="NAME..."),
            *map(click_option, rows),
        ],
        callback=_why,
        help=f"{help}\n\nNAME is a parameter, its last parts, a module, a glob or a variable. With "
        "-o, the path and its neighbours are drawn.",
    )


def _why(**options: Any) -> Action:
    context = click.get_current_context()
    refuse_for_saved_graph(context, options)

    def action(streams: Streams) -> int:
        streams.use(options, os.environ)
        return why(options, streams)

    return action


def why(options: Mapping[str, Any], streams: Streams) -> int:
    """Run the target, explain every name on stdout and draw the paths if files were asked for.

    Returns the exit status. Raises UsageError for a name that is not in the graph.
    """
    if options["format"] and not options["output"]:
        raise UsageError("-f needs a file to write.", hint="Add -o FILE.")
    plan = _plan(options, streams)
    streams.divert()
    clock = Clock(streams, enabled=plan.verbose)
    obtained = obtain(plan.target, plan.program, streams, clock)
    graph = marked(obtained.graph, [*obtained.explanations, *findings_to_draw(obtained.graph)])
    nodes = [named(graph, name) for name in options["names"]]
    told = [explanation for found in nodes for explanation in explain(graph, found)]
    text = "\n".join("".join(f"{line}\n" for line in told_.lines) for told_ in told)
    streams.write(text.encode(streams.out_encoding, "replace"))
    status = 0
    if plan.files_wanted:
        shown = _around(graph, [node for told_ in told for node in told_.path])
        with terminable():
            status = write_results(plan, shown, streams, clock)
    if obtained.failure is not None:
        report(streams, obtained.failure)
        status = obtained.failure.exit_code
    if plan.program is not None and graph.provenance.step is not None:
        limit_the_wait(streams, status)
    return status


def _plan(options: Mapping[str, Any], streams: Streams) -> Request:
    """The request of a drawing that shows every node of what it is given."""
    everything: dict[str, Any] = {
        row.name: [] if row.kind == "list" else row.default for row in OPTIONS
    }
    views = [*options["show"], "views"]
    own = {**everything, **options, "depth": "all", "repeats": False, "show": views}
    return request(options["target"], own, streams, os.environ)


def _around(graph: Graph, path: Sequence[int]) -> Graph:
    """The nodes of the path and their immediate neighbours, with the edges between them."""
    adjacency = Adjacency(graph)
    keep = set(path)
    for node in path:
        keep.update(adjacency.successors_of(node))
        keep.update(adjacency.predecessors_of(node))
    return induced_subgraph(graph, keep)
