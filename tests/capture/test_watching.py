"""Watching a program: what is measured of each backward call."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from graphviz_cli.capture import Request, WatchPlan, parse_target, watch
from graphviz_cli.cli.watch import compared
from graphviz_cli.errors import NoGraphError, TargetError, UsageError
from graphviz_cli.graph.history import ABSENT, Ending, Step
from graphviz_cli.graph.model import held_bytes

from .targets import ops, write
from .watched import history_of, kept, norms, numbers, watched

TRAINING = """
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = torch.randn(64, 8), torch.randn(64, 1)
    losses, norms, clipped = [], [], []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss = (net(x) - y).pow(2).mean()
        CHANGE
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(net.parameters(), 0.3).item())
        clipped.append(nn.utils.get_total_norm([p.grad for p in net.parameters()]).item())
        optimizer.step()
        losses.append(loss.item())
    keep("losses", losses), keep("norms", norms), keep("clipped", clipped)
"""


def training(steps: int = 3, change: str = "pass") -> str:
    return TRAINING.replace("STEPS", str(steps)).replace("CHANGE", change)


def test_a_thousand_steps_are_followed_to_the_last_digit(tmp_path: Path) -> None:
    history = history_of(tmp_path, training(1000))
    told = kept(tmp_path)
    assert history.calls == len(history.steps) == 1000
    assert numbers(history.steps) == list(range(1, 1001))
    assert [step.loss for step in history.steps] == told["losses"][0]
    assert [s.gradient for s in history.steps] == pytest.approx(told["norms"][0], rel=1e-6)
    assert [s.clipped for s in history.steps] == pytest.approx(told["clipped"][0], rel=1e-6)
    assert history.steps[0].clipped != history.steps[0].gradient
    (structure,) = history.structures
    assert (structure.first, structure.count, structure.ops) == (1, 1000, 8)
    assert structure.leaves == ("net.2.bias", "net.2.weight", "net.0.bias", "net.0.weight")
    assert structure.other is None
    assert all(step.kept == 0 for step in history.steps)
    assert history.steps[0].seconds is None
    assert all(step.seconds > 0 < step.own_seconds for step in history.steps[1:])
    assert {step.root for step in history.steps} == {"loss"}
    assert (history.ending, history.every, history.title) == (Ending.DONE, 1, "train.py")
    assert history.torch == torch.__version__ and history.device == "cpu"


def test_a_graph_that_changes_at_step_17_is_told_from_the_others(tmp_path: Path) -> None:
    history = history_of(tmp_path, training(30, "if step == 17: loss = loss.sqrt()"))
    usual, other = history.structures
    assert (usual.first, usual.count) == (1, 29)
    assert (other.first, other.count, other.other) == (17, 1, 16)
    assert [s.number for s in history.steps if s.structure == 1] == [17]
    assert ops(other.graph)[-1] == "SqrtBackward0"
    sqrt = other.graph.nodes[other.graph.roots[0].node]
    assert sqrt.source is not None and sqrt.source.text == "loss.sqrt()"
    linear = next(node for node in other.graph.nodes if node.name == "AddmmBackward0")
    assert other.graph.modules[linear.module].path == "net.2"
    assert other.graph.provenance.step == 17
    assert other.graph.operators["SqrtBackward0"].schema.startswith("sqrt(")


def test_another_parameter_of_the_same_shape_is_another_graph(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        x = torch.randn(2, 4)
        for step in range(1, 7):
            layer = second if step == 5 else first
            layer(x).sum().backward()
            layer.zero_grad()
        """,
    )
    usual, other = history.structures
    assert (usual.count, other.count, other.first) == (5, 1, 5)
    assert usual.leaves == ("first.bias", "first.weight")
    assert other.leaves == ("second.bias", "second.weight")


