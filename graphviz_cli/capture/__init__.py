"""Run the user's program and take its autograd graph: the only package that imports torch.

Torch is imported when the first graph is captured, so that a mistake in the command line is told
without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphviz_cli.capture.target import (
    Captured,
    Request,
    Target,
    Watched,
    WatchPlan,
    parse_target,
)
from graphviz_cli.graph.history import Step
from graphviz_cli.graph.model import Graph

__all__ = [
    "Captured",
    "Request",
    "Target",
    "WatchPlan",
    "Watched",
    "capture",
    "capture_tensors",
    "parse_target",
    "watch",
]


def capture(target: Target, request: Request | None = None) -> Captured:
    """Run a target and take its graph.

    A program is stopped at its first backward call, or at the one that `request.step` counts; a
    module's forward runs once. Afterwards the process is as before: no hook, patch or mode is left,
    and the program's arguments, import path, `__main__`, streams and working folder are undone.

    Raises UsageError for a request that cannot be met, TargetError if the user's code raised before
    there was a graph, NoGraphError if it ran but there is none, and says why. A failure after there
    was a graph is in the result.
    """
    from graphviz_cli.capture.session import capture_target

    return capture_target(target, Request() if request is None else request)


def capture_tensors(*tensors: object, names: Sequence[str] = ()) -> Graph:
    """The graph of tensors, or of all that carry one in nested values.

    `names` are those of the roots, by default the caller's variables. Raises NoGraphError if none
    of them carries a graph.
    """
    from graphviz_cli.capture.session import graph_of

    return graph_of(tensors, names)


def watch(
    target: Target, request: Request, plan: WatchPlan, told: Callable[[Step], None]
) -> Watched:
    """Run a whole program and measure its backward calls.

    `told` is called after each that is measured, when it is not known yet what becomes of its
    gradients (`Step.clipped`, `Step.kept`). Ctrl-C and a failure of the program end the run, and
    what was measured until then is in the result. Nothing of ours is left in the process.

    Raises UsageError if the target is no program, NoGraphError if it made no backward call, and
    TargetError or KeyboardInterrupt if it was ended before the first.
    """
    from graphviz_cli.capture.watching import watch_target

    return watch_target(target, request, plan, told)
