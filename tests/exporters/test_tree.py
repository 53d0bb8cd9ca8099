"""The text trees say what a graph is, a line for each node, and never more than they may."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.drawing.style import Arrangement, Style
from graphviz_cli.errors import UsageError
from graphviz_cli.exporters.labels import Labels
from graphviz_cli.exporters.meetings import WayTree
from graphviz_cli.exporters.notes import Notes
from graphviz_cli.exporters.outline import outline
from graphviz_cli.exporters.spine import spine
from graphviz_cli.exporters.table import ASCII, UNICODE, display_width
from graphviz_cli.exporters.totals import totals
from graphviz_cli.exporters.tree import Tree
from graphviz_cli.graph.model import (
    NONE,
    Annotation,
    Combine,
    Edge,
    EdgeTable,
    Graph,
    Node,
    NodeKind,
    NodeTable,
    Provenance,
    Role,
    Root,
    SavedState,
    SavedTable,
    SavedTensor,
    SourceLocation,
    Storage,
)
from graphviz_cli.graph.operations import quotient
from graphviz_cli.graph.traversal import Adjacency
from tests.graphs import (
    ADDMM,
    Builder,
    chain,
    cut,
    folded,
    graphs,
    hostile,
    linear,
    mlp,
    spec,
    square,
    tied,
    transformer_block,
    unreached,
    unrolled,
    views,
)

OPS = Style(arrangement=Arrangement.OPS)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def text(graph: Graph, style: Style = Style()) -> str:  # noqa: B008 - frozen
    return Tree().export(graph, style).decode()


def line(graph: Graph, name: str, style: Style = Style()) -> str:  # noqa: B008 - frozen
    """The only line that holds a name, its columns parted by single blanks."""
    (found,) = (row for row in text(graph, style).splitlines() if name in row)
    return " ".join(found.replace("│", "").split()).removeprefix("├── ").removeprefix("└── ")


def test_the_outline_shows_modules_leaves_ops_and_the_root() -> None:
    assert text(mlp()) == (
        """\
MLP · 12 nodes, 11 edges · 203.5k params · 1.2 MB saved for backward
                                shape       dtype   params     saved
├── ▷ x                         [64,784]    f32                       leaf input
├── fc1 Linear                  [64,256]    f32     201.0k    1.0 MB  2 ops
│   ├── ● weight                [256,784]   f32     200.7k            leaf
│   ├── ● bias                  [256]       f32        256            leaf
│   ├── TBackward0              [784,256]   f32                       ← weight
│   └── AddmmBackward0          [64,256]    f32               1.0 MB  ← bias, x, ↑
├── act ReLU                    [64,256]    f32              65.5 kB  1 op
│   └── ReluBackward0           [64,256]    f32              65.5 kB  ← fc1/AddmmBackward0
├── head Linear                 [64,10]     f32       2570   75.8 kB  2 ops
│   ├── ● weight                [10,256]    f32       2560            leaf
│   ├── ● bias                  [10]        f32         10            leaf
│   ├── TBackward0              [256,10]    f32                       ← weight
│   └── AddmmBackward0          [64,10]     f32              75.8 kB  ← bias, act/ReluBackward0, ↑
├── LogSoftmaxBackward0         [64,10]     f32               2.6 kB
└── ★ loss = NllLossBackward0   []          f32               2.8 kB  root
● leaf parameter  ▷ leaf input  ★ root  ↑ previous line  ← inputs
"""
    )


def test_the_spine_begins_at_the_root_and_keeps_the_indent_of_a_chain() -> None:
    assert text(transformer_block(), OPS) == (
        """\
Transformer · 34 nodes, 37 edges · 3280 params · 45.6 kB saved for backward
                                shape        dtype     saved