def test_a_parameter_that_is_made_anew_for_each_step_makes_no_new_graph(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        for step in range(5):
            delta = nn.Parameter(torch.randn(3))
            (delta ** 2).sum().backward()
        """,
    )
    assert [structure.count for structure in history.structures] == [5]


@pytest.mark.parametrize(
    "change", ["x = torch.randn(3, 8)", "y = y.double()", "net[1] = nn.ReLU()"]
)
def test_shapes_types_and_ops_are_part_of_a_structure(tmp_path: Path, change: str) -> None:
    body = """
        net = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        x, y = torch.randn(2, 8), torch.ones(1)
        for step in range(4):
            if step == 2:
                CHANGE
            (net(x) * y).sum().backward()
            net.zero_grad()
    """
    history = history_of(tmp_path, body.replace("CHANGE", change))
    assert [(s.first, s.count) for s in history.structures] == [(1, 2), (3, 2)]


def test_digests_are_the_same_in_every_run(tmp_path: Path) -> None:
    source = training(20, "if step == 17: loss = loss.sqrt()")
    first = history_of(tmp_path, source)
    unrelated = [nn_parameter() for _ in range(5)]
    second = history_of(tmp_path, source)
    assert [s.digest for s in first.structures] == [s.digest for s in second.structures]
    assert len(unrelated) == 5


def nn_parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(3))


def test_held_bytes_are_those_of_the_graph_without_inputs_and_buffers(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout())
        x, y = torch.randn(32, 8), torch.randint(16, (32,))
        for step in range(3):
            nn.functional.cross_entropy(net(x), y).backward()
            net.zero_grad()
        """,
    )
    (structure,) = history.structures
    assert {step.held for step in history.steps} == {held_bytes(structure.graph)}


def test_every_tenth_call_is_measured(tmp_path: Path) -> None:
    history = history_of(tmp_path, training(35), every=10)
    assert (history.calls, history.every) == (35, 10)
    assert numbers(history.steps) == [1, 11, 21, 31]
    losses = kept(tmp_path)["losses"][0]
    clipped = kept(tmp_path)["clipped"][0]
    assert [step.loss for step in history.steps] == [losses[n] for n in (0, 10, 20, 30)]
    assert [s.clipped for s in history.steps] == pytest.approx(
        [clipped[n] for n in (0, 10, 20, 30)]
    )
    (structure,) = history.structures
    assert structure.count == 4


def test_a_change_between_measured_calls_still_has_its_source(tmp_path: Path) -> None:
    history = history_of(tmp_path, training(30, "if step == 21: loss = loss.sqrt()"), every=10)
    graph = history.structures[1].graph
    assert graph.nodes[graph.roots[0].node].source.text == "loss.sqrt()"
    assert any(node.source and node.source.text == "net(x)" for node in graph.nodes)


def test_a_program_is_stopped_after_the_call_that_was_asked_for(tmp_path: Path) -> None:
    done = watched(tmp_path, training(50) + "\n    keep('end', 1)", until=5)
    assert done.failure is None
    assert done.history.ending is Ending.ENOUGH
    assert numbers(done.history.steps) == [1, 2, 3, 4, 5]
    assert done.history.steps[-1].gradient is not None
    assert not (tmp_path / "kept.pt").exists()


def test_a_program_that_swallows_the_stop_is_stopped_for_good(tmp_path: Path) -> None:
    done = watched(
        tmp_path,
        """
        w = nn.Parameter(torch.ones(3))
        for step in range(50):
            try:
                (w * 2).sum().backward()
            except:
                pass
        """,
        until=3,
    )
    assert done.history.ending is Ending.ENOUGH
    assert done.failure is None
    assert done.history.calls == len(done.history.steps) == 3


def test_each_measured_step_is_told_at_once(tmp_path: Path) -> None:
    told: list[tuple[Step, bool]] = []
    path = write(tmp_path, "train.py", "import torch\nw = torch.nn.Parameter(torch.ones(3))\n")
    done = tmp_path / "done"
    with path.open("a") as file:
        file.write("for i in range(3): (w * i).sum().backward()\n")
        file.write(f"open({str(done)!r}, 'w').close()")
    history = watch(
        parse_target(str(path)),
        Request(),
        WatchPlan(),
        lambda step: told.append((step, done.exists())),
    ).history
    assert [step for step, _ in told] == list(history.steps)
    assert not any(at_end for _, at_end in told)


