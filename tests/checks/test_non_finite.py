"""NaN and infinities planted at many places, each in a program that is run, and traced back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from graphviz_cli import registry
from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.graph.finding import FINDINGS, Finding, marked
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.serial import dumps, loads
from graphviz_cli.transforms.repeats import Repeats

from .planted import PLANTED


def measured(program: str, folder: Path, step: int = 1) -> Graph:
    """Run a script up to its backward call, with the probes that the check needs."""
    file = folder / "planted.py"
    file.write_text("import torch\n" + dedent(program).strip() + "\n")
    needs = registry.plugin_type("checks", "non-finite").needs  # type: ignore[attr-defined]
    probes = tuple(registry.create("probes", name) for name in needs)
    captured = capture(parse_target(str(file)), Request(probes=probes, seed=0, step=step))
    return captured.graph


def found(graph: Graph) -> list[Finding]:
    return list(registry.create("checks", "non-finite").check(graph))


HARMLESS = {
    "scores that are masked before a softmax": """
        scores = torch.randn(3, 3, requires_grad=True)
        mask = torch.ones(3, 3, dtype=torch.bool).triu(1)
        loss = scores.masked_fill(mask, float("-inf")).softmax(-1).square().sum()
    """,
    "a mask that is added": """
        scores = torch.randn(3, 3, requires_grad=True)
        mask = torch.full((3, 3), float("-inf")).triu(1)
        loss = torch.logsumexp(scores + mask, -1).sum()
    """,
    "the largest of what is padded with -inf": """
        x = torch.randn(3, 4, requires_grad=True)
        loss = torch.nn.functional.pad(x, (0, 2), value=float("-inf")).amax(-1).sum()
    """,
    "a logarithm whose input is made safe": """
        x = torch.tensor([0.0, 2.0], requires_grad=True)
        loss = torch.where(x > 0, torch.where(x > 0, x, 1.0).log(), 0.0).sum()
    """,
    "what has a slope at 0 that torch chose": """
        x = torch.zeros(3, 2, requires_grad=True)
        loss = x.norm() + x.std() + torch.atan2(x[:, 0], x[:, 1]).sum() + x.abs().sum()
    """,
    "a NaN that does not go on into the root": """
        x = torch.zeros(3, requires_grad=True)
        ratio = x / x
        loss = (x + 1).sum()
    """,
    "a NaN that is not chosen": """
        x = torch.zeros(3, requires_grad=True)
        y = torch.full((3,), float("nan"))
        loss = torch.where(x == 0, x + 1, y).sum()
    """,
    "tensors without elements": """
        x = torch.ones(3, requires_grad=True)
        loss = x.sum() + (2 * x[:0]).sum()
    """,
    "numbers whose squares are too large": """
        x = torch.full((3,), 1e200, dtype=torch.float64, requires_grad=True)
        loss = (x * 2 * 1e-100).sum() * 1e200
    """,
    "a gradient that a hook repairs": """
        x = torch.tensor([0.0, 4.0], requires_grad=True)
        y = x * 1
        y.register_hook(torch.nan_to_num)
        loss = (y.sqrt() * torch.tensor([0.0, 1.0])).sum()
    """,
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_planted_is_traced_to_its_op_and_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planted = PLANTED[name]
    graph = measured(planted.program, tmp_path, planted.step)
    (finding,) = found(graph)
    assert graph.nodes.names[finding.nodes[0]] == planted.op
    lines = (tmp_path / "planted.py").read_text().splitlines()
    (line,) = (place for place, text in enumerate(lines, 1) if text.endswith("# here"))
    assert finding.source is not None
    assert finding.source.line == line
    for words in planted.says:
        assert words in finding.message
    assert planted.hint in finding.hint
    assert bool(planted.hint) <= bool(finding.hint)
    assert found(loads(dumps(graph))) == [finding]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_harms_nobody_is_not_told(name: str, tmp_path: Path) -> None:
    graph = measured(dedent(HARMLESS[name]) + "loss.backward()\n", tmp_path)
    assert found(graph) == []


def test_places_of_one_line_are_one_finding(tmp_path: Path) -> None:
    program = """
        from torch import nn
        class Root(nn.Module):
            def forward(self, x):
                return x.sqrt()
        roots = nn.ModuleList(Root() for _ in range(5))
        x = torch.zeros(2, requires_grad=True)
        loss = sum(root(x).sum() for root in roots)
        loss.backward()
    """
    (finding,) = found(measured(program, tmp_path))
    assert "SqrtBackward0 in roots.4 turns" in finding.message
    assert finding.message.endswith(
        ", and so do 4 ops more of this line, in roots.3, roots.2, roots.1 and 1 more."
    )
    assert len(finding.nodes) == 5


def test_of_many_places_the_first_three_are_told_in_the_order_of_the_engine(tmp_path: Path) -> None:
    program = """
        x = torch.zeros(2, requires_grad=True)
        a = x.sqrt()
        b = x.sqrt()
        c = x.sqrt()
        d = x.sqrt()
        e = x.sqrt()
        loss = (a + b + c + d + e).sum()
        loss.backward()
    """
    findings = found(measured(program, tmp_path))
    assert [finding.source and finding.source.line for finding in findings] == [7, 6, 5]
    assert findings[0].message.endswith("; 2 other places do the like.")


def test_the_first_op_of_the_forward_pass_is_told_first(tmp_path: Path) -> None:
    program = """
        x = torch.zeros(2, requires_grad=True)
        a = (x - 1).sqrt()
        b = x / x
        loss = (b + a).sum()
        loss.backward()
    """
    first, second = found(measured(program, tmp_path))
    assert first.message.startswith("loss is NaN: SqrtBackward0 (a) makes NaN")
    assert second.message.startswith("DivBackward0 (b) makes NaN")


def test_a_gradient_alone_tells_the_op_too(tmp_path: Path) -> None:
    graph = measured(PLANTED["the square root at zero"].program, tmp_path)
    gradients = {name: a for name, a in graph.annotations.items() if name.startswith("gradient")}
    (finding,) = found(replace(graph, annotations=gradients))
    assert finding.message.endswith("grad self = grad / (2 * result) (grad: 1).")


def test_the_block_is_marked_where_equal_ones_are_drawn_once(tmp_path: Path) -> None:
    graph = measured(PLANTED["inside a block that is repeated"].program, tmp_path)
    drawn = Repeats().apply(marked(graph, found(graph)))
    assert any(call.repeats == 6 for call in drawn.modules)
    (node,) = drawn.annotations[FINDINGS].values
    assert drawn.nodes.names[node] == "SqrtBackward0"


def test_a_graph_that_was_not_measured_has_no_findings(tmp_path: Path) -> None:
    graph = measured(PLANTED["the square root at zero"].program, tmp_path)
    assert found(replace(graph, annotations={})) == []