★ loss = MeanBackward0          []           f32              root
AddBackward0.1                  [4,8,16]     f32              @h.0
├─ AddmmBackward0               [32,16]      f32     12.3 kB  ● bias [16]  @h.0.mlp.fc2
│  ├─ TBackward0                [64,16]      f32              ● weight [16,64]  @h.0.mlp.fc2
│  GeluBackward0                [4,8,64]     f32      8.2 kB  @h.0.mlp
│  AddmmBackward0               [32,64]      f32      6.1 kB  ● bias [64]  @h.0.mlp.fc1
│  ├─ TBackward0                [16,64]      f32              ● weight [64,16]  @h.0.mlp.fc1
│  NativeLayerNormBackward0     [4,8,16]     f32      2.3 kB  ● weight [16], ● bias [16]  @h.0.ln2
AddBackward0                    [4,8,16]     f32              ▷ x [4,8,16]  @h.0
AddmmBackward0                  [32,16]      f32      3.1 kB  ● bias [16]  @h.0.attn.proj
├─ TBackward0                   [16,16]      f32              ● weight [16,16]  @h.0.attn.proj
BmmBackward0.1                  [4,8,16]     f32      3.1 kB  @h.0.attn
├─ SoftmaxBackward0             [4,8,8]      f32      1.0 kB  @h.0.attn
│  MaskedFillBackward0          [4,8,8]      f32        64 B  @h.0.attn
│  DivBackward0                 [4,8,8]      f32              @h.0.attn
│  BmmBackward0                 [4,8,8]      f32      2.0 kB  @h.0.attn
│  ├─ TransposeBackward0        [4,16,8]     f32              @h.0.attn
SplitBackward0                  [4,8,16] ×3  f32              @h.0.attn
AddmmBackward0                  [32,48]      f32      5.1 kB  ● bias [48]  @h.0.attn.qkv
├─ TBackward0                   [16,48]      f32              ● weight [48,16]  @h.0.attn.qkv
NativeLayerNormBackward0        [4,8,16]     f32      2.3 kB  ▷ x [4,8,16], ● weight [16], ● bias [16]  @h.0.ln1
● leaf parameter  ▷ leaf input  ★ root
"""  # noqa: E501 - the tree as it is
    )


def test_ascii_keeps_to_ascii_and_to_the_same_lines() -> None:
    lines = text(mlp(), Style(ascii=True)).splitlines()
    assert lines[3] == "|-- fc1 Linear                  [64,256]    f32     201.0k    1.0 MB  2 ops"
    assert lines[-1] == "* leaf parameter  > leaf input  ! root  ^ previous line  <- inputs"
    assert len(lines) == len(text(mlp()).splitlines())


def script() -> Graph:
    """h = w * x + b and a line after it, as a script's own code."""
    b = Builder()

    def at(number: int, expression: str) -> SourceLocation:
        return SourceLocation("linear.py", number, 1, number, 9, "", expression)

    w, x, bias = (b.leaf(name, 3, role=Role.INPUT) for name in ("w", "x", "b"))
    product = b.op("MulBackward0", (3,), w, x, source=at(5, "w * x"), saves={"self": (3,)})
    h = b.op("AddBackward0", (3,), product, bias, names=("h",), source=at(5, "w * x + b"))
    y = b.op("ReluBackward0", (3,), h, names=("y",), source=at(6, "h.relu()"))
    z = b.op("MulBackward0", (3,), y, h, names=("z", "same"), source=at(7, "y * h"))
    return b.build(b.op("SumBackward0", (), z, source=at(8, "z.sum()")), title="linear.py")


def test_a_script_shows_its_own_variables_and_lines() -> None:
    assert text(script()) == (
        """\
linear.py · 8 nodes, 8 edges · 12 B saved for backward
                                shape       dtype     saved  linear.py
├── ▷ w                         [3]         f32                            leaf input
├── ▷ x                         [3]         f32                            leaf input
├── ▷ b                         [3]         f32                            leaf input
├── MulBackward0                [3]         f32        12 B  5: w * x      ← w, x
├── h = AddBackward0            [3]         f32              5: w * x + b  ← ↑, b
├── y = ReluBackward0           [3]         f32              6: h.relu()
├── z, same = MulBackward0.1    [3]         f32              7: y * h      ← ↑, h
└── ★ loss = SumBackward0       []          f32              8: z.sum()    root
▷ leaf input  ★ root  ↑ previous line  ← inputs
"""
    )


def test_a_variable_that_was_assigned_twice_stands_for_no_op_alone() -> None:
    b = Builder()
    x = b.leaf("x", 3, role=Role.INPUT)
    first = b.op("SinBackward0", (3,), x, names=("y",))
    second = b.op("CosBackward0", (3,), first, names=("y",))
    third = b.op("ExpBackward0", (3,), second, names=("x",))
    graph = b.build(b.op("AddBackward0", (3,), first, third, x))
    assert line(graph, "AddBackward0").endswith("← SinBackward0, ↑, x")


def test_files_stand_before_the_lines_where_there_are_several() -> None:
    b = Builder()
    x = b.leaf("x", 3, role=Role.INPUT)
    y = b.op("SinBackward0", (3,), x, source=SourceLocation("a.py", 3, text="x.sin()"))
    graph = b.build(b.op("CosBackward0", (3,), y, source=SourceLocation("b.py", 4)))
    assert "a.py:3: x.sin()" in line(graph, "SinBackward0")
    assert "b.py:4" in line(graph, "CosBackward0")


