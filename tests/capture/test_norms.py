"""Norms of gradients, and the private names of torch by which they are computed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from graphviz_cli.capture import engine
from graphviz_cli.capture.norms import Numbers, norms, number_of, total
from graphviz_cli.graph.history import ABSENT


def test_norms_are_euclidean_whatever_the_tensors_are() -> None:
    dense = torch.tensor([3.0, 4.0])
    twice = torch.sparse_coo_tensor([[1, 1]], [3.0, 5.0], (4,))
    tensors = [
        dense,
        None,
        dense.half(),
        dense.bfloat16(),
        dense.double(),
        torch.tensor([3 + 4j]).conj(),
        twice,
        torch.eye(2).to_sparse_csr(),
        torch.empty(0),
        dense.to("meta"),
        torch.tensor([1]),
    ]
    found = [5, ABSENT, 5, 5, 5, 5, 8, math.sqrt(2), 0, ABSENT, ABSENT]
    assert norms(tensors) == pytest.approx(found)
    assert not twice.is_coalesced()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e30])
def test_squares_may_leave_the_range_of_single_precision(scale: float) -> None:
    assert norms([torch.full((4,), scale)]) == [pytest.approx(2 * scale)]


def test_the_total_is_that_of_one_long_vector() -> None:
    assert total([3, ABSENT, 4]) == 5
    assert total([ABSENT]) is None
    assert total([0.0]) == 0
    assert math.isnan(total([math.nan, math.inf]) or 0)
    assert total([1, math.inf]) == math.inf


def test_the_number_of_a_tensor_is_that_of_its_only_element() -> None:
    assert number_of(torch.tensor([[2.5]], requires_grad=True)) == 2.5
    for other in (torch.ones(2), torch.tensor(1j), torch.ones((), device="meta")):
        assert number_of(other) is None


def test_numbers_are_handed_out_as_they_came() -> None:
    numbers = Numbers()
    first: list[float] = []
    second: list[float] = []
    numbers.add([torch.tensor(1.5), 2], first.extend)
    numbers.add([torch.tensor(3.5)], second.extend)
    numbers.fetch()
    numbers.fetch()
    assert (first, second) == ([1.5, 2], [3.5])


def test_versions_count_changes_in_place() -> None:
    tensor = torch.ones(2)
    before = engine.version(tensor)
    tensor.data.mul_(2)
    assert engine.version(tensor) == before
    tensor.mul_(2)
    assert engine.version(tensor) == before + 1
    torch._foreach_mul_([tensor], 2)
    assert engine.version(tensor) == before + 2


def test_no_mode_of_the_program_sees_what_is_computed_out_of_it() -> None:
    seen: list[Any] = []

    class Functions(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(function)
            return function(*args, **(kwargs or {}))

    class Dispatched(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(function)
            return function(*args, **(kwargs or {}))

    w = torch.ones(2, requires_grad=True)
    with Functions(), Dispatched():
        with engine.out_of_dispatch():
            assert not (w * 2).requires_grad
        assert not seen
        assert (w * 2).requires_grad
    assert len(seen) >= 2
