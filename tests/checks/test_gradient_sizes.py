"""Gradients that are zero, vanish or explode, in programs whose numbers are known beforehand."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli import registry
from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.model import Annotation, Graph
from graphviz_cli.graph.serial import dumps, loads
from tests.graphs import graphs

CHECKS = ("zero-gradient", "vanishing-gradient", "exploding-gradient")


def measured(program: str, folder: Path) -> Graph:
    """The graph of a script up to its backward call, with its gradients and values."""
    file = folder / "net.py"
    start = "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
    file.write_text(start + dedent(program).strip() + "\n")
    probes = tuple(registry.create("probes", name) for name in ("gradient", "output"))
    captured = capture(parse_target(str(file)), Request(probes=probes))
    assert captured.failure is None
    return loads(dumps(captured.graph))


def found(check: str, program: str, folder: Path) -> list[Finding]:
    return list(registry.create("checks", check).check(measured(program, folder)))


def line(finding: Finding) -> int | None:
    return finding.source.line if finding.source else None


MLP = """
def mlp(depth, activation, spread, width=64):
    layers = []
    for k in range(depth):
        layer = nn.Linear(width, width)
        spread(layer.weight)
        layers += [layer, activation()]
    return nn.Sequential(*layers, nn.Linear(width, 1))
x = torch.randn(16, 64)
"""
RNN = """
def rnn(steps, spread):
    cell, head, h = nn.RNNCell(8, 16), nn.Linear(16, 1), torch.zeros(4, 16)
    nn.init.normal_(cell.weight_hh, std=spread)
    for x in torch.randn(steps, 4, 8):
        h = cell(x, h)
    return head(h).square().mean()