def test_leaves_without_a_gradient_are_marked() -> None:
    assert line(unreached(), "head Linear") == "head Linear 36 0 ops"
    assert line(unreached(), "✗ weight") == "✗ weight [8,4] f32 32 no gradient"
    assert line(unreached(), "stem.weight") == "○ stem.weight [3,8] f32 24 frozen"
    assert line(unreached(), "○ scale") == "○ scale [8] f32 buffer, no gradient"
    assert "✗ gets no gradient" in text(unreached()).splitlines()[-1]


def test_a_module_whose_parameters_are_all_frozen_stands_where_it_was_called() -> None:
    b = Builder()
    top = b.module("", "Net")
    x = b.leaf("x", 2, 4, role=Role.INPUT)
    x = linear(b, "a", x, (2, 4, 4), top)
    frozen = b.module("b", "Linear", top)
    b.constant("b.weight", 4, 4, role=Role.PARAMETER, module=frozen)
    x = linear(b, "c", x, (2, 4, 4), top)
    last = b.module("d", "Linear", top)
    b.constant("d.weight", 4, 4, role=Role.PARAMETER, module=last)
    rows = text(b.build(b.op("SumBackward0", (), x))).splitlines()
    modules = [row.split()[1] for row in rows if " Linear " in row]
    assert modules == ["a", "b", "c", "d"]


def test_a_leaf_behind_a_cut_gets_no_gradient_and_the_cut_is_shown() -> None:
    b = Builder()
    w, v = b.leaf("w", 4), b.leaf("v", 4)
    y = b.op("MulBackward0", (4,), w, names=("y",))
    lost = b.cut("detach", y, source=SourceLocation("f.py", 5, text="y.detach()"))
    graph = b.build(b.op("SubBackward0", (4,), v, lost), names=("z",))
    assert line(graph, "✗ w") == "✗ w [4] f32 4 no gradient"
    assert line(graph, "● v") == "● v [4] f32 4 leaf"
    assert line(graph, "✂ detach  ") == "✂ detach [4] f32 5: y.detach() the gradient ends here"
    assert line(graph, "y = Mul").endswith("no gradient ← w")
    assert line(graph, "z = Sub").endswith("← v, ↑")
    assert "├─ ✂ detach" in text(cut(), OPS)
    assert "✂ the gradient ends" in text(cut()).splitlines()[-1]


def test_a_cut_that_stands_for_several_says_how_many_and_names_each_input_once() -> None:
    b = Builder()
    call = b.module("h.0..1", "Block", repeats=2)
    y = b.op("MulBackward0", (4,), b.leaf("w", 4))
    lost = b.cut("detach", y, call)
    b.edges.append(b.edges[-1])
    graph = b.build(b.op("SubBackward0", (4,), y, lost, module=call), names=("z",))
    counted = Annotation("cuts", {graph.nodes.ids(NodeKind.CUT)[0]: 6}, combine=Combine.SUM)
    shown = text(graph.annotated(counted)).splitlines()
    assert next(row for row in shown if "✂ detach ×3 " in row).endswith("ends here  ← MulBackward0")
    assert "6 cuts drawn as 1 (--no-repeats)" in shown[-1]
    assert "cuts" not in shown[1]


def test_a_cut_says_where_it_is_also_where_no_column_does() -> None:
    b = Builder()
    call = b.module("head", "Head")
    y = b.op("MulBackward0", (4,), b.leaf("w", 4, module=call), module=call)
    place = SourceLocation("f.py", 5, text="y.detach()")
    lost = b.cut("detach", y, call, source=place)
    graph = b.build(b.op("SubBackward0", (4,), y, lost, module=call))
    assert line(graph, "✂ detach").endswith("the gradient ends here f.py:5: y.detach()")
    shown = line(graph, "✂ detach", Style(show=frozenset({"source"})))
    assert shown.endswith("5: y.detach() the gradient ends here")


def test_why_a_leaf_has_no_gradient_is_told_where_it_is_known() -> None:
    graph = unreached()
    ids = {name: n.id for n in graph.nodes for name in n.names}
    graph = graph.annotated(
        Annotation("used", {ids["head.bias"]: "net.py:7"}),
        Annotation("unknown", {ids["head.weight"]: "it is inside a compiled region"}),
    )
    assert line(graph, "✗ bias").endswith("no gradient used in net.py:7")
    assert line(graph, "? weight").endswith("unknown: it is inside a compiled region")


