"""Explaining ops, plug-ins and nodes of a graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphviz_cli import registry
from graphviz_cli.cli.explain import explanation
from graphviz_cli.cli.node_facts import node_facts
from graphviz_cli.errors import UsageError
from tests.graphs import mlp

PROGRAM = """\
import torch
class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x
    @staticmethod
    def backward(ctx, grad):
        return 2 * grad
a = torch.tensor(2.0, requires_grad=True)
b = torch.tensor(3.0, requires_grad=True)
z = (a + b) * Double.apply(b)
z.backward()
"""


def paragraph(text: str, label: str) -> str:
    """What stands beside a label, on one line."""
    lines = text.splitlines()
    start = next(k for k, line in enumerate(lines) if line.strip().startswith(label))
    end = start + 1
    while end < len(lines) and lines[end].startswith(" " * 14):
        end += 1
    return " ".join(" ".join(lines[start:end]).split()).removeprefix(label).strip()


def test_an_op_is_explained_with_its_schema_formulas_and_what_it_saves() -> None:
    text = explanation("AddmmBackward0")
    schema = "addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1)"
    assert paragraph(text, "forward") == f"{schema} -> Tensor"
    assert "self = maybe_multiply(grad, beta.conj())" in paragraph(text, "gradients")
    assert paragraph(text, "saves").startswith("mat1, mat2")
    assert paragraph(text, "docs").endswith("/torch.addmm.html")


def test_the_suffix_is_explained_with_all_that_are_counted_together() -> None:
    text = explanation("MulBackward1")
    assert "nothing of depth" in paragraph(text, "number")
    assert "> MulBackward1  mul.Scalar" in text and "  MulBackward0  mul.Tensor" in text


def test_ops_that_torch_writes_by_hand_are_explained_in_words() -> None:
    assert ".grad of a leaf" in " ".join(explanation("AccumulateGrad").split())
    assert explanation("torch::autograd::CopySlices").startswith("CopySlices:")


@pytest.mark.parametrize("kind", list(registry.BUILT_IN))
def test_every_plug_in_is_explained_with_its_title_and_options(kind: registry.Kind) -> None:
    for name in registry.names(kind):
        text = " ".join(explanation(name).split())
        title, _ = registry.describe(registry.plugin_type(kind, name))
        assert f"{name}: {kind.removesuffix('s')} of graphviz-cli" in text
        assert title in text


def test_a_name_that_there_is_not_gets_the_closest() -> None:
    with pytest.raises(UsageError) as raised:
        explanation("AddmBackward0")
    assert raised.value.hint is not None and "AddmmBackward0" in raised.value.hint
    with pytest.raises(UsageError) as raised:
        explanation("sgv")
    assert raised.value.hint is not None and "svg" in raised.value.hint
    with pytest.raises(UsageError) as raised:
        explanation("MyOwnBackward")
    assert raised.value.hint is not None and "--in TARGET" in raised.value.hint


def test_a_node_is_explained_with_its_shapes_edges_and_filled_in_formula() -> None:
    text = "\n".join(node_facts(mlp(), "head/AddmmBackward0"))
    assert paragraph(text, "module") == "head Linear"
    assert paragraph(text, "source").startswith("model.py:12: self.head(x)")
    assert paragraph(text, "result") == "64×10 f32"
    assert "self from head.bias 10 f32" in paragraph(text, "inputs")
    assert "mat1 from act/ReluBackward0" in paragraph(text, "inputs")
    assert paragraph(text, "used by") == "LogSoftmaxBackward0 as input 0"
    assert "grad of bias = maybe_multiply(grad, beta.conj())" in paragraph(text, "gradients")
    assert "mm_mat2_backward(grad, act/ReluBackward0," in paragraph(text, "gradients")


def test_a_module_is_explained_with_its_parameters_and_border() -> None:
    text = "\n".join(node_facts(mlp(), "fc1"))
    assert text.startswith("fc1: call of Linear")
    assert paragraph(text, "parameters") == "fc1.weight 256×784 f32 fc1.bias 256 f32"
    assert paragraph(text, "inputs") == "x 64×784 f32"
    assert paragraph(text, "results").startswith("fc1/AddmmBackward0")


def test_an_ambiguous_name_explains_the_first_and_names_the_rest() -> None:
    text = "\n".join(node_facts(mlp(), "TBackward0"))
    assert text.index("fc1/TBackward0") < text.index("head/TBackward0")


def test_a_node_that_there_is_not_gets_the_closest() -> None:
    with pytest.raises(UsageError) as raised:
        node_facts(mlp(), "fc1.weigth")
    assert raised.value.hint is not None and "fc1.weight" in raised.value.hint


def test_a_node_of_a_program_is_explained(run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(PROGRAM)
    ran = run("explain", "z", "--in", "net.py")
    text = ran.stdout.decode()
    assert ran.returncode == 0, ran.stderr
    assert "net.py:11: (a + b) * Double.apply(b)" in text
    assert "grad of z" in paragraph(text, "gradients")
    own = run("explain", "DoubleBackward", "--in", "net.py").stdout.decode()
    assert "net.py:11: Double.apply(b)" in own
    missing = run("explain", "zz", "--in", "net.py")
    assert missing.returncode == 2 and b"zz" in missing.stderr and not missing.stdout


def test_what_was_measured_is_told_of_a_node(run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(PROGRAM)
    text = run("explain", "z", "--in", "net.py", "--backward").stdout.decode()
    # z = (a + b) * 2b at a = 2, b = 3; the custom Function tells of the same
    assert "|gradient| 6" in paragraph(text, "inputs") and "gradient: 1" in text
    values = run("explain", "z", "--in", "net.py", "--probe", "gradient-values").stdout.decode()
    assert "gradient 6" in paragraph(values, "inputs")
    assert "gradient 5" in paragraph(values, "inputs")


def test_options_for_a_program_need_one(run) -> None:
    ran = run("explain", "MulBackward0", "--step", "2")
    assert ran.returncode == 2 and b"--step needs a program" in ran.stderr
    assert run("explain").returncode == 2
