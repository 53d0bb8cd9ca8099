"""Short text for numbers, shapes and names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.drawing.format import (
    begun,
    bytes_text,
    count_text,
    counted,
    dtype_text,
    number_text,
    op_text,
    shape_text,
    shortened,
    visible,
)
from graphviz_cli.graph.model import TensorSpec
from tests.graphs import spec


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (7_300_000, "7.3 MB"),
        (594_900_000, "594.9 MB"),
        (3 * 10**12, "3.0 TB"),
    ],
)
def test_bytes_have_one_decimal_and_never_four_digits_before_it(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (9999, "9999"),
        (10_000, "10.0k"),
        (786_432, "786.4k"),
        (999_949, "999.9k"),
        (999_951, "1.00M"),
        (124_439_808, "124.44M"),
        (7_241_732_096, "7.24B"),
    ],
)
def test_counts_are_exact_below_ten_thousand(count: int, text: str) -> None:
    assert count_text(count) == text


def test_a_shape_is_written_for_a_picture_or_for_a_tree() -> None:
    assert shape_text(spec(4, 8, 16)) == "4×8×16"
    assert shape_text(spec(4, 8, 16), brackets=True) == "[4,8,16]"
    assert (shape_text(spec()), shape_text(spec(), brackets=True)) == ("scalar", "[]")
    assert shape_text(spec(2, "j1", 8)) == "2×j1×8"
    assert shape_text(TensorSpec(None, "float32", "cpu")) == "?"


def test_a_type_without_a_short_name_keeps_its_own() -> None:
    assert dtype_text(spec(dtype="bfloat16")) == "bf16"
    assert dtype_text(spec(dtype="float8_e4m3fn")) == "float8_e4m3fn"


def test_measured_values_have_three_significant_digits() -> None:
    texts = [number_text(value) for value in (33.94, 0.07162, 12.0, 0.0, 123456.0)]
    assert texts == ["33.9", "0.0716", "12", "0", "1.23e+05"]


def test_one_is_singular() -> None:
    assert [counted(n, "box", "boxes") for n in (0, 1, 50_000)] == [
        "0 boxes",
        "1 box",
        "50,000 boxes",
    ]


def test_an_op_is_called_without_its_suffix() -> None:
    names = ["AddmmBackward0", "MulBackward1", "MyFunctionBackward", "CopySlices", "Backward0"]
    assert [op_text(name) for name in names] == [
        "Addmm",
        "Mul",
        "MyFunction",
        "CopySlices",
        "Backward0",
    ]


def test_what_cannot_be_seen_becomes_its_escape() -> None:
    assert visible("a\nb\x07\u202e\ud800\uffff") == r"a\nb\x07\u202e\ud800\uffff"
    assert visible("naïve 変数 👩\u200d🔬") == "naïve 変数 👩\u200d🔬"


@given(st.text(st.characters(), max_size=20))
def test_visible_text_is_one_line_that_utf8_and_xml_can_hold(text: str) -> None:
    from xml.etree.ElementTree import fromstring
    from xml.sax.saxutils import escape

    shown = visible(text)
    assert len(f"{shown}.".splitlines()) == 1
    assert fromstring(f"<t>{escape(shown)}</t>").text == (shown or None)
    assert visible(shown) == shown


@given(st.text(max_size=40), st.integers(3, 30))
def test_shortened_text_keeps_its_ends_and_the_limit(text: str, limit: int) -> None:
    short = shortened(text, limit)
    assert len(short) <= limit
    if len(text) > limit:
        assert len(short) == limit
        assert short[0] == text[0]
        assert short[-1] == text[-1]
        assert "…" in short
    else:
        assert short == text


def test_a_sentence_that_is_too_long_loses_its_end() -> None:
    assert begun("all of it", 9) == "all of it"
    assert begun("the square root at zero", 12) == "the square…"