def test_a_tied_weight_tells_its_other_names() -> None:
    assert line(tied(), "● weight").endswith("leaf, used 2× also lm_head.weight")
    assert line(tied(), "└── MmBackward0").endswith("← ReluBackward0, wte.weight")


def test_repeated_edges_are_kept() -> None:
    assert line(square(), "MulBackward0").endswith("← ↑, ↑")


def test_a_folded_module_says_how_many_ops_it_stands_for() -> None:
    assert line(folded(), "── b B") == "b B [2,16] f32 1.23M 128 B 5 ops ← a"
    assert line(folded(), "── a A") == "a A [2,16] f32 80 12 ops ← ↑, x"
    assert "17 ops folded into 2 modules" in text(folded())


def test_equal_blocks_are_counted() -> None:
    rows = text(transformer_block(repeats=12)).splitlines()
    assert any(row.startswith("├── h.0..11 Block ×12 ") for row in rows)
    assert "× equal blocks" in rows[-2]
    assert any(row.startswith("│   │   ├── ● weight ") for row in rows)


def test_what_distinguishes_a_block_stands_beside_it() -> None:
    graph = folded()
    block = next(n.id for n in graph.nodes if n.name == "B")
    graph = graph.annotated(Annotation("differs", {block: "no dropout"}))
    assert "differs: no dropout" in line(graph, "── b B")
    assert "differs" not in text(graph).splitlines()[1]


def test_what_passes_from_one_equal_block_to_the_next_is_told() -> None:
    graph = folded().annotated(Annotation("carried", {1: "to the next one"}))
    assert "carried to the next one" in text(graph)
    assert "carried to the next one" in text(graph, OPS)
    assert "carried" not in text(graph).splitlines()[1]


def test_hidden_views_are_counted_and_no_column() -> None:
    assert "2 view ops hidden" in text(views())
    assert "views" not in text(views()).splitlines()[1]


def test_a_module_that_is_called_twice_has_two_names() -> None:
    b = Builder()
    top = b.module("", "Net")
    x = b.leaf("x", 4, role=Role.INPUT)
    first, second = b.module("act", "ReLU", top), b.module("act", "ReLU", top)
    y = b.op("ReluBackward0", (4,), x, module=first)
    z = b.op("ReluBackward0", (4,), y, module=second)
    graph = b.build(b.op("AddBackward0", (4,), y, z))
    assert "├── act#2 ReLU" in text(graph)
    assert line(graph, "AddBackward0").endswith("← act/ReluBackward0, ↑")


def test_an_output_is_named_by_its_number_where_there_are_several() -> None:
    graph = transformer_block()
    assert line(graph, "BmmBackward0.1 ").endswith("← ↑, SplitBackward0[2]")
    b = Builder()
    x = b.leaf("x", 4, role=Role.INPUT)
    pair = b.op("LinalgEigBackward0", [spec(2), spec(2, 2)], x)
    assert "[2] +1" in line(b.build(b.op("MulBackward0", (2,), (pair, 0), (pair, 1))), "Eig")


def test_many_inputs_are_counted_rather_than_listed() -> None:
    b = Builder()
    leaves = [b.leaf(f"x{k}", 2) for k in range(500)]
    graph = b.build(b.op("CatBackward0", (1000,), *leaves))
    assert line(graph, "CatBackward0").endswith("x6, x7, and 492 more")
    assert "and 492 more" in line(graph, "CatBackward0", OPS)


def test_an_op_without_inputs_is_not_taken_for_one_with_the_line_above() -> None:
    b = Builder()
    x = b.leaf("x", 4, role=Role.INPUT)
    y = b.op("SinBackward0", (4,), x)
    border = b.op("CosBackward0", (4,), None)
    graph = b.build(b.op("AddBackward0", (4,), y, border))
    assert line(graph, "CosBackward0").endswith("← nothing")


def test_a_storage_counts_once_for_a_module_and_for_all_around_it() -> None:
    b = Builder()
    top = b.module("", "Net")
    outer = b.module("outer", "Outer", top)
    inner = b.module("outer.inner", "Inner", outer)
    x = b.leaf("x", 4, role=Role.INPUT)
    y = b.op("ExpBackward0", (4,), x, module=inner)
    z = b.op("MulBackward0", (4,), y, x, module=outer)
    graph = b.build(b.op("SumBackward0", (), z))
    saved = {
        "ExpBackward0": (SavedTensor("result", spec(4), 0, SavedState.HELD),),
        "MulBackward0": (
            SavedTensor("self", spec(4), 0, SavedState.HELD),
            SavedTensor("other", spec(4), 1, SavedState.HELD),
            SavedTensor("mask", spec(4), 2, SavedState.HELD),
        ),
    }
    table = SavedTable.of(saved.get(node.name, ()) for node in graph.nodes)
    graph = replace(
        graph,
        nodes=replace(graph.nodes, saved=table),
        storages=(Storage(16, True), Storage(1000, False), Storage(7, True)),
    )
    assert "16 B" in line(graph, "inner Inner")
    assert "23 B" in line(graph, "outer Outer")
    assert "23 B saved for backward" in text(graph)


