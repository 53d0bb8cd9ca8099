"""What was noted long ago is dropped, and what is noted of a graph stays true."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.callers import begin

from .observed import ObservedOp, explain


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.second(self.first(x)))


class Trainer(nn.Module):
    """Runs its training within its own forward."""

    def __init__(self, attribution: Attribution, steps: int) -> None:
        super().__init__()
        self.block = Block()
        self.attribution, self.steps = attribution, steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.steps):
            loss = self.block(x).sum()
            self.attribution.forget()
        return loss


def trained(model: Any, steps: int) -> list[ObservedOp]:
    """The ops of the last step, in the order of creation."""
    x = torch.ones(1, 2)

    def train() -> torch.Tensor:
        for _ in range(steps):
            loss: torch.Tensor = model(x).sum()
            attribution.forget()
        return loss

    with Attribution() as attribution:
        root = begin(train)
        assert len(attribution._module_calls.ends) < 21_000
        assert attribution._torch_calls is not None
        assert len(attribution._torch_calls.ends) < 21_000
        assert len(attribution._torch_calls.passed_on) < 21_000
    return explain(attribution, root, top_names={id(model): "model"})


def told(ops: list[ObservedOp]) -> list[tuple[str | None, str | None, tuple[str, ...]]]:
    return [(op.path, op.text, op.names) for op in ops]


def test_ops_are_explained_as_well_after_many_steps_as_after_one() -> None:
    model = Block()
    once = trained(model, 1)
    paths = list(dict.fromkeys(op.path for op in once))
    assert paths == ["model.first", "model.second", "model", None]
    assert told(trained(model, 9_000)) == told(once)


def test_calls_that_are_running_are_not_forgotten() -> None:
    x = torch.ones(1, 2)

    def train(steps: int) -> list[ObservedOp]:
        with Attribution() as attribution:
            trainer = Trainer(attribution, steps)
            root = begin(trainer, x)
            assert len(attribution._module_calls.ends) < 21_000
        return explain(attribution, root, top_names={id(trainer): "trainer"})

    once, often = train(1), train(9_000)
    paths = ["trainer.block.first", "trainer.block.second", "trainer.block", "trainer"]
    assert list(dict.fromkeys(op.path for op in once)) == paths
    assert told(often) == told(once)
    parents = [op.call and op.call.parent for op in often]
    assert None not in parents[:-1], "the trainer's call is still around them"


def test_graphs_that_are_made_before_the_first_of_several_passes_stay_explained() -> None:
    with Attribution() as attribution:
        w = torch.ones(2, requires_grad=True)

        def train() -> torch.Tensor:
            for _ in range(11_000):
                w.sin()
            attribution.forget()
            second = w.exp()
            for _ in range(11_000):
                w.sin()
            attribution.forget()
            return second

        root = begin(train)
        ops = explain(attribution, root)
    assert [(op.text, op.names) for op in ops] == [("w.exp()", ("second",))]


def test_nothing_is_noted_during_a_pause_and_everything_after_it() -> None:
    model = Block()
    x = torch.ones(1, 2)

    def program() -> tuple[torch.Tensor, ...]:
        before = model(x)
        attribution.pause()
        attribution.pause()
        between = model(x)
        attribution.resume()
        attribution.resume()
        return before, between, model(x)

    with Attribution() as attribution:
        before, between, after = begin(program)
    assert not torch.overrides._get_current_function_mode_stack()
    names = {id(model): "model"}
    assert told(explain(attribution, before, top_names=names))[-1][0] == "model"
    assert {(op.path, op.text) for op in explain(attribution, between)} == {(None, None)}
    assert told(explain(attribution, after, top_names=names))[-1][:2] == (
        "model",
        "torch.tanh(self.second(self.first(x)))",
    )


def test_what_was_made_before_the_loop_stays_explained() -> None:
    model, head = Block(), nn.Linear(2, 1)
    x = torch.ones(1, 2)

    def train(steps: int) -> list[ObservedOp]:
        def program() -> torch.Tensor:
            features = model(x)
            for _ in range(steps):
                loss = head(features).sum()
                attribution.forget()
            return loss

        with Attribution() as attribution:
            root = begin(program)
            assert attribution._torch_calls is not None
            assert len(attribution._torch_calls.ends) < 21_000
        names = {id(model): "model", id(head): "head"}
        return explain(attribution, root, top_names=names)

    once = train(1)
    assert [op.path for op in once][:2] == ["model.first", "model.first"]
    assert told(train(12_000)) == told(once)


def test_an_op_of_a_forgotten_call_is_not_said_to_be_that_of_the_call_around_it() -> None:
    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for step in range(20_000):
                y = self.block(x)
                if step == 8_000:
                    kept = y
                attribution.forget()
            return kept * y

    with Attribution() as attribution:
        root = begin(Long(), torch.ones(1, 2))
    ops = explain(attribution, root)
    paths = [op.path for op in ops]
    assert paths.count("Long.block.first") == paths.count("Long.block.second") == 2
    assert paths.count("Long.block") == 1
    assert paths.count(None) == 5
    assert paths[-1] == "Long"
