"""Repetitions in sequences of tokens, against a search that tries everything."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.transforms.tandem import repetitions


def every_repetition(tokens: list[int]) -> set[tuple[int, int, int]]:
    """All maximal stretches of at least two periods."""
    found = set()
    for period in range(1, len(tokens) // 2 + 1):
        start = None
        for place in range(len(tokens) - period + 1):
            is_equal = place + period < len(tokens) and tokens[place] == tokens[place + period]
            if is_equal and start is None:
                start = place
            elif not is_equal and start is not None:
                length = place - start + period
                if length >= 2 * period:
                    found.add((start, length, period))
                start = None
    return found


@given(st.lists(st.integers(0, 2), max_size=40))
def test_what_is_found_repeats_and_cannot_be_made_longer(tokens: list[int]) -> None:
    assert {tuple(stretch) for stretch in repetitions(tokens)} <= every_repetition(tokens)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=8, unique=True),
    st.integers(2, 20),
    st.lists(st.integers(10, 12), max_size=6),
    st.lists(st.integers(10, 12), max_size=6),
)
def test_a_loop_is_found_among_other_things(
    body: list[int], repeats: int, before: list[int], after: list[int]
) -> None:
    tokens = [*before, *body * repeats, *after]
    found = {tuple(stretch) for stretch in repetitions(tokens)}
    assert (len(before), len(body) * repeats, len(body)) in found


@given(st.lists(st.integers(0, 1), min_size=1, max_size=8), st.integers(4, 20))
def test_a_loop_whose_body_repeats_itself_is_found(body: list[int], repeats: int) -> None:
    tokens = [2, *body * repeats, 3]
    stretches = repetitions(tokens)
    assert any(s.length == len(body) * repeats and len(body) % s.period == 0 for s in stretches), (
        stretches
    )


def test_a_loop_within_a_loop_is_found_besides_the_outer_one() -> None:
    tokens = ([0] * 30 + [1, 2]) * 10
    found = {tuple(stretch) for stretch in repetitions(tokens)}
    assert (0, 320, 32) in found
    assert (0, 30, 1) in found


def test_long_sequences_take_no_longer_than_a_few_passes() -> None:
    rows = random.Random(0)
    unlike = [rows.randrange(4) for _ in range(50_000)]
    start = time.process_time()
    assert [tuple(s) for s in repetitions([7] * 300_000)] == [(0, 300_000, 1)]
    assert [tuple(s) for s in repetitions([1, 2, 3, 4] * 75_000)] == [(0, 300_000, 4)]
    assert repetitions(range(300_000)) == []
    assert all(stretch.length < 100 for stretch in repetitions(unlike))
    assert time.process_time() - start < 5