def test_annotations_are_columns_and_modules_combine_them() -> None:
    graph = mlp()
    addmms = [n.id for n in graph.nodes if n.name == "AddmmBackward0"]
    weights = [n.id for n in graph.nodes if n.kind is NodeKind.LEAF and n.module == 1]
    graph = graph.annotated(
        Annotation("norm", dict(zip(weights, (0.5, 2.25))), combine=Combine.MAX),
        Annotation("time", dict.fromkeys(addmms, 1234.5678), "ms", Combine.SUM),
        Annotation("peak", {addmms[0]: 3_000_000}, "bytes", Combine.MAX),
        Annotation("verdict", {addmms[0]: "fine"}),
    )
    rows = text(graph).splitlines()
    assert rows[1].split() == ["shape", "dtype", "params", "saved", "norm", "time", "[ms]", "peak"]
    assert "2.25" in line(graph, "fc1 Linear")
    assert "1.23e+03" in line(graph, "head Linear")
    assert "3.0 MB" in line(graph, "head Linear")
    assert "fine" in text(graph, Style(columns=("shape", "verdict")))


def test_columns_are_those_that_were_asked_for() -> None:
    graph = replace(mlp(), operators={"AddmmBackward0": ADDMM})
    style = Style(columns=("ops", "device", "module", "source", "formula"))
    rows = text(graph, style).splitlines()
    assert rows[1].split() == ["ops", "device", "module", "source", "formula"]
    found = [r for r in rows if "AddmmBackward0" in r and "self.head(x)" in r]
    assert len(found) == 1
    assert "cpu" in found[0]
    assert "model.py:12: self.head(x)" in found[0]
    assert "self: maybe_multiply(grad, beta.conj()); mat1: mm_mat1_backward" in found[0]


def test_show_adds_columns_and_saved_tensors() -> None:
    shown = text(mlp(), Style(show=frozenset({"source", "saved"})))
    assert "train.py:30: F.cross_entropy(model(x), y)" in shown
    assert "saves self [64,10] 2.6 kB, target [64] 256 B" in shown


def test_an_unknown_column_is_told_with_the_known_ones() -> None:
    graph = mlp().annotated(Annotation("norm", {0: 1.5}))
    with pytest.raises(UsageError, match="'shap'") as raised:
        text(graph, Style(columns=("shap",)))
    assert "shape, dtype" in (raised.value.hint or "")
    assert "norm" in (raised.value.hint or "")


def test_the_legend_lists_only_the_marks_that_occur() -> None:
    assert text(square()).splitlines()[-1] == ("▷ leaf input  ★ root  ↑ previous line  ← inputs")


def test_what_must_be_known_stands_with_the_tree() -> None:
    notes = ("Two ops\nof a thread are unknown.",)
    provenance = Provenance(title="net.py", estimated=True, partial=True, notes=notes)
    rows = text(replace(mlp(), provenance=provenance)).splitlines()
    assert rows[1].startswith("estimated")
    assert rows[2].startswith("partial")
    assert rows[-1] == r"note: Two ops\nof a thread are unknown."
    assert text(mlp(), Style(title="Mine")).startswith("Mine · 12 nodes")


def _block(b: Builder, path: str, x: int, top: int, *, is_changed: bool) -> int:
    call = b.module(path, "Block", top)
    h = linear(b, f"{path}.fc", x, (4, 8, 8), call)
    h = b.op("TanhBackward0" if is_changed else "ReluBackward0", (4, 8), h, module=call)
    if is_changed:
        h = b.op("MulBackward0", (4, 8), h, module=call, saves={"other": (4, 8)})
    return b.op("AddBackward0", (4, 8), x, h, module=call)


def _net(*, is_changed: bool) -> Graph:
    b = Builder()
    top = b.module("", "Net")
    x = b.leaf("x", 4, 8, role=Role.INPUT)
    for k in range(6):
        x = _block(b, f"h.{k}", x, top, is_changed=is_changed and k == 2)
    return b.build(b.op("SumBackward0", (), x), title="Net")


