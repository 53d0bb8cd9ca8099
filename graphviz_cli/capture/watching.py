"""Run a whole program and follow its backward calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from graphviz_cli.capture.backward import BackwardCall
from graphviz_cli.capture.device import requested
from graphviz_cli.capture.measurements import Measurements
from graphviz_cli.capture.programs import names_of, parameters_of, started_from
from graphviz_cli.capture.recording import Observation, Recording
from graphviz_cli.capture.script import load_program, run_program
from graphviz_cli.capture.session import observed_graph, prepared
from graphviz_cli.capture.target import Request, Target, Watched, WatchPlan
from graphviz_cli.capture.walk import RootTensor
from graphviz_cli.capture.watched_calls import WatchedCalls
from graphviz_cli.drawing.format import counted
from graphviz_cli.errors import NoGraphError, TargetError, UsageError
from graphviz_cli.graph.history import Ending, History, Step
from graphviz_cli.graph.model import Graph


def watch_target(
    target: Target, request: Request, plan: WatchPlan, told: Callable[[Step], None]
) -> Watched:
    """Run a program and measure its backward calls; see `graphviz_cli.capture.watch`."""
    if not target.is_program:
        raise UsageError(
            f"{target.text} is no program, and only the backward calls of one can be watched.",
            hint=f"Name the script that trains it: graphviz-cli watch {target.path or 'train.py'}",
        )
    failure: TargetError | None = None
    with prepared(target, request):
        program = load_program(target)
        sys.argv = [program.argument, *request.script_args]
        title = target.module or Path(program.argument).name
        recording = Recording(requested(request.device), keep_results=False, cuts=False)
        measurements = Measurements(_Drawing(recording, target, title).draw)
        calls = WatchedCalls(measurements, recording.attribution, plan, told)
        try:
            with recording, calls:
                failure = run_program(program).failure
            ending = Ending.DONE if failure is None else Ending.FAILED
        except KeyboardInterrupt:
            ending = Ending.INTERRUPTED
            if not calls.count:
                raise
        if calls.stopped:
            # Whatever a program made of being stopped is no failure of it.
            ending, failure = Ending.ENOUGH, None
        steps, structures = measurements.steps(), measurements.structures()
    if not steps:
        raise failure or _nothing_measured(title, calls)
    graph = structures[0].graph
    history = History(
        target=target.shown,
        title=title,
        torch=torch.__version__,
        device="" if graph is None else graph.provenance.device,
        every=plan.every,
        calls=calls.count,
        steps=steps,
        structures=structures,
        ending=ending,
        notes=(*recording.notes, *_notes(calls)),
        arguments=request.script_args,
    )
    return Watched(history, failure)


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Takes the graph of a call of the engine that is about to begin."""

    recording: Recording
    target: Target
    title: str

    def draw(
        self, call: BackwardCall, number: int, leaves: Sequence[torch.Tensor]
    ) -> tuple[Graph, tuple[str, ...]]:
        """The graph, and what the program calls its leaves; "" for one without a name."""
        attribution = self.recording.attribution
        variables = vars(sys.modules["__main__"])
        names = names_of([variables, *call.namespaces], attribution.strangers)
        seen = Observation(
            self.title,
            [RootTensor(name, output) for name, output in started_from(call)],
            names,
            attribution,
            parameters=parameters_of(names, set(map(id, attribution.called))),
            step=number,
            notes=self.recording.notes,
        )
        called = (names.of(leaf).names for leaf in leaves)
        return observed_graph(seen, self.target), tuple(own[0] if own else "" for own in called)


def _nothing_measured(title: str, calls: WatchedCalls) -> NoGraphError:
    if calls.count:
        return NoGraphError(" ".join([f"{title} was run.", *_notes(calls)]))
    return NoGraphError(
        f"{title} made no backward call, so there is nothing to watch.",
        hint=f"graphviz-cli {title} draws the graph that it leaves behind.",
    )


def _notes(calls: WatchedCalls) -> tuple[str, ...]:
    notes = [
        f"Not measured: {counted(count, 'backward call')}, {why}."
        for why, count in calls.unmeasured.items()
    ]
    if calls.within_others:
        notes.append(
            f"{counted(calls.within_others, 'backward call')} ran inside of another, as in "
            "reentrant checkpoints: their ops are in no graph, and leaves that only they reach in "
            "no norm."
        )
    return tuple(notes)