"""

HEALTHY = {
    "a deep network with kaiming initialisation": MLP
    + "loss = mlp(20, nn.ReLU, nn.init.kaiming_normal_)(x).square().mean()\n",
    "the same with its loss scaled": MLP
    + "loss = mlp(20, nn.ReLU, nn.init.kaiming_normal_)(x).square().mean() * 65536\n",
    "the last output of an LSTM of 100 steps": """
        cell, head, state = nn.LSTMCell(8, 16), nn.Linear(16, 1), None
        for x in torch.randn(100, 4, 8):
            state = cell(x, state)
        loss = head(state[0]).square().mean()
    """,
    "all outputs of an RNN": """
        cell, head, h, loss = nn.RNNCell(8, 16), nn.Linear(16, 1), torch.zeros(4, 16), 0
        for x in torch.randn(60, 4, 8):
            h = cell(x, h)
            loss = loss + head(h).square().mean()
    """,
    "convolutions whose bias a normalisation takes away": """
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3),
            nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2),
        )
        loss = nn.functional.cross_entropy(net(torch.randn(4, 3, 8, 8)), torch.tensor([0, 1, 0, 1]))
    """,
    "attention, whose keys' bias has no effect": """
        block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        net = nn.TransformerEncoder(block, 4)
        loss = nn.functional.mse_loss(net(torch.randn(2, 5, 16)), torch.randn(2, 5, 16))
    """,
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.filterwarnings("ignore")
def test_a_healthy_network_has_no_findings(name: str, tmp_path: Path) -> None:
    graph = measured(dedent(HEALTHY[name]) + "loss.backward()\n", tmp_path)
    assert [f for check in CHECKS for f in registry.create("checks", check).check(graph)] == []


@pytest.mark.parametrize(
    "name", ["chain_rule", "checkpoint", "clip", "lstm", "resnet", "training_loop", "transformer"]
)
def test_a_sample_has_no_findings(name: str) -> None:
    probes = (registry.create("probes", "gradient"),)
    sample = Path(__file__).parents[2] / "samples" / f"{name}.py"
    graph = capture(parse_target(str(sample)), Request(probes=probes)).graph
    checks = ("non-finite", *CHECKS)
    assert [f for check in checks for f in registry.create("checks", check).check(graph)] == []


def test_a_dead_relu_is_named_with_the_parameters_before_it(tmp_path: Path) -> None:
    program = """
        net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        nn.init.constant_(net[0].bias, -100.0)
        loss = net(torch.ones(4, 2)).sum()
        loss.backward()
    """
    unfed, dead = found("zero-gradient", program, tmp_path)
    assert dead.severity is Severity.WARNING
    assert dead.message.startswith(
        "net.0.* (2 parameters) get a gradient that is 0 everywhere: ReluBackward0 in net.1 at "
        "net.py:6 turns what it receives (norm "
    )
    assert "dead" in dead.hint
    assert line(dead) == 6
    assert unfed.message.startswith("net.2.weight gets a gradient that is 0 everywhere: Addmm")
    assert "multiplied" in unfed.hint


def test_parameters_of_one_cause_are_one_finding_and_no_gradient_is_none(tmp_path: Path) -> None:
    program = """
        a, b, c, d, e = (nn.Parameter(torch.tensor(float(k))) for k in (1, 2, 3, 4, 5))
        y = a * b
        z = y * 0
        loss = z + c.round() + d
        loss.backward()
    """
    rounded, product = found("zero-gradient", program, tmp_path)
    assert product.message == (
        "a and b get a gradient that is 0 everywhere: MulBackward0 (z) at net.py:6 turns what it "
        "receives (norm 1) into zeros."
    )
    assert (line(product), line(rounded)) == (6, 7)
    assert rounded.message.startswith("c gets a gradient that is 0 everywhere: RoundBackward0")
    assert "straight-through" in rounded.hint


def test_a_factor_that_begins_with_zeros_and_learns_is_a_note(tmp_path: Path) -> None:
    program = """
        a, b = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)
        {first}
        loss = (b(a(torch.randn(3, 4))) - 1).square().sum()
        loss.backward()
    """
    (finding,) = found("zero-gradient", program.format(first="nn.init.zeros_(b.weight)"), tmp_path)
    assert finding.severity is Severity.NOTE
    assert finding.message.startswith("a.weight gets a gradient that is 0 everywhere: MmBackward0")
    assert "the first step ends it" in finding.hint
    first = "nn.init.zeros_(b.weight).requires_grad_(False)"
    (finding,) = found("zero-gradient", program.format(first=first), tmp_path)
    assert finding.severity is Severity.WARNING


def test_zeros_beside_what_is_not_finite_are_not_told(tmp_path: Path) -> None:
    program = """
        w, v = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))
        loss = {loss}
        loss.backward()
    """
    told = found("zero-gradient", program.format(loss="(w * 0).sum() + v.sum()"), tmp_path)
    assert len(told) == 1
    for loss in ("(w * 0).sum() + v.sqrt().sum()", "w[:0].mean() + v.sum()"):
        assert found("zero-gradient", program.format(loss=loss), tmp_path) == []


def test_leaves_that_are_no_parameters_are_called_leaves(tmp_path: Path) -> None:
    program = """
        x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        loss = (x + y).round().sum()
        loss.backward()
    """
    (finding,) = found("zero-gradient", program, tmp_path)
    assert finding.message.startswith("all 2 leaves get a gradient that is 0 everywhere: Round")


def test_a_pass_that_starts_from_zero_is_told_as_such(tmp_path: Path) -> None:
    program = """
        x = torch.ones(2, requires_grad=True)
        y = 2 * x
        y.backward(torch.zeros(2))
    """
    (finding,) = found("zero-gradient", program, tmp_path)
    assert finding.message == (
        "x gets a gradient that is 0 everywhere: the backward pass of y starts from 0."
    )


def test_gradients_that_cancel_are_told_as_such(tmp_path: Path) -> None:
    program = """
        x = torch.ones(2, requires_grad=True)
        loss = (3 * x - x * 3).sum()
        loss.backward()
    """
    (finding,) = found("zero-gradient", program, tmp_path)
    assert finding.message.endswith("what arrives at x adds up to 0.")
    assert "cancel" in finding.hint


def test_a_gradient_too_small_for_half_precision_is_told_as_such(tmp_path: Path) -> None:
    program = """
        x = torch.ones(2, dtype=torch.float16, requires_grad=True)
        loss = (x.float() * 1e-9).sum()
        loss.backward()
    """
    (finding,) = found("zero-gradient", program, tmp_path)
    assert "ToCopyBackward0" in finding.message
    assert finding.hint == "It was too small for float16 to tell it from 0 any longer."


@pytest.mark.parametrize("scale", [1.0, 65536.0])
def test_a_gradient_that_is_lost_at_one_op_names_op_and_factor(
    tmp_path: Path, scale: float
) -> None:
    program = f"""
        v, w = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
        a = v * 1e-8
        loss = {scale} * (a + w).sum()
        loss.backward()
    """
    (finding,) = found("vanishing-gradient", program, tmp_path)
    assert finding.message == (
        "v gets 1e-08 times as much gradient as w, per element; on the way to v it is multiplied "
        "by 1e-08 at MulBackward0 (MulBackward0 (a) at net.py:5)."
    )
    assert line(finding) == 5


def test_how_small_is_too_small_can_be_chosen(tmp_path: Path) -> None:
    program = """
        v, w = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
        loss = (v * 1e-4 + w).sum()
        loss.backward()
    """
    assert found("vanishing-gradient", program, tmp_path) == []
    assert len(found("vanishing-gradient:ratio=1e-3", program, tmp_path)) == 1


@pytest.mark.parametrize(
    ("program", "op"),
    [
        ("loss = mlp(20, nn.Sigmoid, nn.init.xavier_normal_)(x).square().mean()", "Sigmoid"),
        ("loss = mlp(50, nn.Tanh, lambda w: nn.init.normal_(w, std=0.05))(x).mean()", "Addmm"),
    ],
)
def test_a_deep_network_that_loses_its_gradient_names_the_kind_of_op(
    program: str, op: str, tmp_path: Path
) -> None:
    (finding,) = found("vanishing-gradient", MLP + program + "\nloss.backward()", tmp_path)
    assert f" {op}Backward0" in finding.message.partition("multiplied by")[2].partition(",")[0]
    assert "layer" in finding.message or "parameters (" in finding.message
    assert line(finding) is not None


def test_a_parameter_that_learns_from_its_last_uses_alone_is_told(tmp_path: Path) -> None:
    program = """
        w, h = nn.Parameter(torch.tensor(1.0)), 0.0
        for k in range(40):
            h = 0.2 * h + w * 3
        loss = h * 1
        loss.backward()
    """
    (finding,) = found("vanishing-gradient", program, tmp_path)
    assert finding.message.startswith("w learns from 5 of 40 uses alone")  # 1, ..., 0.2 ** 4
    assert line(finding) == 6


def test_a_recurrent_network_with_small_weights_is_told(tmp_path: Path) -> None:
    program = RNN + "loss = rnn(200, 0.05)\nloss.backward()"
    (finding,) = found("vanishing-gradient", program, tmp_path)
    assert "of 200 uses alone" in finding.message
    assert found("exploding-gradient", program, tmp_path) == []


def test_growth_is_told_with_its_factor_and_where(tmp_path: Path) -> None:
    program = """
        b = [nn.Parameter(torch.ones(())) for k in range(8)]
        h = torch.ones(())
        for k in range(8):
            y = h + b[k]
            h = y * 10
        loss = h * 1
        loss.backward()
    """
    (finding,) = found("exploding-gradient", program, tmp_path)
    # The sums receive 10, 100, ..., 1e8, and the largest of the nearest four is 1e4.
    assert "AddBackward0 (y) at net.py:7 receives 1e+04 times as much" in finding.message
    assert "multiplied by 1e+04 at 4 MulBackward0" in finding.message
    assert line(finding) == 8
    assert len(finding.nodes) == 1 + 2


@pytest.mark.parametrize(
    "program",
    [
        MLP + "loss = mlp(20, nn.ReLU, lambda w: nn.init.normal_(w, std=1.0))(x).mean()",
        MLP + "loss = mlp(20, nn.Tanh, lambda w: nn.init.normal_(w, std=1.0))(x).mean()",
        RNN + "loss = rnn(200, 1.0)",
    ],
)
def test_weights_that_are_too_large_are_told(program: str, tmp_path: Path) -> None:
    (finding,) = found("exploding-gradient", program + "\nloss.backward()", tmp_path)
    assert "AddmmBackward0" in finding.message.partition("multiplied by")[2].partition(",")[0]
    assert found("vanishing-gradient", program + "\nloss.backward()", tmp_path) == []


def test_of_what_is_not_finite_nothing_is_said_here(tmp_path: Path) -> None:
    program = """
        v, w = (nn.Parameter(torch.zeros(4)) for _ in range(2))
        loss = (v.sqrt() + w * 1e-9).sum()
        loss.backward()
    """
    assert [f for check in CHECKS for f in found(check, program, tmp_path)] == []


def test_ops_that_the_parameters_are_not_in_do_not_matter(tmp_path: Path) -> None:
    program = """
        w = nn.Parameter(torch.ones(3))
        loss = (w * 1e-9).sum() * 1e-9
        loss.backward()
    """
    assert [f for check in CHECKS for f in found(check, program, tmp_path)] == []


NUMBERS = st.sampled_from([0.0, 1.0, -2.0, 1e-9, 1e9, math.nan, math.inf, -math.inf])
FACTS = [
    f"{probe}{fact}"
    for probe in ("gradient", "output")
    for fact in ("", "-min", "-max", "-zeros", "-nan", "-inf")
]


@given(graphs(), st.data())
def test_no_numbers_make_a_check_fail(graph: Graph, data: st.DataObject) -> None:
    count = len(graph.nodes)
    annotations = [
        Annotation(
            name,
            data.draw(st.dictionaries(st.integers(0, count - 1), NUMBERS)),
            inputs=data.draw(
                st.dictionaries(
                    st.integers(0, count - 1),
                    st.lists(st.none() | NUMBERS, max_size=3).map(tuple),
                    max_size=6,
                )
            ),
        )
        for name in FACTS
    ]
    measured = graph.annotated(*annotations)
    for check in ("non-finite", *CHECKS):
        for finding in registry.create("checks", check).check(measured):
            assert set(finding.nodes) <= set(range(count))
            assert finding.message.endswith(".")