def test_a_change_in_one_layer_changes_only_the_lines_of_that_layer() -> None:
    before, after = (text(_net(is_changed=changed)).splitlines() for changed in (False, True))
    block = before.index(next(row for row in before if row.startswith("├── h.2 Block")))
    following = before.index(next(row for row in before if row.startswith("├── h.3 Block")))
    assert before[1:block] == after[1:block]
    assert before[following:] == after[following + 1 :]
    assert before[0] != after[0]
    assert before[block:following] != after[block : following + 1]


def test_a_change_in_one_layer_leaves_the_rest_of_the_spine_alone() -> None:
    before, after = (text(_net(is_changed=c), OPS).splitlines()[1:] for c in (False, True))
    assert [row for row in before if "@h.2" not in row] == [
        row for row in after if "@h.2" not in row
    ]


def _spine_of(graph: Graph) -> list[str]:
    rows = text(graph, replace(OPS, columns=("dtype",))).splitlines()[2:-1]
    return [row.split("  f32")[0].rstrip() for row in rows]


def test_a_value_that_every_step_uses_does_not_nest_the_steps() -> None:
    b = Builder()
    x = b.leaf("x", 4)
    shared = b.op("SigmoidBackward0", (4,), b.op("ExpBackward0", (4,), x))
    h = b.op("SinBackward0", (4,), shared)
    for _ in range(200):
        h = b.op("MulBackward0", (4,), h, shared)
    rows = text(b.build(h), OPS).splitlines()
    products = [row for row in rows if "MulBackward0" in row]
    assert len(products) == 200
    assert not any(row.startswith("├─ ") for row in products)
    assert products[5].endswith("→ SigmoidBackward0")


def test_a_weight_that_is_computed_does_not_hide_where_branches_meet() -> None:
    b = Builder()
    x = b.leaf("x", 4, 4, role=Role.INPUT)
    x = b.op("SinBackward0", (4, 4), x)
    x = b.op("CosBackward0", (4, 4), x)
    weight = b.op("MulBackward0", (4, 4), b.leaf("g", 4, 4))
    h = b.op("MmBackward0", (4, 4), x, weight)
    graph = b.build(b.op("AddBackward0", (4, 4), x, h))
    assert _spine_of(graph) == [
        "★ loss = AddBackward0",
        "├─ MmBackward0",
        "│  ├─ MulBackward0",
        "CosBackward0",
        "SinBackward0",
    ]


def test_a_value_from_elsewhere_does_not_hide_where_branches_meet() -> None:
    b = Builder()
    bias = b.op("EmbeddingBackward0", (4,), b.leaf("bias", 9, 4))
    x = b.op("SinBackward0", (4,), b.op("ExpBackward0", (4,), b.leaf("x", 4)))
    for _ in range(2):
        h = b.op("ReluBackward0", (4,), x)
        h = b.op("MulBackward0", (4,), h, bias)
        x = b.op("AddBackward0", (4,), x, h)
    assert _spine_of(b.build(x)) == [
        "★ loss = AddBackward0.1",
        "├─ MulBackward0.1",
        "│  ├─ EmbeddingBackward0",
        "│  ReluBackward0.1",
        "AddBackward0",
        "├─ MulBackward0",
        "│  ReluBackward0",
        "SinBackward0",
        "ExpBackward0",
    ]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.data())
def test_the_first_common_node_of_two_ways_is_found(draws: list[int], data: st.DataObject) -> None:
    # Parents come before their children; every seventh node begins a tree of its own.
    parents = [NONE if k % 7 == 0 else draw % k for k, draw in enumerate(draws)]
    tree = WayTree(parents, range(len(parents) - 1, -1, -1))

    def way(node: int) -> list[int]:
        return [] if node == NONE else [node, *way(parents[node])]

    first, second = (data.draw(st.integers(0, len(parents) - 1)) for _ in range(2))
    expected = next((node for node in way(first) if node in way(second)), NONE)
    assert tree.common(first, second) == expected


def test_what_two_branches_share_is_written_once_and_referred_to() -> None:
    b = Builder()
    source = b.op("SinBackward0", (4,), b.leaf("x", 4))
    memory = b.op("TanhBackward0", (4,), source)
    state = b.op("EmbeddingBackward0", (4,), b.leaf("table", 9, 4))
    for _ in range(8):
        state = b.op("AddBackward0", (4,), state, memory)
        state = b.op("ReluBackward0", (4,), state)
    rows = text(b.build(state), OPS).splitlines()
    assert sum(row.startswith(("TanhBackward0", "├─ TanhBackward0")) for row in rows) == 1
    assert sum("→ TanhBackward0" in row for row in rows) == 7
    assert "→ goes on at" in rows[-1]


