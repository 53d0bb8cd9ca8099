from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graphviz_cli.capture import operators as module
from graphviz_cli.capture.operators import operators
from graphviz_cli.graph.model import Operator


def operator(name: str) -> Operator:
    return operators([name])[name]


@pytest.fixture
def torchgen_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Another torchgen, which comes without data: where its derivatives.yaml would be."""
    folder = tmp_path / "torchgen" / "packaged" / "autograd"
    folder.mkdir(parents=True)
    (tmp_path / "torchgen" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchgen", raising=False)
    module._entries.cache_clear()
    yield folder
    module._entries.cache_clear()


def test_the_count_in_a_name_tells_the_overloads_of_an_op_apart() -> None:
    assert operator("MulBackward0") == Operator(
        schema="mul.Tensor(Tensor self, Tensor other) -> Tensor",
        inputs=("self", "other"),
        outputs=("result",),
        formulas=(
            "mul_tensor_backward(grad, other, self.scalar_type())",
            "mul_tensor_backward(grad, self, other.scalar_type())",
        ),
    )
    assert operator("MulBackward1").inputs == ("self",)
    assert operator("MulBackward1").schema == "mul.Scalar(Tensor self, Scalar other) -> Tensor"
    powers = [operator(f"PowBackward{count}") for count in range(3)]
    assert [power.schema.partition("(")[0] for power in powers] == [
        "pow.Tensor_Scalar",
        "pow.Tensor_Tensor",
        "pow.Scalar",
    ]
    assert [power.inputs for power in powers] == [("self",), ("self", "exponent"), ("exponent",)]


def test_inputs_stand_in_the_order_of_the_schema_with_their_formulas() -> None:
    addmm = operator("AddmmBackward0")
    assert addmm.inputs == ("self", "mat1", "mat2")
    assert addmm.formulas[0] == "maybe_multiply(grad, beta.conj())"
    assert "mat2" in addmm.formulas[1]
    assert "mat1" in addmm.formulas[2]
    where = operator("WhereBackward0")
    assert where.inputs == ("self", "other")
    assert where.formulas == ("where(condition, grad, 0)", "where(condition, 0, grad)")


def test_inputs_without_a_derivative_have_no_edge() -> None:
    embedding = operator("EmbeddingBackward0")
    assert embedding.schema.startswith("embedding(Tensor weight, Tensor indices,")
    assert embedding.inputs == ("weight",)


def test_one_formula_may_serve_several_inputs() -> None:
    convolution = operator("ConvolutionBackward0")
    assert convolution.inputs == ("input", "weight", "bias")
    assert len(set(convolution.formulas)) == 1
    assert convolution.formulas[0].startswith("grad.defined() ? convolution_backward_symint(grad,")


def test_lists_of_tensors_are_starred() -> None:
    assert operator("CatBackward0").inputs == ("tensors*",)
    assert operator("SplitBackward0").outputs == ("result*",)


def test_only_differentiable_outputs_are_named() -> None:
    assert operator("MaxBackward0").outputs == ("values",)
    assert operator("NativeLayerNormBackward0").outputs == ("result0",)
    assert operator("LinalgSvdBackward0").outputs == ("U", "S", "Vh")
    assert operator("LinalgLuBackward0").outputs == ("L", "U")


def test_names_that_are_not_generated_are_left_out() -> None:
    names = ["AccumulateGrad", "CopySlices", "MyBackward", "MyBackward0", "AddBackward99", ""]
    assert operators([*names, "ExpBackward0"]).keys() == {"ExpBackward0"}


def test_the_answer_does_not_depend_on_what_is_asked_for_with_it() -> None:
    together = operators(["AddBackward1", "AddBackward0", "SubBackward0"])
    assert list(together) == ["AddBackward0", "AddBackward1", "SubBackward0"]
    assert together["AddBackward1"] == operator("AddBackward1")


def test_a_torch_without_its_generator_is_no_error(torchgen_folder: Path) -> None:
    assert operators(["MulBackward0"]) == {}


def test_entries_written_in_an_unknown_way_cost_only_their_own_op(torchgen_folder: Path) -> None:
    (torchgen_folder / "derivatives.yaml").write_text(
        "# comment\n"
        "- name: sin(Tensor self) -> Tensor\n  self: grad * self.cos()\n"
        "- name: sin.other(Tensor self) -> Tensor\n  self: [1, {2}]\n"
        "- name: cos(Tensor self) -> Tensor\n  self: grad * -self.sin()\n"
        "- name: tan\n  self: grad\n"
        "- name: exp(Tensor self) -> Tensor\n  self: 'unfinished\n"
    )
    found = operators(
        ["SinBackward0", "SinBackward1", "CosBackward0", "TanBackward0", "ExpBackward0"]
    )
    assert found.keys() == {"CosBackward0"}


def test_a_file_that_is_no_text_is_no_error(torchgen_folder: Path) -> None:
    (torchgen_folder / "derivatives.yaml").write_bytes(b"\xff\xfe\x00")
    assert operators(["MulBackward0"]) == {}


def test_all_operators_are_what_torchs_own_generator_says() -> None:
    expected = generated_operators()
    assert len(expected) > 600
    assert {name for name in dir(torch._C._functions) if name.endswith("0")} <= expected.keys()
    found = operators(expected)
    plain = {
        name: Operator(
            o.schema, o.inputs, tuple(output.rstrip("*") for output in o.outputs), o.formulas
        )
        for name, o in found.items()
    }
    assert plain == expected


def generated_operators() -> dict[str, Operator]:
    """From the data that torchgen writes the C++ code from."""
    from torchgen.api.autograd import NativeFunctionWithDifferentiabilityInfo as WithInfo
    from torchgen.api.autograd import gen_differentiable_outputs
    from torchgen.context import native_function_manager
    from torchgen.packaged.autograd.load_derivatives import load_derivatives

    spec = importlib.util.find_spec("torchgen")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "packaged"
    native = folder / "ATen" / "native"
    infos, _ = load_derivatives(
        str(folder / "autograd" / "derivatives.yaml"),
        str(native / "native_functions.yaml"),
        str(native / "tags.yaml"),
    )
    expected = {}
    for by_key in infos.values():
        for key, info in by_key.items():
            if info.op is None:
                continue
            with native_function_manager(info.func):
                outputs = gen_differentiable_outputs(WithInfo(info.func, {key: info}, None), key)
            formulas = {
                name: " ".join(derivative.original_formula.split())
                for derivative in info.derivatives
                for name in derivative.var_names
            }
            inputs = [a for a in info.func.func.arguments.flat_all if a.name in formulas]
            expected[info.op] = Operator(
                schema=str(info.func.func),
                inputs=tuple(
                    a.name + ("*" if a.type.is_list_like() and "Tensor" in str(a.type) else "")
                    for a in inputs
                ),
                outputs=tuple(output.name for output in outputs),
                formulas=tuple(formulas[a.name] for a in inputs),
            )
    return expected


def test_real_nodes_have_the_edges_and_outputs_of_their_operators() -> None:
    x, y, z = (torch.rand(3, 3, requires_grad=True) for _ in range(3))
    image, kernel = torch.rand(1, 2, 5, 5, requires_grad=True), torch.rand(2, 2, 3, 3)
    results = [
        x * y,
        x * 2,
        x**2,
        x**y,
        2**x,
        torch.addmm(x, y, z),
        torch.nn.functional.layer_norm(x, (3,), y[0], z[0]),
        torch.cat([x, y, z]),
        torch.where(x > y, x, y),
        x.max(1),
        torch.linalg.svd(x),
        torch.nn.functional.embedding(torch.tensor([0, 2]), x),
        torch.nn.functional.conv2d(image, kernel.requires_grad_(), x[0, :2]),
        x.split(2),
        torch.lerp(x, y, z),
        torch.nn.functional.scaled_dot_product_attention(x[None], y[None], z[None]),
    ]
    assert sum(map(checked_nodes, results)) > 30


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_nodes_of_torchs_op_database_have_the_edges_and_outputs_of_their_operators() -> None:
    pytest.importorskip("expecttest", reason="torch's op database needs expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    checked = 0
    for op in op_db:
        if torch.float32 not in op.supported_backward_dtypes("cpu") or not op.supports_autograd:
            continue
        samples = op.sample_inputs("cpu", torch.float32, requires_grad=True)
        for sample in itertools.islice(samples, 4):
            checked += checked_nodes(op.op(sample.input, *sample.args, **sample.kwargs))
    assert checked > 3_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_nodes_of_torchs_modules_have_the_edges_and_outputs_of_their_operators() -> None:
    pytest.importorskip("expecttest", reason="torch's module database needs expecttest")
    from torch.testing._internal.common_modules import module_db

    options = {"device": "cpu", "dtype": torch.float32, "requires_grad": True, "training": True}
    checked = 0
    for info in module_db:
        if info.name == "nn.FractionalMaxPool3d" or info.name == "nn.FractionalMaxPool2d":
            continue  # torch fails to build their samples
        for sample in info.module_inputs_func(info, **options):
            if sample.forward_input is None:
                continue
            made = sample.constructor_input
            module = info.module_cls(*made.args, **made.kwargs)
            given = sample.forward_input
            checked += checked_nodes(module(*given.args, **given.kwargs))
    assert checked > 5_000


def checked_nodes(result: Any) -> int:
    """Compare the nodes behind a result with what is said of them; how many there were."""
    nodes = nodes_behind(result)
    known = operators({node.name() for node in nodes})
    for node in nodes:
        if node.name() in known:
            check(node, known[node.name()])
    return sum(node.name() in known for node in nodes)


def nodes_behind(result: Any) -> list[Any]:
    leaves = torch.utils._pytree.tree_leaves(result)
    found = [leaf.grad_fn for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.grad_fn]
    seen = set(found)
    for node in found:
        fresh = [child for child, _ in node.next_functions if child and child not in seen]
        seen.update(fresh)
        found += dict.fromkeys(fresh)
    return list(dict.fromkeys(found))


def check(node: Any, operator: Operator) -> None:
    edges, single = len(node.next_functions), [i for i in operator.inputs if not i.endswith("*")]
    if len(single) == len(operator.inputs):
        assert edges == len(single), node.name()
    else:
        assert edges >= len(single), node.name()
    if not any(output.endswith("*") for output in operator.outputs):
        assert len(node._input_metadata) == len(operator.outputs), node.name()
