"""View ops become part of their neighbours, and leaves stay leaves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from graphviz_cli.graph.model import Annotation, Combine, Graph, Node, NodeKind, Role
from graphviz_cli.transforms.hide import Hide
from tests.graphs import Builder, graphs, linear, mlp, spec, transformer_block
from tests.transforms.laws import check_is_valid, check_sums_are_kept
from tests.transforms.programs import programs


def hidden(graph: Graph) -> Graph:
    result = Hide().apply(graph)
    check_is_valid(result)
    check_sums_are_kept(graph, result)
    assert Hide().apply(result) == result
    return result


def named(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes if node.name == name)


def views(graph: Graph, node: Node) -> object:
    return graph.annotations["views"].values.get(node.id, 0)


def inputs_of(graph: Graph, node: Node) -> list[tuple[str, int, int]]:
    return [
        (graph.nodes[edge.target].label, edge.input_nr, edge.output_nr)
        for edge in graph.edges
        if edge.source == node.id
    ]


@given(graphs() | programs())
@settings(deadline=None, max_examples=200)
def test_any_graph_stays_valid_and_loses_no_op(graph: Graph) -> None:
    result = hidden(graph)
    roots = {root.node for root in result.roots}
    consumed = {edge.target for edge in result.edges}
    for node in result.nodes:
        if node.name in ("ViewBackward0", "TBackward0") and node.id not in roots:
            inputs = [edge for edge in result.edges if edge.source == node.id]
            readers = {result.nodes[e.source].kind for e in result.edges if e.target == node.id}
            # Several inputs, or a leaf that nothing but a cut reads: no op to belong to.
            assert len(inputs) != 1 or readers <= {NodeKind.CUT} or node.id not in consumed


def test_a_graph_without_views_is_handed_back() -> None:
    graph = transformer_block()
    plain = Hide().apply(graph)
    assert Hide().apply(plain) is plain
    assert Hide(views=False).apply(graph) is graph


def test_a_chain_of_views_becomes_part_of_the_op_that_they_view() -> None:
    b = Builder()
    h = b.op("MulBackward0", (4, 6), b.leaf("w", 4, 6), b.leaf("v", 4, 6))
    h = b.op("ViewBackward0", (2, 2, 6), h)
    h = b.op("TransposeBackward0", (2, 6, 2), h)
    h = b.op("CloneBackward0", (2, 6, 2), h)
    graph = hidden(b.build(b.op("SumBackward0", (), h)))
    product = named(graph, "MulBackward0")
    assert len(graph.nodes) == 4
    assert (product.size, views(graph, product), product.outputs) == (4, 3, (spec(4, 6),))


def test_an_edge_through_a_view_keeps_its_input_and_gets_the_viewed_output() -> None:
    b = Builder()
    split = b.op("SplitBackward0", [spec(2, 3)] * 3, b.leaf("x", 6, 3, role=Role.INPUT))
    middle = b.op("UnsqueezeBackward0", (1, 2, 3), (split, 1))
    last = b.op("TransposeBackward0", (3, 2), (split, 2))
    graph = hidden(b.build(b.op("BmmBackward0", (1, 2, 2), None, middle, last)))
    assert inputs_of(graph, graph.nodes[0]) == [
        ("SplitBackward0", 1, 1),
        ("SplitBackward0", 2, 2),
    ]


def test_a_transposed_weight_leaves_the_leaf_to_the_op_that_uses_it() -> None:
    b = Builder()
    y = linear(b, "fc", b.leaf("x", 2, 3, role=Role.INPUT), (2, 3, 4), None)
    graph = hidden(b.build(y))
    addmm = graph.nodes[0]
    assert inputs_of(graph, addmm) == [("fc.bias", 0, 0), ("x", 1, 0), ("fc.weight", 2, 0)]
    assert (addmm.size, views(graph, addmm)) == (2, 1)
    assert [n.size for n in graph.nodes if n.kind is NodeKind.LEAF] == [0, 0, 0]


def test_a_view_of_a_leaf_that_several_ops_read_belongs_to_the_first_of_them() -> None:
    b = Builder()
    flat = b.op("ViewBackward0", (6,), b.leaf("x", 2, 3, role=Role.INPUT))
    first = b.op("SinBackward0", (6,), flat)
    second = b.op("CosBackward0", (6,), flat)
    graph = hidden(b.build(b.op("AddBackward0", (6,), first, second)))
    assert views(graph, named(graph, "SinBackward0")) == 1
    for name in ("SinBackward0", "CosBackward0"):
        assert inputs_of(graph, named(graph, name)) == [("x", 0, 0)]


def test_a_view_that_is_a_root_stays() -> None:
    b = Builder()
    h = b.op("TransposeBackward0", (3, 2), b.op("SinBackward0", (2, 3), b.leaf("x", 2, 3)))
    graph = b.build(b.op("ViewBackward0", (6,), h), names=("y",))
    result = hidden(graph)
    assert [node.name for node in result.nodes] == [
        "ViewBackward0",
        "SinBackward0",
        "AccumulateGrad",
    ]


def test_an_op_without_a_name_gets_the_one_of_its_first_view() -> None:
    b = Builder()
    h = b.op("MulBackward0", (4, 6), b.leaf("w", 4, 6))
    later = b.op("TransposeBackward0", (6, 4), b.op("ViewBackward0", (6, 4), h, names=("q",)),
                 names=("k",))  # fmt: skip
    graph = hidden(b.build(b.op("SumBackward0", (), later)))
    assert named(graph, "MulBackward0").names == ("q",)


def test_an_op_keeps_its_own_name_and_one_with_several_results_takes_none() -> None:
    b = Builder()
    h = b.op("MulBackward0", (6,), b.leaf("w", 6), names=("own",))
    split = b.op("SplitBackward0", [spec(3)] * 2, b.op("ViewBackward0", (6,), h, names=("v",)))
    graph = hidden(b.build(b.op("ViewBackward0", (3, 1), (split, 0), names=("left",)), split))
    assert named(graph, "MulBackward0").names == ("own",)
    assert named(graph, "SplitBackward0").names == ()


@pytest.mark.parametrize(("length", "is_hidden"), [(4, True), (3, False)])
def test_a_slice_is_plumbing_only_if_it_takes_everything(length: int, is_hidden: bool) -> None:
    b = Builder()
    h = b.op("SliceBackward0", (length,), b.op("SinBackward0", (4,), b.leaf("x", 4)))
    graph = hidden(b.build(b.op("SumBackward0", (), h)))
    assert ("SliceBackward0" not in graph.nodes.names.values) is is_hidden


@pytest.mark.parametrize(
    "name",
    [
        "AliasBackward0", "CloneBackward0", "ExpandBackward0", "PermuteBackward0",
        "ReshapeAliasBackward0", "SqueezeBackward3", "TBackward0", "TransposeBackward1",
        "UnsafeViewBackward0", "UnsqueezeBackward0", "ViewBackward0", "ViewCopyBackward0",
        "ViewBackwardAutogradNestedTensor0", "LiftFreshBackward0",
    ],
)  # fmt: skip
def test_these_change_no_number(name: str) -> None:
    b = Builder()
    h = b.op(name, (4,), b.op("SinBackward0", (4,), b.leaf("x", 4)))
    assert len(hidden(b.build(b.op("SumBackward0", (), h))).nodes) == 3


@pytest.mark.parametrize(
    "name",
    ["SelectBackward0", "ToCopyBackward0", "TanhBackward0", "AsStridedBackward0", "ViewBackward",
     "ConvolutionTransposeBackward0", "ViewAsRealBackward0", "IndexSelectBackward0"],
)  # fmt: skip
def test_these_change_or_choose_numbers_and_stay(name: str) -> None:
    b = Builder()
    h = b.op(name, (4,), b.op("SinBackward0", (4,), b.leaf("x", 4)))
    graph = b.build(b.op("SumBackward0", (), h))
    assert Hide().apply(graph) is graph


def test_a_view_that_only_a_cut_reads_stays_with_its_leaf() -> None:
    b = Builder()
    x = b.leaf("x", 4, role=Role.INPUT)
    cut = b.cut("detach", b.op("ViewBackward0", (2, 2), x))
    graph = b.build(b.op("MulBackward0", (4,), x, cut))
    assert Hide().apply(graph) == graph


def test_linear_layers_are_left_with_one_op_each() -> None:
    graph = mlp()
    before = [n.name for n in graph.nodes if n.kind is NodeKind.FUNCTION]
    after = [n.name for n in hidden(graph).nodes if n.kind is NodeKind.FUNCTION]
    assert "TBackward0" in before
    assert after == [name for name in before if name != "TBackward0"]


def test_the_views_through_which_an_op_reads_are_named_at_its_inputs() -> None:
    b = Builder()
    h = b.op("MulBackward0", (4, 6), b.leaf("w", 4, 6))
    h = b.op("TransposeBackward0", (6, 4), b.op("ViewBackward0", (4, 6), h))
    turned = b.op("TBackward0", (4, 2), b.leaf("v", 2, 4))
    graph = hidden(b.build(b.op("AddmmBackward0", (6, 2), None, h, turned)))
    assert dict(graph.annotations["through"].values) == {0: "input 1: Transpose View, input 2: T"}


def test_a_long_chain_of_views_is_named_shortly() -> None:
    b = Builder()
    h = b.op("SinBackward0", (4,), b.leaf("x", 4))
    for _ in range(1000):
        h = b.op("ViewBackward0", (4,), h)
    graph = hidden(b.build(b.op("SumBackward0", (), h)))
    assert graph.annotations["through"].values[0] == "input 0: " + "View " * 6 + "…"
    assert named(graph, "SinBackward0").size == 1001


def test_the_largest_gradient_of_an_op_is_not_that_of_a_view_merged_into_it() -> None:
    graph = mlp()
    norms = {node.id: 9.0 if node.name == "TBackward0" else 1.0 for node in graph.nodes}
    measured = hidden(graph.annotated(Annotation("gradient", norms, combine=Combine.MAX)))
    assert len(measured.nodes) < len(graph.nodes)
    assert set(measured.annotations["gradient"].values.values()) == {1.0}
