"""Watching a program: gradients that nothing clears, and what optimizers make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .watched import counts_of_kept, history_of, kept, norms

LOOP = """
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.OPTIMIZER(net.parameters(), lr=0.01)
    x = torch.randn(16, 4)
    for step in range(1, 9):
        BEFORE
        loss = net(x).pow(2).mean()
        loss.backward()
        AFTER
"""
STEP = "optimizer.step()"


def loop(before: str = "pass", after: str = STEP, optimizer: str = "SGD") -> str:
    source = LOOP.replace("BEFORE", before).replace("AFTER", after)
    return source.replace("OPTIMIZER", optimizer)


def test_gradients_that_nothing_clears_are_counted_from_the_second_step_on(tmp_path: Path) -> None:
    assert counts_of_kept(history_of(tmp_path, loop())) == [0] + [4] * 7


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "RMSprop"])
def test_any_optimizer_will_do(tmp_path: Path, optimizer: str) -> None:
    assert counts_of_kept(history_of(tmp_path, loop(optimizer=optimizer))) == [0] + [4] * 7


def test_they_are_seen_through_clipping_as_well(tmp_path: Path) -> None:
    after = f"nn.utils.clip_grad_norm_(net.parameters(), 1e-3); {STEP}"
    assert counts_of_kept(history_of(tmp_path, loop(after=after))) == [0] + [4] * 7


@pytest.mark.parametrize(
    "clear",
    [
        "optimizer.zero_grad()",
        "optimizer.zero_grad(set_to_none=False)",
        "net.zero_grad()",
        "[p.grad.zero_() for p in net.parameters() if p.grad is not None]",
        "[p.grad.data.zero_() for p in net.parameters() if p.grad is not None]",
        "[p.grad.mul_(0) for p in net.parameters() if p.grad is not None]",
        "[setattr(p, 'grad', None) for p in net.parameters()]",
        "[setattr(p, 'grad', torch.zeros_like(p)) for p in net.parameters()]",
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_cleared_gradients_are_none(tmp_path: Path, clear: str, first: bool) -> None:
    source = loop(before=clear) if first else loop(after=f"{STEP}; {clear}")
    assert counts_of_kept(history_of(tmp_path, source)) == [0] * 8


def test_adding_up_four_calls_before_a_step_is_no_mistake(tmp_path: Path) -> None:
    after = f"if step % 4 == 0: {STEP}; optimizer.zero_grad()"
    history = history_of(tmp_path, loop(after=after))
    assert counts_of_kept(history) == [0] * 8
    assert [step.clipped is not None for step in history.steps] == [False, False, False, True] * 2


def test_adding_up_four_calls_and_never_clearing_is_one(tmp_path: Path) -> None:
    after = f"if step % 4 == 0: {STEP}"
    assert counts_of_kept(history_of(tmp_path, loop(after=after))) == [0] * 4 + [4] * 4


def test_only_the_leaves_that_were_not_cleared_are_counted(tmp_path: Path) -> None:
    source = loop(before="net[0].zero_grad()")
    assert counts_of_kept(history_of(tmp_path, source)) == [0] + [2] * 7


def test_they_are_counted_where_only_some_calls_are_measured(tmp_path: Path) -> None:
    assert counts_of_kept(history_of(tmp_path, loop(), every=3)) == [0, 4, 4]
    cleared = loop(before="optimizer.zero_grad()")
    assert counts_of_kept(history_of(tmp_path, cleared, every=3)) == [0, 0, 0]


def test_without_an_optimizer_a_changed_parameter_tells(tmp_path: Path) -> None:
    after = """
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad
                CLEAR
    """
    never = counts_of_kept(history_of(tmp_path, loop(after=after.replace("CLEAR", "pass"))))
    # Whether the last one would have been cleared, nobody knows.
    assert never == [0] + [4] * 6 + [0]
    for clear in ("p.grad = None", "p.grad.zero_()", "p.grad.data.zero_()"):
        cleared = loop(after=after.replace("CLEAR", clear))
        assert counts_of_kept(history_of(tmp_path, cleared)) == [0] * 8


def test_adding_up_without_an_optimizer_or_a_change_is_no_mistake(tmp_path: Path) -> None:
    assert counts_of_kept(history_of(tmp_path, loop(after="pass"))) == [0] * 8


GAN = """
    maker, judge = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    maker_optimizer = torch.optim.Adam(maker.parameters())
    judge_optimizer = torch.optim.Adam(judge.parameters())
    for step in range(4):
        fake = maker(torch.randn(8, 2))
        judge_optimizer.zero_grad()
        judge_loss = judge(fake.detach()).mean() - judge(torch.randn(8, 3)).mean()
        judge_loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 0.01)
        keep("judge", nn.utils.get_total_norm([p.grad for p in judge.parameters()]).item())
        judge_optimizer.step()
        maker_optimizer.zero_grad()
        maker_loss = -judge(fake).mean()
        maker_loss.backward()
        maker_optimizer.step()