def test_nested_forks_are_indented_no_further_than_can_be_read() -> None:
    b = Builder()
    x = b.op("SinBackward0", (4,), b.leaf("x", 4))
    skips = [x]
    for _ in range(100):
        x = b.op("ReluBackward0", (4,), x)
        skips.append(x)
    for skip in reversed(skips):
        x = b.op("AddBackward0", (4,), x, skip)
    rows = text(b.build(x), OPS).splitlines()
    assert sum("AddBackward0" in row.split("→")[0] for row in rows) == 101
    assert max(len(row) - len(row.lstrip("│├─ ")) for row in rows) <= 3 * 27


@st.composite
def cyclic_graphs(draw: st.DrawFn) -> Graph:
    """A random graph some of whose ops were merged into modules, so that it may have cycles."""
    graph = draw(graphs())
    representatives = list(range(len(graph.nodes)))
    first: dict[int, int] = {}
    for op in graph.nodes.ids(NodeKind.FUNCTION):
        block = draw(st.integers(0, 5))
        if block < 3:
            representatives[op] = first.setdefault(block, op)
    calls = st.none() | st.integers(0, len(graph.modules) - 1) if graph.modules else st.none()
    described = {
        node: Node(
            node,
            NodeKind.MODULE,
            draw(st.text(max_size=5)),
            names=(f"block.{block}",),
            outputs=graph.nodes.outputs[node],
            module=draw(calls),
        )
        for block, node in first.items()
    }
    return quotient(graph, representatives, described)


styles = st.builds(
    Style,
    arrangement=st.sampled_from(Arrangement),
    show=st.frozensets(st.sampled_from(["saved", "source", "dtype", "formula"])),
    columns=st.lists(st.sampled_from(["shape", "params", "module", "ops", "device"])).map(tuple),
    ascii=st.booleans(),
)


@given(graphs() | cyclic_graphs(), styles)
def test_every_graph_has_a_tree_of_clean_lines(graph: Graph, style: Style) -> None:
    data = Tree().export(graph, style)
    assert Tree().export(graph, style) == data
    rows = data.decode("ascii" if style.ascii else "utf-8").split("\n")
    assert rows.pop() == ""
    joiners = str.maketrans("", "", "\u200c\u200d")
    assert all(row.translate(joiners).isprintable() for row in rows)
    assert all(row == row.rstrip() for row in rows)


@given(graphs() | cyclic_graphs())
def test_every_node_has_one_line_in_the_outline(graph: Graph) -> None:
    adjacency = Adjacency(graph)
    labels = Labels(graph, adjacency)
    sums = totals(labels, adjacency)
    subjects = [row.subject for row in outline(Notes(labels, adjacency, UNICODE), sums)]
    assert sorted(s for s in subjects if s >= 0) == list(range(len(graph.nodes)))
    calls = [-1 - s for s in subjects if s < 0]
    assert sorted(calls) == sorted(sums)


@given(graphs() | cyclic_graphs())
def test_every_op_has_one_line_in_the_spine_and_every_leaf_is_named(graph: Graph) -> None:
    adjacency = Adjacency(graph)
    labels = Labels(graph, adjacency)
    subjects = [row.subject for row in spine(Notes(labels, adjacency, ASCII))]
    is_leaf = [n.kind in (NodeKind.LEAF, NodeKind.CONSTANT) for n in graph.nodes]
    alone = {n for n in range(len(is_leaf)) if is_leaf[n] and not adjacency.predecessors_of(n)}
    ops = {n for n in range(len(is_leaf)) if not is_leaf[n]}
    assert sorted(subjects) == sorted(ops | alone)


@given(graphs() | cyclic_graphs(), styles, st.integers(20, 120))
def test_no_line_is_wider_than_the_terminal(graph: Graph, style: Style, width: int) -> None:
    rows = text(graph, replace(style, width=width)).splitlines()
    assert max(map(display_width, rows)) <= width


@given(graphs() | cyclic_graphs(), styles)
def test_colours_change_no_character(graph: Graph, style: Style) -> None:
    coloured = text(graph, replace(style, color=True))
    assert ESCAPES.sub("", coloured) == text(graph, style)


def test_kinds_differ_in_colour_too() -> None:
    coloured = text(unreached(), Style(color=True)) + text(cut(), Style(color=True))
    wanted = ["● weight", "○ scale", "✗ weight", "✂ detach", "★ loss = SumBackward0", "MmBackward0"]
    codes = [re.search(rf"\x1b\[([0-9;]+)m{re.escape(name)}", coloured) for name in wanted]
    assert all(codes)
    assert len({code[1] for code in codes if code}) == len(wanted)


