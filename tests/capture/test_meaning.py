from __future__ import annotations

import subprocess
import sys

import torch

from graphviz_cli.capture.meaning import backward_ops, close_names, documentation_of, saved_tensors
from graphviz_cli.capture.operators import family, operators, prefixes


def test_what_an_op_saves_is_what_torchs_own_class_has_places_for() -> None:
    compared = 0
    for prefix in prefixes():
        for name, operator in family(prefix).items():
            torchs = getattr(torch._C._functions, name, None)
            if torchs is None:
                continue
            places = {a.removeprefix("_raw_saved_") for a in dir(torchs) if "_raw_saved_" in a}
            assert set(saved_tensors(operator)) == places, name
            compared += 1
    assert compared > 600


def test_the_number_is_the_place_among_the_ops_that_are_counted_together() -> None:
    (power,) = backward_ops("PowBackward1")
    assert power.number == 1
    assert [name for name, _ in power.siblings] == [f"PowBackward{k}" for k in range(3)]
    x = torch.tensor(3.0, requires_grad=True)
    made = (x**2).grad_fn, (x**x).grad_fn, (2**x).grad_fn
    assert [node.name() for node in made if node is not None] == [n for n, _ in power.siblings]


def test_an_op_is_found_by_the_names_that_people_know() -> None:
    for name in ("AddmmBackward0", "AddmmBackward", "addmm", "aten::addmm", "torch.addmm"):
        assert [op.name for op in backward_ops(name)] == ["AddmmBackward0"], name
    assert [op.name for op in backward_ops("mul.Scalar")] == ["MulBackward1"]
    assert [op.name for op in backward_ops("mul")] == ["MulBackward0", "MulBackward1"]
    assert backward_ops("mul.Nothing") == backward_ops("AddmBackward0") == ()
    assert close_names("AddmBackward0")[0] in ("AddmmBackward0", "AddmvBackward0")


def test_every_op_of_the_installed_torch_is_found_by_its_name() -> None:
    for prefix in prefixes():
        for name, operator in family(prefix).items():
            (found,) = backward_ops(name)
            assert found.operator == operator == operators([name])[name]
            assert found.siblings[found.number] == (name, operator.schema)


def test_a_page_is_named_for_public_functions_only() -> None:
    pages = "https://docs.pytorch.org/docs/stable/generated/torch"
    for op, page in (
        ("mul.Tensor(", ".mul"),
        ("_softmax(", ".nn.functional.softmax"),
        ("native_layer_norm(", ".nn.functional.layer_norm"),
        ("max_pool2d_with_indices(", ".nn.functional.max_pool2d"),
        ("view(", ".Tensor.view"),
        ("_linalg_svd(", ".linalg.svd"),
        ("fft_fft(", ".fft.fft"),
    ):
        assert documentation_of(op) in ("", f"{pages}{page}.html")
    assert documentation_of("mul.Tensor(")
    assert documentation_of("_to_copy(") == ""


def test_a_page_is_that_of_a_function_which_there_is() -> None:
    for prefix in prefixes():
        for operator in family(prefix).values():
            page = documentation_of(operator.schema)
            value = torch
            for part in page.rpartition("/")[2].removesuffix(".html").split(".")[1:]:
                value = getattr(value, part)
            assert not page or callable(value), page


def test_torch_is_not_imported_to_explain_an_op() -> None:
    program = (
        "import sys; from graphviz_cli.cli.explain import explanation; "
        "assert 'addmm' in explanation('AddmmBackward0'); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout.split() == [b"False"]