def test_a_gradient_asked_for_as_a_result_has_a_loss_but_no_norm(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        w = nn.Parameter(torch.ones(3))
        loss = (w * 2).sum()
        gradient, = torch.autograd.grad(loss, w)
        """,
    )
    (step,) = history.steps
    assert (step.loss, step.gradient, step.clipped, list(step.leaves)) == (6, None, None, [ABSENT])
    assert step.root == "loss"


def test_the_loss_of_several_elements_cannot_be_told(tmp_path: Path) -> None:
    history = history_of(
        tmp_path, "w = nn.Parameter(torch.ones(3))\n(w * 2).backward(torch.ones(3))"
    )
    assert history.steps[0].loss is None
    assert history.steps[0].gradient == pytest.approx(2 * math.sqrt(3))


def test_a_penalty_on_gradients_is_two_calls_with_graphs_of_their_own(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
        optimizer = torch.optim.Adam(net.parameters())
        for step in range(3):
            x = torch.randn(4, 3, requires_grad=True)
            out = net(x).sum()
            slope, = torch.autograd.grad(out, x, create_graph=True)
            penalty = (slope.norm() - 1) ** 2
            optimizer.zero_grad()
            penalty.backward()
            optimizer.step()
            reached = [p.grad for p in net.parameters() if p.grad is not None]
            keep("norm", nn.utils.get_total_norm(reached).item())
        """,
    )
    assert [step.root for step in history.steps] == ["out", "penalty"] * 3
    assert [structure.count for structure in history.structures] == [3, 3]
    assert history.structures[1].other is None, "there is no earlier step of this root"
    penalties = history.steps[1::2]
    # The leaves of the second graph are those of the net, and x.
    leaf = history.structures[1].leaves.index("x")
    without_x = [math.sqrt(s.gradient**2 - max(s.leaves[leaf], 0) ** 2) for s in penalties]
    assert without_x == pytest.approx(kept(tmp_path)["norm"], rel=1e-5)


def test_only_what_backward_was_told_to_reach_has_a_norm(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        v, w = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        (v * w).sum().backward()
        (v * w * 2).sum().backward(inputs=[w])
        """,
    )
    assert norms(history, 2) == {"v": ABSENT, "w": pytest.approx(3 * math.sqrt(3))}


def test_a_frozen_leaf_is_none_and_an_unused_one_is_no_leaf(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        unused = nn.Linear(3, 3)
        net[0].weight.requires_grad_(False)
        net(torch.ones(2, 3)).sum().backward()
        """,
    )
    assert set(history.structures[0].leaves) == {"net.1.bias", "net.1.weight", "net.0.bias"}


def test_sparse_gradients_have_the_norm_of_what_they_stand_for(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        table = nn.Embedding(10, 4, sparse=True)
        optimizer = torch.optim.SparseAdam(table.parameters())
        for step in range(2):
            optimizer.zero_grad()
            table(torch.tensor([1, 1, 2])).sum().backward()
            keep("norm", table.weight.grad.to_dense().norm().item())
            keep("coalesced", table.weight.grad.is_coalesced())
            optimizer.step()
        """,
    )
    assert [s.gradient for s in history.steps] == pytest.approx(kept(tmp_path)["norm"])
    assert [s.clipped for s in history.steps] == pytest.approx(kept(tmp_path)["norm"])
    assert kept(tmp_path)["coalesced"] == [False, False]


@pytest.mark.parametrize(
    ("value", "dtype"), [("1e-30", "float32"), ("1e30", "float32"), ("6e4", "float16")]
)
def test_norms_neither_overflow_nor_vanish(tmp_path: Path, value: str, dtype: str) -> None:
    history = history_of(
        tmp_path,
        f"""
        w = nn.Parameter(torch.ones(4, dtype=torch.{dtype}))
        (w * torch.tensor({value}, dtype=torch.{dtype})).backward(torch.ones_like(w))
        """,
    )
    assert history.steps[0].gradient == pytest.approx(2 * float(value), rel=1e-3)


def test_a_gradient_that_is_not_finite_is_told_as_it_is(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        w, v = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
        (w.sqrt() * w + v).backward()
        """,
    )
    assert math.isnan(history.steps[0].gradient)
    assert math.isnan(norms(history)["w"])
    assert norms(history)["v"] == 1


