"""Equal consecutive blocks become one; others never do."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings

from graphviz_cli.graph.model import Graph, Node, NodeKind, Role, Root
from graphviz_cli.transforms.hide import Hide
from graphviz_cli.transforms.repeats import Repeats
from tests.graphs import Builder, chain, graphs, linear, spec
from tests.transforms.laws import (
    check_is_valid,
    check_repetitions_are_true,
    check_sums_are_kept,
    look,
    unrolled_ops,
)
from tests.transforms.programs import programs, recurrent, stack


def repeated(graph: Graph) -> dict[str, int]:
    """The calls that are repeated, by path."""
    return {call.path: call.repeats for call in graph.modules if call.repeats > 1}


def merged(graph: Graph) -> Graph:
    """The merged graph, of which all laws hold."""
    result = Repeats().apply(graph)
    check_is_valid(result)
    check_sums_are_kept(graph, result)
    check_repetitions_are_true(graph, result)
    assert Repeats().apply(result) == result
    return result


def node_of(graph: Graph, name: str, number: int = 0) -> Node:
    return [node for node in graph.nodes if name in (node.name, *node.names)][number]


def inputs_of(graph: Graph, node: Node) -> list[str]:
    return [graph.nodes[edge.target].name for edge in graph.edges if edge.source == node.id]


def differences(graph: Graph) -> list[str]:
    annotation = graph.annotations.get("differs")
    return [] if annotation is None else [str(value) for value in annotation.values.values()]


@given(programs())
@settings(max_examples=300, deadline=None)
def test_unrolling_gives_back_every_op_leaf_and_edge(graph: Graph) -> None:
    merged(graph)


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_any_graph_stays_valid_and_is_merged_at_once(graph: Graph) -> None:
    for given_graph in (graph, Hide().apply(graph)):
        result = Repeats().apply(given_graph)
        check_is_valid(result)
        check_sums_are_kept(given_graph, result)
        assert Repeats().apply(result) == result


def test_equal_numbered_calls_become_one_with_a_range_in_its_path() -> None:
    graph = merged(stack(12))
    assert repeated(graph) == {"h.0..11": 12}
    paths = {call.path for call in graph.modules}
    assert paths == {"", "emb", "head", "h.0..11", "h.0..11.norm", "h.0..11.fc"}


def test_corresponding_leaves_become_one_with_the_sum_of_parameters() -> None:
    graph = merged(stack(12))
    weight = node_of(graph, "h.0..11.fc.weight")
    assert weight.parameters == 12 * 64
    assert weight.outputs == (spec(8, 8),)
    assert [node.label for node in graph.nodes if node.kind is NodeKind.LEAF] == [
        "head.weight",
        "emb.weight",
        "h.0..11.fc.bias",
        "h.0..11.fc.weight",
        "h.0..11.norm.weight",
    ]


def test_the_number_of_layers_does_not_change_what_is_drawn() -> None:
    few, many = merged(stack(3)), merged(stack(48))
    assert [look(node) for node in few.nodes] == [look(node) for node in many.nodes]
    assert few.edges == many.edges


def test_edges_into_the_first_block_and_out_of_the_last_one_stay() -> None:
    graph = merged(stack(12))
    residual = node_of(graph, "AddBackward0")
    assert inputs_of(graph, node_of(graph, "MmBackward0")) == ["AddBackward0", "AccumulateGrad"]
    assert inputs_of(graph, residual) == ["EmbeddingBackward0", "ReluBackward0"]
    norm = node_of(graph, "NativeLayerNormBackward0")
    assert inputs_of(graph, norm) == ["EmbeddingBackward0", "AccumulateGrad"]


def test_ops_between_which_tensors_pass_to_the_next_block_are_marked() -> None:
    graph = merged(stack(12))
    carried = graph.annotations["carried"].values
    assert {graph.nodes[node].name: text for node, text in carried.items()} == {
        "AddBackward0": "from the one before, to the next one",
        "NativeLayerNormBackward0": "from the one before",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("shape", "h.5.fc.weight is 8×16, not 8×8"),
        ("op", "h.5 has TanhBackward0, not ReluBackward0"),
        ("no bias", "h.5 lacks leaf fc.bias"),
        ("frozen bias", "h.5.fc.bias requires no gradient"),
        ("wiring", "h.5 is connected otherwise than its neighbours"),
    ],
)
def test_a_block_that_differs_is_not_merged_and_says_why(change: str, said: str) -> None:
    graph = merged(stack(12, {5: change}))
    assert repeated(graph) == {"h.0..4": 5, "h.6..11": 6}
    assert differences(graph) == [said]
    at = next(iter(graph.annotations["differs"].values))
    assert graph.modules[graph.nodes[at].module or 0].path.startswith("h.5")


@pytest.mark.parametrize("change", ["role", "type"])
def test_a_block_of_another_kind_is_not_merged(change: str) -> None:
    assert repeated(merged(stack(12, {5: change}))) == {"h.0..4": 5, "h.6..11": 6}


def test_a_first_block_that_differs_leaves_the_others_together() -> None:
    graph = merged(stack(12, {0: "op"}))
    assert repeated(graph) == {"h.1..11": 11}
    assert differences(graph) == ["h.0 has TanhBackward0, not ReluBackward0"]


def test_a_weight_that_all_blocks_share_stays_one_leaf() -> None:
    graph = merged(stack(6, dict.fromkeys(range(1, 6), "tied")))
    assert repeated(graph) == {"h.0..5": 6}
    assert node_of(graph, "h.0.fc.weight").parameters == 64


def test_blocks_that_share_a_weight_among_them_stay_apart_from_the_others() -> None:
    graph = merged(stack(12, {5: "tied"}))
    assert repeated(graph) == {"h.1..4": 4, "h.6..11": 6}
    assert set(differences(graph)) == {
        "h.0 is connected otherwise than its neighbours",
        "h.5 lacks leaf fc.weight",
    }


def test_a_result_that_is_read_elsewhere_ends_a_run() -> None:
    graph = merged(stack(12, taps=[5]))
    assert repeated(graph) == {"h.0..5": 6, "h.6..11": 6}


def test_results_that_are_all_read_are_read_of_the_merged_block() -> None:
    graph = merged(stack(12, taps=range(12)))
    assert repeated(graph) == {"h.0..11": 12}
    loss = inputs_of(graph, node_of(graph, "SumBackward0"))
    assert Counter(loss) == {"AddBackward0": 12, "MmBackward0": 1}


def test_hidden_states_without_the_last_one_are_regular_too() -> None:
    assert repeated(merged(stack(12, taps=range(11)))) == {"h.0..11": 12}


def test_roots_at_every_block_stay_roots() -> None:
    graph = stack(4)
    adds = [node.id for node in graph.nodes if node.name == "AddBackward0"]
    every = replace(graph, roots=(*graph.roots, *(Root(f"h{k}", id) for k, id in enumerate(adds))))
    result = merged(every)
    assert repeated(result) == {"h.0..3": 4}
    add = node_of(result, "AddBackward0").id
    assert [root.node for root in result.roots] == [0, add, add, add, add]
    one = replace(graph, roots=(*graph.roots, Root("h1", adds[2])))
    assert repeated(merged(one)) == {"h.0..1": 2, "h.2..3": 2}


@pytest.mark.parametrize("constant", [False, True])
def test_an_unrolled_loop_without_modules_becomes_one_step(constant: bool) -> None:
    graph = merged(recurrent(500, constant=constant))
    assert repeated(graph) == {"step 0..499": 500}
    assert len([node for node in graph.nodes if node.kind is NodeKind.FUNCTION]) == 5
    assert graph.modules[0].type == ""


def test_a_leaf_that_starts_the_loop_is_read_by_the_merged_step() -> None:
    graph = merged(recurrent(500, constant=False))
    reader = node_of(graph, "AddmmBackward0")
    assert [graph.nodes[e.target].label for e in graph.edges if e.source == reader.id] == [
        "layers.0.bias",
        "h0",
        "layers.0.w_hh",
    ]


def test_states_stacked_at_the_end_stay_that_many_edges() -> None:
    graph = merged(recurrent(500, stacked=True))
    assert repeated(graph) == {"step 0..499": 500}
    stack_op = node_of(graph, "StackBackward0")
    rows = [edge for edge in graph.edges if edge.source == stack_op.id]
    assert len(rows) == 500
    assert {graph.nodes[edge.target].name for edge in rows} == {"TanhBackward0"}


def test_steps_that_read_one_row_each_of_an_unbind_are_equal() -> None:
    graph = merged(recurrent(50, layers=2))
    assert [(call.path, call.nth, call.repeats) for call in graph.modules] == [
        ("step 0..49", 0, 50),
        ("step 0..49", 1, 50),
    ]


def test_a_loop_inside_a_module_becomes_a_call_of_that_module() -> None:
    b = Builder()
    top = b.module("rnn", "RNN")
    weight = b.leaf("rnn.weight", 8, 8, module=top)
    x = b.leaf("x", 8, role=Role.INPUT)
    for _ in range(40):
        x = b.op("MulBackward0", (8,), x, weight, module=top)
        x = b.op("TanhBackward0", (8,), x, module=top)
    graph = merged(b.build(x))
    assert repeated(graph) == {"rnn.step 0..39": 40}
    assert [call.parent for call in graph.modules] == [None, 0]


def test_a_module_called_in_a_loop_becomes_one_call() -> None:
    b = Builder()
    x = b.leaf("x", 4, 8, role=Role.INPUT)
    weight = b.leaf("cell.weight", 8, 8)
    for _ in range(30):
        cell = b.module("cell", "Cell")
        b.nodes[weight] = replace(b.nodes[weight], module=b.nodes[weight].module or 0)
        x = b.op("MmBackward0", (4, 8), x, weight, module=cell)
        x = b.op("TanhBackward0", (4, 8), x, module=cell)
    graph = merged(b.build(x))
    assert repeated(graph) == {"cell": 30}
    assert len(graph.nodes) == 4


def test_a_step_that_is_a_call_and_ops_becomes_a_call_around_both() -> None:
    b = Builder()
    x = b.leaf("x", 4, 8, role=Role.INPUT)
    for number in range(10):
        x = linear(b, f"fc.{number}", x, (4, 8, 8), None)
        x = b.op("ReluBackward0", (4, 8), x)
    graph = merged(Hide().apply(b.build(x)))
    assert repeated(graph) == {"step 0..9": 10}
    assert {(call.path, call.parent) for call in graph.modules} == {
        ("step 0..9", None),
        ("fc.0..9", 0),
    }


def test_weights_that_take_turns_make_a_step_of_as_many_ops() -> None:
    b = Builder()
    weights = [b.leaf(f"w{k}", 8) for k in range(3)]
    x = b.leaf("x", 8, role=Role.INPUT)
    for number in range(60):
        x = b.op("MulBackward0", (8,), x, weights[number % 3])
        x = b.op("TanhBackward0", (8,), x)
    graph = merged(b.build(x))
    assert repeated(graph) == {"step 0..19": 20}
    assert {node.label for node in graph.nodes if node.kind is NodeKind.LEAF} == {
        "w0",
        "w1",
        "w2",
        "x",
    }


def test_a_sum_of_the_two_values_before_is_a_step_of_two_ops() -> None:
    b = Builder()
    x, y = b.leaf("x", 8, role=Role.INPUT), b.leaf("y", 8, role=Role.INPUT)
    for _ in range(40):
        x, y = y, b.op("AddBackward0", (8,), x, y)
    assert set(repeated(merged(b.build(y))).values()) <= {19, 20}


def test_loops_within_loops_are_merged_from_the_outside_in() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for _ in range(6):
        for _ in range(20):
            x = b.op("SinBackward0", (8,), x)
            x = b.op("CosBackward0", (8,), x)
        x = b.op("ExpBackward0", (8,), x)
    graph = merged(b.build(x))
    assert repeated(graph) == {"step 0..5": 6, "step 0..5.step 0..19": 20}
    assert [call.parent for call in graph.modules] == [None, 0]
    assert node_of(graph, "SinBackward0").size == 120


def test_blocks_within_stages_are_merged_too() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for stage in range(3):
        outer = b.module(f"stage.{stage}", "Stage")
        for number in range(4):
            path = f"stage.{stage}.block.{number}"
            inner = b.module(path, "Block", outer)
            x = b.op("MulBackward0", (8,), x, b.leaf(f"{path}.w", 8, module=inner), module=inner)
        x = b.op("TanhBackward0", (8,), x, module=outer)
    graph = merged(b.build(x))
    assert repeated(graph) == {"stage.0..2": 3, "stage.0..2.block.0..3": 4}
    assert node_of(graph, "stage.0..2.block.0..3.w").parameters == 12 * 8


def test_query_key_and_value_stay_apart() -> None:
    b = Builder()
    x = b.leaf("x", 4, 8, role=Role.INPUT)
    top = b.module("attn", "Attention")
    parts = [linear(b, f"attn.{name}", x, (4, 8, 8), top) for name in ("query", "key", "value")]
    b.op("ScaledDotProductBackward0", (4, 8), *parts, module=top)
    graph = b.build(len(b.nodes) - 1)
    assert merged(graph) == graph


def test_the_two_calls_of_a_siamese_network_stay_apart() -> None:
    b = Builder()
    weight = b.leaf("net.weight", 8)
    results = []
    for name in ("left", "right"):
        net = b.module("net", "Net")
        x = b.op("MulBackward0", (8,), b.leaf(name, 8, role=Role.INPUT), weight, module=net)
        results.append(b.op("TanhBackward0", (8,), x, module=net))
    graph = b.build(b.op("SubBackward0", (8,), *results))
    assert merged(graph) == graph


def test_experts_side_by_side_are_one_block() -> None:
    b = Builder()
    x = b.leaf("x", 4, 8, role=Role.INPUT)
    results = []
    for number in range(8):
        expert = b.module(f"experts.{number}", "Expert")
        weight = b.leaf(f"experts.{number}.w", 8, 8, module=expert)
        h = b.op("MmBackward0", (4, 8), x, weight, module=expert)
        results.append(b.op("GeluBackward0", (4, 8), h, module=expert))
    graph = merged(b.build(b.op("StackBackward0", (8, 4, 8), *results)))
    assert repeated(graph) == {"experts.0..7": 8}


def test_a_few_equal_ops_in_a_row_are_left_alone() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for _ in range(4):
        x = b.op("SinBackward0", (8,), x)
    graph = b.build(x)
    assert merged(graph) == graph


def test_parameters_that_no_gradient_reaches_are_merged_with_their_blocks() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for number in range(5):
        block = b.module(f"h.{number}", "Block")
        weight = b.leaf(f"h.{number}.w", 8, module=block)
        b.leaf(f"h.{number}.unused", 8, module=block)
        x = b.op("MulBackward0", (8,), x, weight, module=block)
    graph = merged(b.build(x))
    assert repeated(graph) == {"h.0..4": 5}
    assert node_of(graph, "h.0..4.unused").parameters == 40


def test_a_block_with_one_more_unused_parameter_is_not_merged() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for number in range(5):
        block = b.module(f"h.{number}", "Block")
        if number == 2:
            b.leaf(f"h.{number}.unused", 8, module=block)
        x = b.op("MulBackward0", (8,), x, b.leaf(f"h.{number}.w", 8, module=block), module=block)
    graph = merged(b.build(x))
    assert repeated(graph) == {"h.0..1": 2, "h.3..4": 2}
    assert differences(graph) == ["h.2 has leaf unused besides"]


def test_leaves_that_changed_places_keep_blocks_apart() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for number in range(6):
        block = b.module(f"h.{number}", "Block")
        pair = [b.leaf(f"h.{number}.{name}", 8, module=block) for name in ("a", "b")]
        if number == 3:
            pair.reverse()
        x = b.op("AddcmulBackward0", (8,), x, *pair, module=block)
    assert repeated(merged(b.build(x))) == {"h.0..2": 3, "h.4..5": 2}


def test_a_decoder_that_reads_every_layer_of_an_encoder_is_merged_after_it() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    skips = []
    for number in range(4):
        call = b.module(f"down.{number}", "Down")
        x = b.op("SinBackward0", (8,), x, module=call)
        x = b.op("CosBackward0", (8,), x, module=call)
        skips.append(x)
    for number, skip in enumerate(reversed(skips)):
        call = b.module(f"up.{number}", "Up")
        x = b.op("AddBackward0", (8,), x, skip, module=call)
        x = b.op("TanhBackward0", (8,), x, module=call)
    result = Repeats().apply(b.build(x))
    check_is_valid(result)
    assert repeated(result) == {"down.0..3": 4, "up.0..3": 4}


def test_variable_names_that_change_from_step_to_step_are_dropped() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for number in range(12):
        x = b.op("SinBackward0", (8,), x, names=("same",))
        x = b.op("CosBackward0", (8,), x, names=(f"x{number}",))
    graph = merged(b.build(x))
    assert node_of(graph, "SinBackward0").names == ("same",)
    assert node_of(graph, "CosBackward0").names == ()


def test_two_loops_that_share_their_weights_are_both_merged() -> None:
    b = Builder()
    weights = [b.leaf(f"w.{k}", 8) for k in range(20)]
    x = b.leaf("x", 8, role=Role.INPUT)
    for order in (weights, weights[::-1]):
        for weight in order:
            x = b.op("MulBackward0", (8,), x, weight)
        x = b.op("ExpBackward0", (8,), x)
    graph = merged(b.build(x))
    assert [call.repeats for call in graph.modules] == [20, 20]
    assert [n.parameters for n in graph.nodes if n.role is Role.PARAMETER] == [160]


def test_a_chain_of_a_hundred_thousand_ops_is_one_step() -> None:
    graph = Repeats().apply(chain(100_000))
    assert repeated(graph) == {"step 0..99999": 100_000}
    assert len(graph.nodes) == 2
    assert len(unrolled_ops(graph)) == 100_000


def test_paths_and_names_of_merged_things_have_no_address_or_count_in_them() -> None:
    texts = [call.path for call in merged(stack(12)).modules]
    texts += [name for node in merged(stack(12)).nodes for name in node.names]
    assert all(re.fullmatch(r"[\w.]*", text) for text in texts)


def test_blocks_that_read_through_other_views_are_not_merged() -> None:
    for odd, expected in ((None, {"h.0..7": 8}), (4, {"h.0..3": 4, "h.5..7": 3})):
        b = Builder()
        x = b.leaf("x", 8, 8, role=Role.INPUT)
        for number in range(8):
            call = b.module(f"h.{number}", "Block")
            weight = b.leaf(f"h.{number}.w", 8, 8, module=call)
            if number != odd:
                weight = b.op("TBackward0", (8, 8), weight, module=call)
            x = b.op("MmBackward0", (8, 8), x, weight, module=call)
        assert repeated(merged(Hide().apply(b.build(x)))) == expected


def test_views_between_blocks_do_not_keep_the_first_and_the_last_one_apart() -> None:
    b = Builder()
    x: int | None = None  # an input without gradient
    for number in range(6):
        call = b.module(f"h.{number}", "Block")
        turned = None if x is None else b.op("TransposeBackward0", (8, 8), x, module=call)
        x = b.op("MmBackward0", (8, 8), turned, b.leaf(f"h.{number}.w", 8, 8, module=call),
                 module=call)  # fmt: skip
    graph = merged(Hide().apply(b.build(b.op("SumBackward0", (), x))))
    assert repeated(graph) == {"h.0..5": 6}
    assert node_of(graph, "MmBackward0").size == 11


def test_a_weight_that_is_transposed_once_before_a_loop_does_not_set_its_first_step_apart() -> None:
    b = Builder()
    turned = b.op("TBackward0", (8, 8), b.leaf("w", 8, 8))
    x = b.leaf("x", 8, 8, role=Role.INPUT)
    for _ in range(20):
        x = b.op("TanhBackward0", (8, 8), b.op("MmBackward0", (8, 8), x, turned))
    assert repeated(merged(Hide().apply(b.build(x)))) == {"step 0..19": 20}


def test_modules_that_take_turns_are_one_step() -> None:
    b = Builder()
    weights: dict[int, int] = {}
    x = b.leaf("x", 8, role=Role.INPUT)
    for number in range(12):
        call = b.module(f"h.{number % 3}", "Block")
        weight = weights.setdefault(number % 3, b.leaf(f"h.{number % 3}.w", 8, module=call))
        x = b.op("MulBackward0", (8,), x, weight, module=call)
        x = b.op("TanhBackward0", (8,), x, module=call)
    graph = merged(b.build(x))
    assert repeated(graph) == {"step 0..3": 4, "h.0..2": 3}


def test_frozen_modules_without_ops_are_merged_too() -> None:
    b = Builder()
    for number in range(12):
        call = b.module(f"frozen.{number}", "Block")
        inner = b.module(f"frozen.{number}.fc", "Linear", call)
        size = 16 if number == 7 else 8
        b.constant(f"frozen.{number}.fc.w", size, role=Role.PARAMETER, module=inner)
    graph = merged(b.build(b.op("SinBackward0", (8,), b.leaf("x", 8, role=Role.INPUT))))
    assert repeated(graph) == {"frozen.0..6": 7, "frozen.8..11": 4}
    assert {node.label: node.parameters for node in graph.nodes if node.kind == "constant"} == {
        "frozen.0..6.fc.w": 56,
        "frozen.7.fc.w": 16,
        "frozen.8..11.fc.w": 32,
    }
    assert {call.path for call in graph.modules} == {
        "frozen.0..6", "frozen.0..6.fc", "frozen.7", "frozen.7.fc", "frozen.8..11",
        "frozen.8..11.fc",
    }  # fmt: skip


def test_an_unused_module_within_a_block_is_renamed_with_it() -> None:
    b = Builder()
    x = b.leaf("x", 8, role=Role.INPUT)
    for number in range(4):
        call = b.module(f"h.{number}", "Block")
        unused = b.module(f"h.{number}.unused", "Linear", call)
        b.leaf(f"h.{number}.unused.w", 8, module=unused)
        x = b.op("MulBackward0", (8,), x, b.leaf(f"h.{number}.w", 8, module=call), module=call)
    graph = merged(b.build(x))
    assert repeated(graph) == {"h.0..3": 4}
    assert [(call.path, call.parent) for call in graph.modules] == [
        ("h.0..3", None),
        ("h.0..3.unused", 0),
    ]
    assert node_of(graph, "h.0..3.unused.w").module == 1


def test_what_one_call_of_a_module_owns_does_not_set_it_apart_from_its_other_calls() -> None:
    for owner in (0, 9):
        b = Builder()
        x = b.leaf("x", 8, role=Role.INPUT)
        weight = b.leaf("net.w", 8)
        for number in range(10):
            call = b.module("net", "Net")
            if number == owner:
                b.nodes[weight] = replace(b.nodes[weight], module=call)
                unused = b.module("net.unused", "Linear", call)
                b.leaf("net.unused.w", 8, module=unused)
            x = b.op("MulBackward0", (8,), x, weight, module=call)
        graph = merged(b.build(x))
        assert repeated(graph) == {"net": 10}
        assert node_of(graph, "net.unused.w").parameters == 8
        assert [(call.path, call.parent) for call in graph.modules] == [
            ("net", None),
            ("net.unused", 0),
        ]
