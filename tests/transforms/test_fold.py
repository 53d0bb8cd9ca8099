"""Module calls as one node: nothing is lost, and no picture is too big."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import (
    Annotation,
    Combine,
    Graph,
    Node,
    NodeKind,
    Role,
    held_bytes,
)
from graphviz_cli.transforms.fold import Fold
from graphviz_cli.transforms.hide import Hide
from graphviz_cli.transforms.repeats import Repeats
from tests.graphs import Builder, chain, graphs, linear, mlp, spec, tied, transformer_block
from tests.transforms.laws import LEAVES, check_is_valid, check_sums_are_kept
from tests.transforms.programs import programs, stack


def boxes(graph: Graph) -> int:
    """How many boxes a picture has: a parameter that one op reads once is a chip in it."""
    readers: dict[int, list[int]] = {}
    for edge in graph.edges:
        readers.setdefault(edge.target, []).append(edge.source)
    roots = {root.node for root in graph.roots}
    count = 0
    for node in graph.nodes:
        by = readers.get(node.id, [])
        is_chip = len(set(by)) > 4 or (len(by) == 1 and node.role in (Role.PARAMETER, Role.BUFFER))
        is_leaf = node.kind in LEAVES and node.id not in roots
        count += not (is_leaf and (is_chip or not by))
    return count


def folded(graph: Graph, fold: Fold) -> Graph:
    """The folded graph, of which all laws hold."""
    result = fold.apply(graph)
    check_is_valid(result)
    check_sums_are_kept(graph, result)
    assert fold.apply(result) == result
    return result


def node_of(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes if name in (*node.names, node.name))


def inputs_of(graph: Graph, name: str) -> list[str]:
    source = node_of(graph, name).id
    edges = sorted((e for e in graph.edges if e.source == source), key=lambda e: e.input_nr)
    return [graph.nodes[edge.target].label for edge in edges]


folds = st.builds(
    Fold,
    depth=st.sampled_from(["auto", "auto", "all", 0, 1, 2]),
    fold=st.sampled_from(["", "", "*", "h.*", "h.1|h.2"]),
    budget=st.integers(1, 30),
    unit=st.sampled_from(["boxes", "lines"]),
)


@given(graphs() | programs(), folds)
@settings(deadline=None, max_examples=300)
def test_folding_any_graph_loses_nothing_and_is_done_at_once(graph: Graph, fold: Fold) -> None:
    folded(graph, fold)


@given(graphs() | programs(), folds)
@settings(deadline=None, max_examples=200)
def test_all_transforms_after_each_other_lose_nothing(graph: Graph, fold: Fold) -> None:
    result = folded(Repeats().apply(Hide().apply(graph)), fold)
    check_sums_are_kept(graph, result)


def test_a_negative_depth_is_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        Fold(depth=-1).apply(mlp())


def test_depth_all_folds_nothing() -> None:
    graph = stack(12)
    assert Fold(depth="all").apply(graph) == graph


def test_at_depth_0_a_model_is_one_node_beside_what_is_outside() -> None:
    graph = folded(stack(3), Fold(depth=0))
    assert [(node.kind, node.name) for node in graph.nodes] == [
        (NodeKind.FUNCTION, "SumBackward0"),
        (NodeKind.MODULE, "Model"),
    ]


def test_at_depth_1_every_module_in_the_model_is_one_node() -> None:
    graph = folded(stack(3), Fold(depth=1))
    modules = [node for node in graph.nodes if node.kind is NodeKind.MODULE]
    assert {node.label for node in modules} == {"emb", "h.0", "h.1", "h.2", "head"}
    block = node_of(graph, "h.1")
    assert block.name == "Block"
    assert (block.size, block.parameters) == (4, 8 + 64 + 8)
    assert block.outputs == (spec(4, 8),)
    assert graph.modules[block.module or 0].path == "h.1"
    assert inputs_of(graph, "h.1") == ["h.0", "h.0"]
    assert block.sequence_nr == 5
    assert {call.path for call in graph.modules} == {"", "emb", "h.0", "h.1", "h.2", "head"}


def test_a_folded_node_keeps_the_bytes_and_the_largest_norm_of_what_is_in_it() -> None:
    graph = stack(2)
    norms = {node.id: float(node.id) for node in graph.nodes}
    result = Fold(depth=1).apply(graph.annotated(Annotation("norm", norms, combine=Combine.MAX)))
    block = node_of(result, "h.1")
    inside = [n.id for n in graph.nodes if n.module and graph.modules[n.module].path >= "h.1"
              and graph.modules[n.module].path < "h.2"]  # fmt: skip
    assert held_bytes(result, [block.id]) == held_bytes(graph, inside) == 128
    assert result.annotations["norm"].values[block.id] == max(norms[n] for n in inside)


def test_a_folded_repeated_block_stays_repeated() -> None:
    graph = folded(Repeats().apply(stack(12)), Fold(depth=1))
    block = node_of(graph, "h.0..11")
    assert graph.modules[block.module or 0].repeats == 12
    assert block.size == 48
    assert inputs_of(graph, "head") == ["h.0..11"]


def test_the_marks_of_what_differs_come_with_the_folded_node() -> None:
    graph = Fold(depth=1).apply(Repeats().apply(stack(12, {5: "op"})))
    values = graph.annotations["differs"].values
    assert dict(values) == {node_of(graph, "h.5").id: "h.5 has TanhBackward0, not ReluBackward0"}


def test_what_passes_between_repetitions_is_not_said_of_a_folded_block() -> None:
    graph = Fold(depth=1).apply(Repeats().apply(stack(12)))
    assert dict(graph.annotations["carried"].values) == {}


def test_a_folded_module_in_a_repeated_block_keeps_the_marks_of_what_passes() -> None:
    graph = folded(Repeats().apply(stack(12)), Fold(depth=2))
    carried = graph.annotations["carried"].values
    assert {graph.nodes[node].label: text for node, text in carried.items()} == {
        "h.0..11.norm": "from the one before",
        "AddBackward0": "from the one before, to the next one",
    }


def test_the_marks_of_several_ops_are_joined_and_those_of_inner_blocks_dropped() -> None:
    b = Builder()
    block = b.module("h.0..3", "Block", repeats=4)
    unit = b.module("h.0..3.mlp", "Mlp", block)
    loop = b.module("h.0..3.mlp.step 0..8", "", unit, repeats=9)
    x = b.op("SinBackward0", (4,), b.leaf("x", 4), module=unit)
    x = b.op("TanhBackward0", (4,), x, module=loop)
    graph = b.build(b.op("CosBackward0", (4,), x, module=unit))
    ids = {node.name: node.id for node in graph.nodes}
    carried = {
        ids["SinBackward0"]: "from the one before",
        ids["TanhBackward0"]: "from the one before, to the next one",
        ids["CosBackward0"]: "to the next one",
    }
    graph = graph.annotated(Annotation("carried", carried))
    inner = Fold(depth=2).apply(graph)
    assert len(inner.annotations["carried"].values) == 2
    assert dict(Fold(depth=1).apply(graph).annotations["carried"].values) == {
        0: "from the one before, to the next one"
    }


def test_a_pattern_closes_calls_and_leaves_the_others_open() -> None:
    graph = folded(stack(4), Fold(depth="all", fold="h.1..2|*norm"))
    closed = {node.label for node in graph.nodes if node.kind is NodeKind.MODULE}
    assert closed == {"h.1", "h.2", "h.0.norm", "h.3.norm"}


def test_a_weight_that_two_folded_modules_use_stays_visible() -> None:
    graph = folded(tied(), Fold(depth=1))
    weight = node_of(graph, "wte.weight")
    assert weight.kind is NodeKind.LEAF
    assert graph.modules[weight.module or 0].path == ""
    assert inputs_of(graph, "wte") == ["wte.weight"]
    assert sorted(inputs_of(graph, "lm_head")) == ["ReluBackward0", "wte.weight"]


def test_a_weight_that_an_open_module_owns_and_a_closed_one_uses_stays_visible() -> None:
    b = Builder()
    owner = b.module("a", "A")
    weight = b.leaf("a.weight", 8, module=owner)
    own = b.leaf("a.own", 8, module=owner)
    x = b.op("MulBackward0", (8,), None, own, module=owner)
    user = b.module("b", "B")
    graph = b.build(b.op("MulBackward0", (8,), x, weight, module=user))
    opened = folded(graph, Fold(depth="all", fold="b"))
    assert {node.label for node in opened.nodes} == {"MulBackward0", "a.own", "b", "a.weight"}
    closed = folded(graph, Fold(depth=0))
    assert {node.label for node in closed.nodes} == {"a", "b"}


def test_a_parameter_of_the_model_goes_into_the_part_that_uses_it() -> None:
    b = Builder()
    top = b.module("", "Model")
    inner = b.module("attn", "Attention", top)
    x = b.op("MulBackward0", (8,), None, b.leaf("bias", 8, module=top), module=inner)
    graph = folded(b.build(b.op("SumBackward0", (), x, module=top)), Fold(depth=1))
    assert [node.label for node in graph.nodes] == ["SumBackward0", "attn"]


def test_inputs_stay_visible_while_they_are_few() -> None:
    for count in (20, 21):
        b = Builder()
        net = b.module("net", "Net")
        inputs = [b.leaf(f"x{k}", 2, role=Role.INPUT) for k in range(count)]
        graph = folded(b.build(b.op("StackBackward0", (2,), *inputs, module=net)), Fold(depth=0))
        assert len(graph.nodes) == (21 if count == 20 else 1)


def test_parameters_that_no_gradient_reaches_stay_visible_while_they_are_few() -> None:
    for count in (20, 21):
        b = Builder()
        net = b.module("net", "Net")
        for k in range(count):
            b.leaf(f"net.unused{k}", 2, module=net)
        x = b.op("SinBackward0", (2,), b.leaf("x", 2, role=Role.INPUT), module=net)
        graph = folded(b.build(x), Fold(depth=0))
        if count == 20:
            assert len(graph.nodes) == 22
            assert node_of(graph, "net.unused7").module is None
        else:
            assert len(graph.nodes) == 2
            assert dict(graph.annotations["unreached"].values) == {0: 21}


def test_frozen_parameters_go_into_their_module() -> None:
    b = Builder()
    net = b.module("net", "Net")
    b.constant("net.frozen", 8, role=Role.PARAMETER, module=net)
    x = b.op("SinBackward0", (2,), b.leaf("x", 2, role=Role.INPUT), module=net)
    graph = folded(b.build(x), Fold(depth=0))
    assert (graph.nodes[0].kind, graph.nodes[0].parameters) == (NodeKind.MODULE, 8)


def test_the_outputs_of_a_folded_node_are_what_leaves_it_the_last_first() -> None:
    b = Builder()
    net = b.module("net", "Net")
    split = b.op("SplitBackward0", [spec(2), spec(3)], b.leaf("x", 5), module=net)
    inner = b.op("SinBackward0", (3,), (split, 1), module=net)
    last = b.op("CosBackward0", (4,), inner, module=net)
    total = b.op("CatBackward0", (9,), (split, 0), last, inner)
    graph = folded(b.build(total), Fold(depth=0))
    assert node_of(graph, "net").outputs == (spec(4), spec(3), spec(2))
    assert [(e.input_nr, e.output_nr) for e in graph.edges if e.source == 0] == [
        (0, 2),
        (1, 0),
        (2, 1),
    ]


def test_a_root_inside_a_folded_node_is_a_root_of_it() -> None:
    b = Builder()
    net = b.module("net", "Net")
    first = b.op("SinBackward0", (2,), b.leaf("x", 2, role=Role.INPUT), module=net)
    last = b.op("CosBackward0", (3,), first, module=net)
    graph = folded(b.build(last, first, names=("last", "first")), Fold(depth=0))
    assert [(root.name, root.node, root.output_nr) for root in graph.roots] == [
        ("last", 0, 0),
        ("first", 0, 1),
    ]
    assert graph.nodes[0].outputs == (spec(3), spec(2))


def test_inputs_of_a_folded_node_are_numbered_in_the_order_of_the_forward_pass() -> None:
    b = Builder()
    net = b.module("net", "Net")
    x, y = (b.leaf(name, 2, role=Role.INPUT) for name in "xy")
    first = b.op("MulBackward0", (2,), None, x, module=net)
    last = b.op("AddBackward0", (2,), y, first, module=net)
    graph = folded(b.build(last), Fold(depth=0))
    assert inputs_of(graph, "net") == ["x", "y"]
    assert [e.input_nr for e in graph.edges] == [0, 1]


def test_a_module_that_goes_on_after_calling_another_makes_a_cycle() -> None:
    b = Builder()
    outer, inner = b.module("a", "A"), b.module("b", "B")
    x = b.op("SinBackward0", (2,), b.leaf("x", 2, role=Role.INPUT), module=outer)
    x = b.op("CosBackward0", (2,), x, module=inner)
    x = b.op("ExpBackward0", (2,), x, module=outer)
    graph = folded(b.build(x), Fold(depth=0))
    assert inputs_of(graph, "a") == ["x", "b"]
    assert inputs_of(graph, "b") == ["a"]


def test_two_calls_of_a_module_are_two_nodes() -> None:
    b = Builder()
    x = b.leaf("x", 2, role=Role.INPUT)
    for _ in range(2):
        call = b.module("act", "Act")
        x = b.op("ExpBackward0", (2,), b.op("SinBackward0", (2,), x, module=call), module=call)
    graph = folded(b.build(x), Fold(depth=0))
    assert [node.size for node in graph.nodes] == [2, 2, 0]
    assert [call.nth for call in graph.modules] == [0, 1]


def test_a_small_graph_is_left_open() -> None:
    graph = Hide().apply(transformer_block())
    assert Fold().apply(graph) is graph


def test_one_level_more_is_opened_while_there_is_room() -> None:
    graph = stack(40)
    levels = {budget: folded(graph, Fold(budget=budget)) for budget in (10, 60, 100, 200)}
    assert [len(g.nodes) for g in levels.values()] == sorted(len(g.nodes) for g in levels.values())
    assert all(boxes(g) <= 1.25 * budget for budget, g in levels.items())
    # At 100 boxes the 40 blocks stay closed, at 200 all of them are open, never some of them.
    assert sum(n.name == "Block" for n in levels[100].nodes) == 40
    assert sum(n.name == "Block" for n in levels[200].nodes) == 0


def test_modules_with_a_single_op_are_never_closed_by_themselves() -> None:
    graph = folded(stack(40), Fold(budget=60))
    assert {n.name for n in graph.nodes if n.kind is NodeKind.MODULE} == {"Block"}
    assert node_of(graph, "EmbeddingBackward0").kind is NodeKind.FUNCTION


def test_calls_that_are_alike_are_opened_together() -> None:
    b = Builder()
    x = b.leaf("x", 2, role=Role.INPUT)
    for number in range(30):
        call = b.module(f"part.{number}", "Part")
        for _ in range(number % 7 + 8):
            x = b.op("SinBackward0", (2,), x, module=call)
    graph = folded(b.build(x), Fold(budget=100))
    assert sum(node.kind is NodeKind.MODULE for node in graph.nodes) == 30


def flat(count: int) -> Graph:
    """Ops without modules, each of which reads the one before and one a little earlier."""
    b = Builder()
    rows = random.Random(0)
    made = [b.leaf("x", 2, role=Role.INPUT)]
    for _ in range(count):
        name = rows.choice(["MulBackward0", "AddBackward0", "SubBackward0"])
        made.append(b.op(name, (2,), made[-1], made[-rows.randint(1, min(len(made), 8))]))
    return b.build(made[-1])


@pytest.mark.parametrize("count", [260, 2000, 20_000])
def test_a_flat_graph_is_gathered_into_stretches_of_ops(count: int) -> None:
    graph = folded(flat(count), Fold())
    assert boxes(graph) <= 60
    paths = [node.label for node in graph.nodes if node.kind is NodeKind.MODULE]
    assert all(path.startswith("ops ") for path in paths)
    assert sum(node.size for node in graph.nodes) == count
    covered = sorted(tuple(map(int, path[4:].split(".."))) for path in paths)
    assert (covered[0][0], covered[-1][1]) == (0, count - 1)
    assert all(a[1] + 1 == b[0] for a, b in pairwise(covered))
    assert set(node_of(graph, paths[0]).name.split(", ")) <= {"Mul", "Add", "Sub"}


def test_a_stretch_of_ops_ends_where_few_tensors_are_passed_on() -> None:
    b = Builder()
    x = b.leaf("x", 2, role=Role.INPUT)
    for number in range(300):
        if number % 7 == 3:
            kept = x
        x = b.op("SinBackward0" if number % 3 else "CosBackward0", (2,), x)
        if number % 7 == 6:
            x = b.op("AddBackward0", (2,), x, kept)
    graph = folded(b.build(x), Fold(budget=100))
    outputs = [len(n.outputs) for n in graph.nodes if n.kind is NodeKind.MODULE]
    assert sum(count == 1 for count in outputs) > 0.8 * len(outputs)


def test_a_crowded_module_is_gathered_into_stretches_too() -> None:
    b = Builder()
    top = b.module("net", "Net")
    x = b.leaf("x", 2, role=Role.INPUT)
    for number in range(1000):
        x = b.op(f"Op{number % 13}{number % 7}Backward0", (2,), x, module=top)
    graph = folded(b.build(x), Fold())
    assert 10 <= boxes(graph) <= 60
    assert all(call.path == "net" or call.path.startswith("net.ops ") for call in graph.modules)


def test_stretches_that_fit_are_not_gathered() -> None:
    b = Builder()
    net = b.module("net", "Net")
    x = b.leaf("x", 2, role=Role.INPUT)
    for number in range(120):
        x = b.op(f"Op{number % 13}{number % 7}Backward0", (2,), x, module=net)
    for number in range(6):
        call = b.module(f"big{number}", "Big")
        for k in range(90):
            x = b.op(f"Op{k % 13}{k % 7}Backward0", (2,), x, module=call)
    graph = folded(b.build(x), Fold())
    assert not any(".ops" in call.path for call in graph.modules)
    assert sum(n.kind is NodeKind.FUNCTION for n in graph.nodes) == 120


def test_a_model_of_any_number_of_layers_gives_as_many_boxes() -> None:
    counts = {boxes(Fold().apply(Repeats().apply(stack(layers)))) for layers in (12, 48)}
    assert len(counts) == 1
    assert max(counts) <= 10


@pytest.mark.parametrize("layers", [3, 12, 200])
def test_no_picture_without_repeats_is_too_big_either(layers: int) -> None:
    assert boxes(folded(stack(layers), Fold())) <= 250


def test_a_budget_of_lines_counts_leaves_and_headlines() -> None:
    graph = folded(stack(40), Fold(budget=100, unit="lines"))
    open_calls = len(graph.modules) - sum(n.kind is NodeKind.MODULE for n in graph.nodes)
    assert len(graph.nodes) + open_calls <= 100
    everything = Fold(budget=500, unit="lines").apply(stack(12))
    assert everything == stack(12)


def test_a_chain_of_a_hundred_thousand_ops_is_folded() -> None:
    graph = Fold().apply(chain(100_000))
    assert len(graph.nodes) == 41
    assert sum(graph.nodes.sizes) == 100_000


def test_a_linear_layer_with_its_views_is_one_op_with_two_chips() -> None:
    b = Builder()
    top = b.module("", "Net")
    y = linear(b, "fc", b.leaf("x", 2, 3, role=Role.INPUT), (2, 3, 4), top)
    graph = Fold().apply(Hide().apply(b.build(y)))
    assert boxes(graph) == 2


def test_a_folded_module_has_the_shape_that_its_last_views_give() -> None:
    b = Builder()
    top = b.module("", "Net")
    attention = b.module("attention", "Attention", top)
    inner = b.module("attention.project", "Linear", attention)
    x = b.op("ViewBackward0", (4, 8), b.leaf("x", 1, 4, 8), module=inner)
    y = b.op("AddmmBackward0", (4, 6), x, module=inner)
    y = b.op("ViewBackward0", (1, 4, 6), y, module=inner)
    y = b.op("ViewBackward0", (1, 4, 2, 3), y, module=attention)
    y = b.op("TransposeBackward0", (1, 2, 4, 3), y, module=attention)
    y = b.op("ExpandBackward0", (5, 2, 4, 3), y, module=top)
    graph = Hide().apply(b.build(b.op("SinBackward0", (5, 2, 4, 3), y, module=top)))
    assert node_of(graph, "AddmmBackward0").outputs == (spec(4, 6),)
    shapes = {
        depth: [n.outputs for n in folded(graph, Fold(depth=depth)).nodes if n.parameters or n.size]
        for depth in (0, 1, 2)
    }
    assert shapes[2][1] == (spec(1, 4, 6),)
    assert shapes[1][1] == (spec(1, 2, 4, 3),)
    assert shapes[0] == [(spec(5, 2, 4, 3),)]


def test_a_folded_module_read_through_different_views_has_the_shape_before_them() -> None:
    b = Builder()
    inner = b.module("a", "A")
    y = b.op("AddmmBackward0", (4, 6), b.leaf("x", 4, 6), module=inner)
    b.op("CosBackward0", (4, 6), y, module=inner)
    views = [b.op("ViewBackward0", shape, y, module=inner) for shape in ((2, 12), (24,))]
    for read in (views, (views[0], y)):
        graph = Hide().apply(b.build(b.op("StackBackward0", (24,), *read)))
        assert node_of(folded(graph, Fold(depth=0, fold="a")), "a").outputs == (spec(4, 6),)
    graph = Hide().apply(b.build(b.op("StackBackward0", (24,), views[0], views[0])))
    assert node_of(folded(graph, Fold(depth=0, fold="a")), "a").outputs == (spec(2, 12),)


def test_facts_about_single_inputs_do_not_outlive_the_op() -> None:
    graph = stack(2)
    inputs = {node.id: (1.0, 2.0, 3.0) for node in graph.nodes if node.name == "AddmmBackward0"}
    graph = graph.annotated(Annotation("gradient", {}, inputs=inputs))
    result = Fold(depth="all", fold="h.0").apply(graph)
    kept = result.annotations["gradient"].inputs
    assert [result.nodes[node].name for node in kept] == ["AddmmBackward0"]


def test_many_modules_without_ops_are_gathered_too() -> None:
    b = Builder()
    net = b.module("net", "Net")
    for number in range(300):
        call = b.module(f"net.frozen{number}", "Linear", net)
        b.constant(f"net.frozen{number}.w", number + 1, role=Role.PARAMETER, module=call)
    x = b.op("SinBackward0", (2,), b.leaf("x", 2, role=Role.INPUT), module=net)
    for number in range(300):
        x = b.op(f"Op{number % 13}{number % 7}Backward0", (2,), x, module=net)
    assert boxes(folded(b.build(x), Fold())) <= 100