def test_complex_gradients_have_a_norm(tmp_path: Path) -> None:
    history = history_of(
        tmp_path, "w = nn.Parameter(torch.tensor([3 + 4j]))\n(w * 2).abs().sum().backward()"
    )
    assert history.steps[0].gradient == pytest.approx(2)
    assert history.steps[0].loss == pytest.approx(10)


def test_optimizers_that_step_within_backward_are_let_alone(tmp_path: Path) -> None:
    source = """
        net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        def update(parameter):
            optimizers[parameter].step()
            optimizers[parameter].zero_grad()
        optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in net.parameters()}
        for parameter in net.parameters():
            parameter.register_post_accumulate_grad_hook(update)
        for step in range(4):
            loss = net(torch.ones(2, 3)).sum()
            loss.backward()
            keep("loss", loss.item())
    """
    history = history_of(tmp_path, source)
    assert [step.loss for step in history.steps] == kept(tmp_path)["loss"]
    assert [(s.gradient, s.clipped, s.kept) for s in history.steps] == [(None, None, 0)] * 4


def test_checkpoints_and_calls_within_backward_are_no_calls_of_their_own(tmp_path: Path) -> None:
    history = watched(
        tmp_path,
        """
        from torch.utils.checkpoint import checkpoint
        net = nn.Linear(3, 3)
        for reentrant in (False, True):
            x = torch.ones(2, 3, requires_grad=True)
            checkpoint(net, x, use_reentrant=reentrant).sum().backward()
        torch.func.grad(lambda x: (x ** 2).sum())(torch.ones(3))
        """,
    ).history
    assert history.calls == 2
    (note,) = history.notes
    assert note.startswith("1 backward call ran inside of another")


def test_calls_of_other_threads_and_of_loaders_workers_do_not_get_in_the_way(
    tmp_path: Path,
) -> None:
    history = history_of(
        tmp_path,
        """
        import threading
        net, other = nn.Linear(2, 1), nn.Linear(3, 1)
        def work():
            for _ in range(5):
                other(torch.ones(4, 3)).sum().backward()
        class Data(torch.utils.data.Dataset):
            def __len__(self):
                return 4
            def __getitem__(self, k):
                w = torch.ones(2, requires_grad=True)
                (w * k).sum().backward()
                return w.grad
        thread = threading.Thread(target=work)
        thread.start()
        for batch in torch.utils.data.DataLoader(Data(), num_workers=2):
            net(batch).sum().backward()
        thread.join()
        """,
    )
    assert history.calls == len(history.steps) == 9
    assert sorted(structure.count for structure in history.structures) == [4, 5]


