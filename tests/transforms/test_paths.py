"""Patterns for module paths, and the path that stands for several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.graph.model import ModuleCall
from graphviz_cli.transforms.paths import are_numbered, matching_calls, merged_path

PATHS = ("", "emb", "h.0", "h.0.attn", "h.5.attn", "h.12.attn", "h.0..11.mlp", "head")


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("emb", {"emb"}),
        ("h.0", {"h.0"}),
        ("h.*", {"h.0", "h.0.attn", "h.5.attn", "h.12.attn", "h.0..11.mlp"}),
        ("*attn", {"h.0.attn", "h.5.attn", "h.12.attn"}),
        ("h.?.attn", {"h.0.attn", "h.5.attn"}),
        ("h.[05].attn", {"h.0.attn", "h.5.attn"}),
        ("h.[!0].attn", {"h.5.attn"}),
        ("h.0..11.attn", {"h.0.attn", "h.5.attn"}),
        ("h.4..20.*", {"h.5.attn", "h.12.attn", "h.0..11.mlp"}),
        ("h.0..11.mlp", {"h.0..11.mlp"}),
        ("h.7.mlp", {"h.0..11.mlp"}),
        ("h.12.mlp", set()),
        ("emb|head", {"emb", "head"}),
        ("", {""}),
        ("*", set(PATHS)),
        ("e.b", set()),
        ("h(0)", set()),
        ("[", set()),
    ],
)
def test_a_pattern_matches(pattern: str, matching: set[str]) -> None:
    calls = [ModuleCall(path, "M", None) for path in PATHS]
    assert {PATHS[index] for index in matching_calls(calls, pattern)} == matching


def test_the_variable_of_a_script_may_be_left_out() -> None:
    calls = [ModuleCall("net", "Net", None), ModuleCall("net.fc", "Linear", 0)]
    assert matching_calls(calls, "fc") == {1}
    assert matching_calls(calls, "net.fc") == {1}
    assert matching_calls(calls, "net") == {0}


@pytest.mark.parametrize("text", ["[]", "[!]", "a[z-a]", "h.3..1"])
def test_brackets_and_ranges_that_mean_nothing_stand_for_themselves(text: str) -> None:
    calls = [ModuleCall(path, "M", None) for path in (text, "z", "a")]
    assert matching_calls(calls, text) == {0}


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_can_be_a_pattern(pattern: str, path: str) -> None:
    matching_calls([ModuleCall(path, "M", None)], pattern)


@given(st.text(alphabet="ab.0123456789 (){}+^$\\", max_size=20))
def test_a_path_without_special_characters_matches_itself(path: str) -> None:
    assert matching_calls([ModuleCall(path, "M", None)], path) == {0}


@pytest.mark.parametrize(
    ("paths", "merged"),
    [
        (["h.0", "h.1", "h.2"], "h.0..2"),
        (["h.0.attn.w", "h.1.attn.w"], "h.0..1.attn.w"),
        (["layer1", "layer2"], "layer1..2"),
        (["net.0", "net.2", "net.4"], "net.0,2,4"),
        (["net.0", "net.2", "net.4", "net.6"], "net.0,2..6"),
        (["h.0", "h.1", "h.3"], "h.0..1,3"),
        (["h.0", "h.3", "h.4", "h.9", "h.11"], "h.0..11"),
        (["cell", "cell"], "cell"),
        (["a.0..3.b.0", "a.0..3.b.1"], "a.0..3.b.0..1"),
        (["h.0..3", "h.4..7"], "h.0..7"),
        (["encoder", "decoder"], "encoder..decoder"),
        (["a.b", "c"], "a.b..c"),
        (["q.w", "k.w", "v.w"], "q..v.w"),
    ],
)
def test_one_path_stands_for_several(paths: list[str], merged: str) -> None:
    assert merged_path(paths) == merged


@pytest.mark.parametrize(
    ("first", "second", "numbered"),
    [
        ("h.0", "h.1", True),
        ("cell", "cell", True),
        ("layer1.block", "layer2.block", True),
        ("query", "key", False),
        ("h.0", "h.0.attn", False),
        ("a.0.b.0", "a.1.b.1", False),
        ("fc1", "conv2", False),
    ],
)
def test_paths_are_numbered(first: str, second: str, numbered: bool) -> None:
    assert are_numbered(first, second) is numbered