"""


def test_what_a_generator_leaves_in_the_discriminator_is_no_mistake(tmp_path: Path) -> None:
    history = history_of(tmp_path, GAN)
    assert [step.root for step in history.steps] == ["judge_loss", "maker_loss"] * 4
    assert counts_of_kept(history) == [0] * 8
    assert history.roots == ("judge_loss", "maker_loss")


def test_each_of_two_optimizers_tells_of_the_clipping_of_its_own_call(tmp_path: Path) -> None:
    history = history_of(tmp_path, GAN)
    judged, made = history.steps[::2], history.steps[1::2]
    assert [step.clipped for step in judged] == pytest.approx(kept(tmp_path)["judge"], rel=1e-6)
    assert all(step.clipped < step.gradient for step in judged)
    assert [step.clipped for step in made] == [step.gradient for step in made]


def test_two_optimizers_of_one_graph_are_told_of_together(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in net]
        for step in range(2):
            net.zero_grad()
            net(torch.ones(4, 2)).sum().backward()
            for part, optimizer in zip(net, optimizers):
                nn.utils.clip_grad_value_(part.parameters(), 0.5)
                optimizer.step()
            keep("norm", nn.utils.get_total_norm([p.grad for p in net.parameters()]).item())
        """,
    )
    assert [step.clipped for step in history.steps] == pytest.approx(kept(tmp_path)["norm"])


def test_clipping_through_data_is_seen(tmp_path: Path) -> None:
    after = f"[p.grad.data.clamp_(-1e-3, 1e-3) for p in net.parameters()]; {STEP}"
    history = history_of(tmp_path, loop(before="optimizer.zero_grad()", after=after))
    assert all(step.clipped < step.gradient for step in history.steps)


def test_a_closure_makes_calls_within_a_step(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        w = nn.Parameter(torch.tensor([3.0, -2.0]))
        optimizer = torch.optim.LBFGS([w], max_iter=3)
        def closure():
            optimizer.zero_grad()
            loss = (w ** 2).sum()
            loss.backward()
            keep("norm", w.grad.norm().item())
            return loss
        for step in range(2):
            optimizer.step(closure)
        """,
    )
    assert [step.gradient for step in history.steps] == pytest.approx(kept(tmp_path)["norm"])
    assert set(counts_of_kept(history)) == {0}
    graph = history.structures[0].graph
    assert any(node.source and node.source.text == "w ** 2" for node in graph.nodes)


def test_a_sharpness_aware_step_is_no_mistake(tmp_path: Path) -> None:
    before = """optimizer.zero_grad()
        net(x).pow(2).mean().backward()
        with torch.no_grad():
            pushes = [0.1 * p.grad for p in net.parameters()]
            for p, push in zip(net.parameters(), pushes): p += push
        optimizer.zero_grad()"""
    after = f"""with torch.no_grad():
            for p, push in zip(net.parameters(), pushes): p -= push
        {STEP}"""
    history = history_of(tmp_path, loop(before=before, after=after))
    assert set(counts_of_kept(history)) == {0}
    assert len(history.steps) == 16


def test_a_leaf_that_gets_no_gradient_is_absent(tmp_path: Path) -> None:
    history = history_of(
        tmp_path,
        """
        class Half(torch.autograd.Function):
            @staticmethod
            def forward(ctx, v, w):
                return v * 2
            @staticmethod
            def backward(ctx, gradient):
                return gradient * 2, None
        v, w = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
        Half.apply(v, w).sum().backward()
        """,
    )
    assert norms(history) == {"v": 4.0, "w": -1.0}