def test_leaves_and_roots_inside_functions_have_their_names(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        def train(model):
            scale = torch.ones(1, requires_grad=True)
            for _ in range(2):
                error = model(torch.ones(1, 2)).sum() * scale
                error.backward()
        def main():
            train(nn.Sequential(nn.Linear(2, 2)))
        main()
        """,
    )
    assert history.structures[0].leaves == ("scale", "model.0.bias", "model.0.weight")
    assert history.steps[0].root == "error"


@pytest.mark.parametrize("every", [1, 4])
def test_a_module_that_runs_the_training_is_still_around_the_ops(
    tmp_path: Path, every: int
) -> None:
    history = history_of(
        tmp_path,
        """
        class Trainer(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(2, 2)
                self.optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            def forward(self, epoch):
                for step in range(4):
                    self.optimizer.zero_grad()
                    loss = self.net(torch.ones(1, 2)).sum()
                    if epoch == 2 and step == 0:
                        loss = loss.exp()
                    loss.backward()
                    self.optimizer.step()
        trainer = Trainer()
        for epoch in range(3):
            trainer(epoch)
        """,
        every=every,
    )
    assert [structure.first for structure in history.structures] == [1, 9]
    for structure in history.structures:
        assert structure.graph is not None
        assert [call.path for call in structure.graph.modules] == ["trainer", "trainer.net"]


def test_many_graphs_are_counted_but_only_twenty_are_kept(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        w = nn.Parameter(torch.ones(1))
        for step in range(25):
            loss = w * 2
            for _ in range(step):
                loss = loss.sin()
            loss.backward()
            w.grad = None
        """,
    )
    assert len(history.structures) == 25
    assert [s.graph is not None for s in history.structures] == [True] * 20 + [False] * 5
    assert {s.leaves for s in history.structures} == {("w",)}
    assert [s.other for s in history.structures] == [None, *range(1, 25)]


def test_a_change_is_kept_after_many_batches_of_other_lengths(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        w = nn.Parameter(torch.ones(1))
        for step in range(30):
            loss = (w * torch.ones(step + 1)).sum()
            if step == 28:
                loss = loss.exp()
            loss.backward()
            w.grad = None
        """,
    )
    kept = [s.first for s in history.structures if s.graph is not None]
    assert kept == [1, 2, 3, 4, 29]
    usual, other = history.structures[0].form, history.structures[28].form
    assert [s.form for s in history.structures] == [usual] * 28 + [other, usual]
    lines = compared(history).structures[28].difference
    assert any("ExpBackward0" in line for line in lines)


@pytest.mark.parametrize("change", ["y = y.double()", "net[1] = nn.ReLU()"])
def test_types_and_ops_are_part_of_a_form(tmp_path: Path, change: str) -> None:
    body = """
        net = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        y = torch.ones(1)
        for step in range(4):
            if step == 2:
                CHANGE
            (net(torch.ones(step + 1, 8)) * y).sum().backward()
            net.zero_grad()
    """
    forms = [s.form for s in history_of(tmp_path, body.replace("CHANGE", change)).structures]
    assert len(forms) == 4 and forms[0] == forms[1] != forms[2] == forms[3]


def test_a_model_of_another_width_is_another_graph_and_not_one_of_other_shapes(
    tmp_path: Path,
) -> None:
    history = history_of(
        tmp_path,
        """
        for width in (2, 3, 2):
            net = nn.Sequential(nn.Linear(4, width), nn.Linear(width, 1))
            for rows in (5, 6):
                net(torch.ones(rows, 4)).sum().backward()
        """,
    )
    forms = [s.form for s in history.structures]
    assert len(forms) == 4 and forms[0] == forms[1] != forms[2] == forms[3]


def test_a_program_without_a_backward_call_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoGraphError, match=r"train\.py made no backward call") as error:
        watched(tmp_path, "print(1)")
    assert error.value.hint


def test_a_failure_before_the_first_call_is_the_programs(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="raised ValueError"):
        watched(tmp_path, "raise ValueError")


def test_a_module_cannot_be_watched() -> None:
    with pytest.raises(UsageError, match="is no program") as error:
        watch(parse_target("torch.nn:Linear"), Request(), WatchPlan(), print)
    assert error.value.hint


def test_a_failure_at_step_5_keeps_what_was_measured(tmp_path: Path) -> None:
    done = watched(tmp_path, training(30, "if step == 5: raise ValueError(step)"))
    assert done.history.ending is Ending.FAILED
    assert len(done.history.steps) == 4
    assert done.history.steps[-1].clipped is not None
    assert done.failure is not None and isinstance(done.failure.__cause__, ValueError)


def test_a_call_that_torch_refuses_is_the_programs_failure(tmp_path: Path) -> None:
    done = watched(
        tmp_path,
        """
        w = nn.Parameter(torch.ones(3))
        loss = (w * w).sum()
        loss.backward()
        loss.backward()
        """,
    )
    assert done.history.ending is Ending.FAILED
    assert (done.history.calls, len(done.history.steps), done.history.notes) == (2, 1, ())


def test_the_programs_arguments_reach_it(tmp_path: Path) -> None:
    source = """
        import sys
        w = nn.Parameter(torch.ones(3))
        for _ in range(int(sys.argv[1])):
            (w * 2).sum().backward()
    """
    assert history_of(tmp_path, source, script_args=("4",)).calls == 4
