from __future__ import annotations

import difflib
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.diff.alignment import Aligner

sequences = st.lists(st.integers(0, 3).map(lambda n: (n,)), max_size=12)


def longest(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> int:
    """Length of the longest common subsequence, from the textbook's table."""
    lengths = [0] * (len(second) + 1)
    for one in first:
        before = lengths[:]
        for k, other in enumerate(second):
            lengths[k + 1] = before[k] + 1 if one == other else max(lengths[k], before[k + 1])
    return lengths[-1]


@given(sequences, sequences)
def test_the_answer_is_a_longest_common_subsequence(
    old: list[tuple[int, ...]], new: list[tuple[int, ...]]
) -> None:
    pairs = Aligner().aligned(old, new)
    assert all(old[i] == new[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))
    assert len(pairs) == longest(old, new)


@given(sequences, sequences)
def test_the_answer_does_not_depend_on_which_one_is_first(
    old: list[tuple[int, ...]], new: list[tuple[int, ...]]
) -> None:
    assert Aligner().aligned(new, old) == [(j, i) for i, j in Aligner().aligned(old, new)]


def test_edits_far_apart_in_a_long_repetition_are_found_at_once() -> None:
    old = [(k % 4,) for k in range(100_000)]
    new = [*old[:20_000], (7,), *old[20_000:70_001], *old[70_003:]]
    start = time.perf_counter()
    aligner = Aligner()
    assert len(aligner.aligned(old, new)) == 99_998
    assert not aligner.gave_up
    assert time.perf_counter() - start < 2  # difflib takes hours


def test_the_search_ends_when_patience_does_and_keeps_what_is_equal_at_both_ends() -> None:
    middle = [(k * k % 7,) for k in range(500)]
    old, new = [(1,), *middle, (2,)], [(1,), *middle[::-1], (8,), (2,)]
    aligner = Aligner(patience=100)
    pairs = aligner.aligned(old, new)
    assert aligner.gave_up
    assert pairs[0] == (0, 0)
    assert pairs[-1] == (len(old) - 1, len(new) - 1)
    assert not Aligner(patience=100).gave_up


def test_never_fewer_pairs_than_difflib_finds() -> None:
    old = [(ord(c),) for c in "the quick brown fox jumps over the lazy dog"]
    new = [(ord(c),) for c in "a quiet brown dog sleeps under the lazy fox"]
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    assert len(Aligner().aligned(old, new)) >= sum(block.size for block in blocks)