def test_columns_are_dropped_by_their_rank_only_where_there_is_no_room() -> None:
    def header(width: int | None) -> list[str]:
        rows = text(mlp(), Style(width=width)).splitlines()
        return next(row for row in rows if "shape" in row).split()

    assert header(None) == ["shape", "dtype", "params", "saved"]
    assert header(100) == ["shape", "dtype", "params", "saved"]
    assert header(80) == ["shape", "params", "saved"]
    assert header(72) == ["shape", "saved"]
    assert header(64) == ["shape"]


def test_nothing_is_cut_without_a_width() -> None:
    assert "x" * 300 in text(hostile())
    assert "…" not in text(hostile())
    assert "x" * 300 not in text(hostile(), Style(width=80))


def test_wide_characters_keep_the_columns_straight() -> None:
    b = Builder()
    x = b.leaf("変数", 3, role=Role.INPUT)
    y = b.leaf("e\u0301", 3, role=Role.INPUT)
    graph = b.build(b.op("AddBackward0", (3,), x, y))
    columns = {
        display_width(row[: row.index("[3]")]) for row in text(graph).splitlines() if "[3]" in row
    }
    assert len(columns) == 1


def test_control_characters_cannot_reach_the_terminal() -> None:
    b = Builder()
    x = b.leaf("\x1b]0;owned\x07\x9b31m\u202e", 3, role=Role.INPUT)
    graph = replace(b.build(b.op("A\nB\rBackward0", (3,), x)), provenance=Provenance(title="\x1b"))
    for style in (Style(), OPS, Style(ascii=True)):
        shown = text(graph, style)
        assert not set("\x1b\x07\x9b\u202e\r") & set(shown)
        assert r"\x1b]0;owned\x07\x9b31m\u202e" in shown
        assert r"A\nB\rBackward0" in shown


def test_a_root_may_be_a_leaf() -> None:
    b = Builder()
    graph = b.build(b.leaf("w", 3), names=("out",))
    assert line(graph, "● w") == "● w [3] f32 3 root out leaf"
    assert line(graph, "● w", OPS) == "● w [3] f32 3 root out leaf"


def test_several_roots_are_all_named() -> None:
    b = Builder()
    x = b.leaf("x", 3)
    first = b.op("SinBackward0", (3,), x, names=("a",))
    second = b.op("CosBackward0", (3,), first)
    graph = b.build(first, second, names=("a", "logits"))
    assert line(graph, "★ a = SinBackward0").endswith("root ← x")
    assert line(graph, "★ logits = CosBackward0").endswith("root")
    rows = text(graph, OPS).splitlines()
    assert [row.split()[1] for row in rows if "★ " in row[:2]] == ["a", "logits"]


def test_a_graph_without_ops_has_a_tree() -> None:
    nodes = NodeTable.of([Node(0, NodeKind.LEAF, "AccumulateGrad", ("w",), Role.PARAMETER, size=0)])
    for style in (Style(), OPS):
        assert "✗ w" in text(Graph(nodes), style)
        assert text(Graph(NodeTable.of([])), style)


def test_a_cycle_of_modules_is_written_once() -> None:
    nodes = NodeTable.of(
        Node(k, NodeKind.MODULE, "M", (f"m{k}",), outputs=(spec(2),)) for k in range(3)
    )
    edges = EdgeTable.of([Edge(0, 1), Edge(1, 2), Edge(2, 0)])
    graph = Graph(nodes, edges, (Root("loss", 0),))
    for style in (Style(), OPS):
        assert sum(" M" in row or "★" in row[:6] for row in text(graph, style).splitlines()) >= 1


@pytest.mark.parametrize("arrangement", Arrangement)
@pytest.mark.parametrize("make", [lambda: chain(100_000), lambda: unrolled(5_000)])
def test_a_deep_graph_is_written_without_recursion_and_at_once(
    arrangement: Arrangement, make: Callable[[], Graph]
) -> None:
    graph = make()
    begin = time.process_time()
    data = Tree().export(graph, Style(arrangement=arrangement))
    # About a second on an idle machine; an algorithm that is not linear would need minutes.
    assert time.process_time() - begin < 10
    assert data.count(b"Backward0") >= 20_000


def test_rich_is_loaded_for_colours_only() -> None:
    program = """
import sys
from graphviz_cli.drawing.style import Style
from graphviz_cli.exporters.tree import Tree
from tests.graphs import mlp
graph = mlp()
Tree().export(graph, Style())
assert "rich" not in sys.modules
Tree().export(graph, Style(color=True))
assert "rich" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
