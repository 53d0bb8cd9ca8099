"""The numbers about tensors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.capture.probes.statistics import Statistics, Summary

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.complex64)
NUMBERS = st.sampled_from((-3.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf, -math.inf, math.nan))
TENSORS = st.builds(
    lambda values, dtype: torch.tensor(
        [v if dtype.is_floating_point or math.isfinite(v) else 1.0 for v in values]
    ).to(dtype),
    st.lists(NUMBERS, max_size=4),
    st.sampled_from(DTYPES),
)


def directly(tensor: torch.Tensor) -> Summary:
    """The same numbers by Python's own arithmetic, in double precision."""
    parts = torch.view_as_real(tensor).flatten() if tensor.is_complex() else tensor.flatten()
    values = [float(v) for v in parts.tolist()]
    bad = any(math.isnan(v) for v in values)
    return Summary(
        numel=tensor.numel(),
        norm=math.nan if bad else math.sqrt(sum(v * v for v in values)),
        least=math.nan if bad or not values else min(values),
        largest=math.nan if bad or not values else max(values),
        total=sum(values),
        zeros=sum(1 for v in tensor.flatten().tolist() if v == 0),
        nans=sum(map(math.isnan, values)),
        infinite=sum(map(math.isinf, values)),
    )


def assert_same(found: Summary, expected: Summary) -> None:
    for name in Summary.__dataclass_fields__:
        value = getattr(expected, name)
        precision = 1e-6 if name == "norm" else 0.0
        assert getattr(found, name) == pytest.approx(value, rel=precision, abs=0, nan_ok=True), name


@given(st.lists(TENSORS, max_size=12))
def test_tensors_of_any_type_have_the_numbers_that_python_computes(
    tensors: list[torch.Tensor],
) -> None:
    statistics = Statistics()
    assert [statistics.add(tensor) for tensor in tensors] == list(range(len(tensors)))
    for tensor, found in zip(tensors, statistics.fetch(), strict=True):
        assert_same(found, directly(tensor))


def test_a_change_in_place_after_it_was_noted_is_not_seen() -> None:
    statistics = Statistics()
    tensor = torch.ones(4)
    statistics.add(tensor)
    tensor.fill_(7)
    statistics.add(tensor)
    assert [found.total for found in statistics.fetch()] == [4.0, 28.0]


def test_views_of_every_kind_and_tensors_without_data_lie_beside_each_other() -> None:
    statistics = Statistics()
    views = [torch.arange(6.0).view(2, 3).t(), torch.ones(1).expand(3, 2), torch.ones(3, 2)]
    rows = [statistics.add(tensor) for tensor in (*views, torch.ones(3, 2, device="meta"))]
    assert rows == [0, 1, 2, None]
    assert [found.total for found in statistics.fetch()] == [15.0, 6.0, 6.0]


def test_norms_whose_squares_leave_the_range_are_right() -> None:
    statistics = Statistics()
    for number in (1e30, 1e-30):
        statistics.add(torch.full((1000,), number))
    large, small = statistics.fetch()
    assert large.norm == pytest.approx(1e30 * math.sqrt(1000))
    assert small.norm == pytest.approx(1e-30 * math.sqrt(1000))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_tensors_of_two_devices_keep_their_rows() -> None:
    statistics = Statistics()
    for number in range(6):
        statistics.add(torch.full((3,), float(number), device="cuda" if number % 2 else "cpu"))
    assert [found.total for found in statistics.fetch()] == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]
