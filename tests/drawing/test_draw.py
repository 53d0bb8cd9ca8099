"""What a picture shows of a graph."""

import math
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.drawing.diagram import Box, Diagram, Look, Sign, Tint
from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.heat import NOT_FINITE
from graphviz_cli.drawing.order import forward_order
from graphviz_cli.drawing.style import Style
from graphviz_cli.drawing.summary import summarise
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import (
    Annotation,
    Combine,
    Graph,
    NodeKind,
    NodeTable,
    Provenance,
    Role,
)
from tests import graphs
from tests.graphs import Builder, chain, spec

PLAIN = Style()


def box_of(diagram: Diagram, title: str) -> Box:
    found = [box for box in diagram.boxes if box.title == title]
    assert len(found) == 1, f"{len(found)} boxes are called {title}"
    return found[0]


def arrows_of(diagram: Diagram) -> list[tuple[str, str]]:
    return [(arrow.source, arrow.target) for arrow in diagram.arrows]


def shared_by(consumers: int, role: Role) -> Graph:
    b = Builder()
    leaf = b.leaf("w", 3, role=role)
    ops = [b.op(f"Use{k}Backward0", (3,), leaf) for k in range(consumers)]
    return b.build(b.op("StackBackward0", (consumers, 3), *ops))


def test_a_parameter_of_one_op_is_a_chip_in_its_box() -> None:
    diagram = draw(graphs.mlp(), PLAIN)
    head = next(box for box in diagram.boxes if box.id == "head.Addmm")
    assert [(chip.title, chip.detail, chip.shared) for chip in head.chips] == [
        ("bias", "10", False)
    ]
    assert not any(box.look is Look.PARAMETER for box in diagram.boxes)


def test_an_input_of_one_op_has_its_own_box() -> None:
    assert box_of(draw(graphs.mlp(), PLAIN), "x").look is Look.INPUT


@pytest.mark.parametrize("consumers", [2, 3, 4])
def test_a_parameter_of_a_few_ops_has_its_own_box(consumers: int) -> None:
    diagram = draw(shared_by(consumers, Role.PARAMETER), PLAIN)
    assert box_of(diagram, "w").look is Look.PARAMETER
    assert sum(source == "w" for source, _ in arrows_of(diagram)) == consumers
    assert not any(box.chips for box in diagram.boxes)


@pytest.mark.parametrize("role", [Role.PARAMETER, Role.INPUT])
def test_a_leaf_of_many_ops_is_a_marked_chip_in_each_of_them(role: Role) -> None:
    diagram = draw(shared_by(5, role), PLAIN)
    chips = [chip for box in diagram.boxes for chip in box.chips]
    assert [(chip.title, chip.shared) for chip in chips] == [("w", True)] * 5
    assert len({chip.id for chip in chips}) == 5
    assert not any(box.title == "w" for box in diagram.boxes)
    assert any(key.sign is Sign.SHARED for key in diagram.legend)


def test_a_tied_weight_shows_both_of_its_names() -> None:
    box = box_of(draw(graphs.tied(), PLAIN), "weight = lm_head.weight")
    assert "shared parameter" in box.lines[0]


def test_a_parameter_that_an_op_takes_twice_keeps_both_arrows() -> None:
    b = Builder()
    w = b.leaf("w", 3)
    diagram = draw(b.build(b.op("MulBackward0", (3,), w, w)), PLAIN)
    (arrow,) = diagram.arrows
    assert (arrow.source, arrow.target, arrow.count) == ("w", "Mul", 2)


def test_repeated_edges_are_counted() -> None:
    arrow = next(a for a in draw(graphs.square(), PLAIN).arrows if a.target == "Mul")
    assert (arrow.source, arrow.count) == ("Exp", 2)


def test_the_root_is_marked_and_named() -> None:
    b = Builder()
    top = b.op("MeanBackward0", (), b.leaf("w", 3))
    diagram = draw(b.build(top, names=("output.logits",)), PLAIN)
    box = box_of(diagram, "Mean")
    assert box.root
    assert box.lines[0].startswith("root output.logits")


def test_a_leaf_that_is_a_root_is_no_chip() -> None:
    b = Builder()
    w = b.leaf("w", 3)
    diagram = draw(b.build(b.op("SumBackward0", (), w), w, names=("loss", "w")), PLAIN)
    assert box_of(diagram, "w").root


def test_parameters_without_gradient_share_a_box() -> None:
    diagram = draw(graphs.unreached(), PLAIN)
    absent = box_of(diagram, "gets no gradient")
    assert absent.look is Look.ABSENT
    assert [row.title for row in absent.rows] == ["head.bias", "head.weight"]
    frozen = box_of(diagram, "requires no gradient")
    assert [row.title for row in frozen.rows] == ["stem.weight"]


def test_a_long_list_of_parameters_without_gradient_is_counted() -> None:
    b = Builder()
    for number in range(100):
        b.leaf(f"w{number:02}", 3)
    diagram = draw(b.build(b.op("SumBackward0", (), b.leaf("used", 3))), PLAIN)
    box = box_of(diagram, "gets no gradient")
    assert box.lines == ("100 tensors · 300 elements",)
    assert box.rows[-1].title == "and 88 more"


def test_a_cut_is_dashed_and_lets_nothing_past() -> None:
    diagram = draw(graphs.cut(), PLAIN)
    assert box_of(diagram, "detach").look is Look.CUT
    into, out = (
        next(a for a in diagram.arrows if a.target == "detach"),
        next(a for a in diagram.arrows if a.source == "detach"),
    )
    assert (into.broken, into.blocked) == (True, False)
    assert (out.broken, out.blocked) == (True, True)
    assert not next(a for a in diagram.arrows if (a.source, a.target) == ("Mul", "Sub")).broken


def test_a_cut_that_stands_for_several_says_how_many() -> None:
    graph = graphs.cut()
    (cut,) = graph.nodes.ids(NodeKind.CUT)
    diagram = draw(graph.annotated(Annotation("cuts", {cut: 50}, combine=Combine.SUM)), PLAIN)
    assert box_of(diagram, "detach").repeats == 50
    assert diagram.hidden == ("50 cuts drawn as 1 (--no-repeats)",)


def test_a_cut_in_repeated_blocks_says_how_many_there_are_in_one_of_them() -> None:
    b = Builder()
    w = b.leaf("w", 4)
    cut = b.cut("detach", w, b.module("h.0..11", "Block", repeats=12))
    graph = b.build(b.op("AddBackward0", (4,), w, cut))
    counted = {graph.nodes.ids(NodeKind.CUT)[0]: 96}
    diagram = draw(graph.annotated(Annotation("cuts", counted, combine=Combine.SUM)), PLAIN)
    assert box_of(diagram, "detach").repeats == 8


def test_nothing_beyond_a_cut_carries_a_gradient() -> None:
    b = Builder()
    w = b.leaf("w", 3)
    inner = b.op("SinBackward0", (3,), b.op("ExpBackward0", (3,), w))
    loss = b.op("AddBackward0", (3,), b.cut("no_grad", inner), b.op("CosBackward0", (3,), w))
    broken = {(a.source, a.target): a.broken for a in draw(b.build(loss), PLAIN).arrows}
    assert broken == {
        ("w", "Exp"): True,
        ("Exp", "Sin"): True,
        ("Sin", "no_grad"): True,
        ("no_grad", "Add"): True,
        ("w", "Cos"): False,
        ("Cos", "Add"): False,
    }


def test_a_leaf_of_an_unseen_part_is_not_said_to_get_no_gradient() -> None:
    graph = graphs.unreached()
    by_name = {node.label: node.id for node in graph.nodes}
    graph = graph.annotated(
        Annotation("unknown", {by_name["head.bias"]: "it is inside a checkpoint"}),
        Annotation("used", {by_name["head.weight"]: "model.py:7"}),
    )
    diagram = draw(graph, PLAIN)
    (row,) = box_of(diagram, "gradient unknown").rows
    assert (row.title, row.amount) == ("head.bias", "it is inside a checkpoint")
    (row,) = box_of(diagram, "gets no gradient").rows
    assert (row.title, row.amount) == ("head.weight", "used at model.py:7")


def test_what_distinguishes_an_open_block_stands_at_its_panel() -> None:
    b = Builder()
    x = b.leaf("x", 3, role=Role.INPUT)
    top = b.module("", "Net")
    for number in range(2):
        call = b.module(f"stack.h.{number}", "Block", top)
        x = b.op("SinBackward0", (3,), x, module=call)
    graph = b.build(x)
    graph = graph.annotated(Annotation("differs", {0: "h.1 lacks leaf bias"}))
    diagram = draw(graph, PLAIN)
    assert [c.note for c in diagram.clusters] == ["Block", "Block · lacks leaf bias"]
    assert not any("lacks" in line for box in diagram.boxes for line in box.lines)


def test_what_distinguishes_a_folded_block_stands_in_its_box() -> None:
    graph = graphs.folded()
    module = next(node.id for node in graph.nodes if node.names == ("b",))
    graph = graph.annotated(Annotation("differs", {module: "b has op AddBackward0 besides"}))
    assert box_of(draw(graph, PLAIN), "b").lines[-1] == "has op AddBackward0 besides"


def test_what_distinguishes_an_inner_block_does_not_stand_in_the_box_of_an_outer_one() -> None:
    graph = graphs.folded()
    module = next(node.id for node in graph.nodes if node.names == ("b",))
    graph = graph.annotated(Annotation("differs", {module: "h.0 has op AddBackward0 besides"}))
    assert len(box_of(draw(graph, PLAIN), "b").lines) == 2


def test_many_variables_are_cut_after_the_ones_that_fit() -> None:
    b = Builder()
    names = ("query_states", "key_states", "value_states")
    graph = b.build(b.op("SplitBackward0", (2,), b.leaf("w", 2), names=names))
    assert box_of(draw(graph, PLAIN), "Split").variable == "query_states, …"


def test_bytes_that_differ_between_repetitions_are_given_in_all() -> None:
    b = Builder()
    call = b.module("h.0..2", "Block", b.module("", "Net"), repeats=3)
    op = b.op("SinBackward0", (2,), b.leaf("x", 2), module=call, size=3, saves={"self": (25,)})
    assert "saves 100 B in all" in box_of(draw(b.build(op), PLAIN), "Sin").lines[0]


def test_arrows_run_the_way_of_the_forward_pass() -> None:
    diagram = draw(graphs.mlp(), PLAIN)
    place = {box.id: number for number, box in enumerate(diagram.boxes)}
    assert all(place[source] < place[target] for source, target in arrows_of(diagram))


def test_modules_are_nested_panels_without_one_for_the_target_itself() -> None:
    diagram = draw(graphs.transformer_block(), PLAIN)
    panels = [(cluster.title, cluster.note, cluster.depth) for cluster in diagram.clusters]
    assert panels[0] == ("h.0", "Block", 0)
    assert ("attn", "Attention", 1) in panels
    assert ("qkv", "Linear", 2) in panels
    assert len(panels) == 9
    softmax = box_of(diagram, "Softmax")
    assert softmax.cluster is not None
    assert diagram.clusters[softmax.cluster].title == "attn"


def test_a_module_without_a_box_has_no_panel() -> None:
    titles = [cluster.title for cluster in draw(graphs.unreached(), PLAIN).clusters]
    assert titles == ["fc"]


def test_a_second_call_of_a_module_is_told_from_the_first() -> None:
    b = Builder()
    top = b.module("", "Twice")
    x = b.leaf("x", 3, role=Role.INPUT)
    for _ in range(2):
        x = b.op("SinBackward0", (3,), x, module=b.module("act", "Sine", top))
    diagram = draw(b.build(x), PLAIN)
    assert [cluster.title for cluster in diagram.clusters] == ["act", "act #2"]
    assert [box.id for box in diagram.boxes] == ["x", "act.Sin", "act-2.Sin"]


def test_a_folded_module_says_what_is_in_it() -> None:
    box = box_of(draw(graphs.folded(), PLAIN), "b")
    assert (box.look, box.note) == (Look.MODULE, "B")
    assert box.lines == ("2×16", "5 ops · 1.23M params · saves 128 B")


def test_a_folded_graph_with_a_cycle_keeps_all_its_arrows() -> None:
    assert sorted(arrows_of(draw(graphs.folded(), PLAIN))) == [
        ("a", "Mean"),
        ("a", "b"),
        ("b", "a"),
        ("x", "a"),
    ]


def test_a_repeated_block_says_how_often_and_what_one_of_them_saves() -> None:
    diagram = draw(graphs.transformer_block(repeats=12), PLAIN)
    (block,) = [cluster for cluster in diagram.clusters if cluster.repeats > 1]
    assert (block.title, block.repeats) == ("h.0..11", 12)
    assert "saves 12 × 1.0 kB" in box_of(diagram, "Softmax").lines[0]
    assert "12 equal blocks drawn as 1 (--no-repeats)" in diagram.hidden


def test_hidden_views_are_a_mark_at_the_arrows_that_leave() -> None:
    diagram = draw(graphs.views(), PLAIN)
    assert [(a.source, a.views) for a in diagram.arrows] == [("Mul", 2), ("Mm", 0)]
    assert diagram.hidden == ("2 view ops hidden (--show views)",)
    assert any(key.sign is Sign.VIEWS for key in diagram.legend)


def test_the_variable_stands_before_the_op() -> None:
    assert box_of(draw(graphs.mlp(), PLAIN), "Relu").variable == "h"


def test_saved_bytes_stand_in_the_box_and_their_rows_when_asked() -> None:
    graph = graphs.mlp()
    relu = box_of(draw(graph, PLAIN), "Relu")
    assert relu.saves
    assert relu.lines == ("64×256 · saves 65.5 kB",)
    assert relu.rows == ()
    (row,) = box_of(draw(graph, Style(show=frozenset({"saved"}))), "Relu").rows
    assert (row.title, row.detail, row.amount, row.saved) == ("result", "64×256", "65.5 kB", True)


def test_source_type_and_formula_are_shown_when_asked() -> None:
    show = frozenset({"source", "dtype", "formula"})
    diagram = draw(graphs.mlp(), Style(show=show))
    box = next(box for box in diagram.boxes if box.id == "fc1.Addmm")
    assert box.lines[0].startswith("64×256 f32")
    assert box.lines[1] == "model.py:12  self.fc1(x)"
    assert [row.title for row in box.rows] == ["self", "mat1", "mat2"]
    assert box.rows[0].detail == "maybe_multiply(grad, beta.conj())"


def test_a_tooltip_tells_name_place_shapes_and_formula() -> None:
    diagram = draw(graphs.mlp(), PLAIN)
    lines = next(box for box in diagram.boxes if box.id == "fc1.Addmm").tooltip.split("\n")
    assert lines[0] == "AddmmBackward0"
    assert "in fc1 Linear" in lines
    assert "64×256 float32 cpu" in lines
    assert "saves mat1 64×784 float32" in lines
    assert "model.py:12  self.fc1(x) in forward" in lines
    assert "grad of self = maybe_multiply(grad, beta.conj())" in lines


def test_an_arrow_tells_which_input_it_is() -> None:
    diagram = draw(graphs.mlp(), PLAIN)
    tooltips = {(a.source, a.target): a.tooltip for a in diagram.arrows}
    assert tooltips["x", "fc1.Addmm"] == "x → fc1.Addmm as mat1"


def test_an_input_that_is_a_list_counts_its_members() -> None:
    b = Builder()
    x = b.leaf("x", 3, role=Role.INPUT)
    y = b.op("ExpBackward0", (3,), x)
    graph = b.build(b.op("StackBackward0", (2, 3), x, y))
    operator = replace(graphs.ADDMM, inputs=("tensors*",), formulas=("unbind(grad)",))
    graph = replace(graph, operators={"StackBackward0": operator})
    tooltips = {a.source: a.tooltip for a in draw(graph, PLAIN).arrows if a.target == "Stack"}
    assert tooltips == {
        "x": "x → Stack as tensors[0]",
        "Exp": "Exp → Stack as tensors[1]",
    }


def test_the_title_says_what_was_folded_and_how_to_see_it() -> None:
    diagram = draw(graphs.folded(), PLAIN)
    assert diagram.title == "Outer"
    assert diagram.facts[0] == "18 backward ops, drawn as 4 nodes"
    assert diagram.hidden == ("17 ops folded into 2 modules (--depth all)",)


def test_an_estimated_or_partial_graph_says_so() -> None:
    graph = graphs.square()
    marked = Provenance(title="x", estimated=True, partial=True, notes=("A note.",))
    remarks = draw(replace(graph, provenance=marked), PLAIN).remarks
    assert len(remarks) == 3
    assert remarks[0].startswith("estimated")
    assert remarks[1].startswith("partial")


def test_many_notes_are_counted() -> None:
    noted = replace(graphs.square(), provenance=Provenance(notes=tuple("abcdef")))
    assert draw(noted, PLAIN).remarks == ("a", "b", "c", "and 3 more notes")


def test_the_style_can_set_the_title() -> None:
    assert draw(graphs.square(), Style(title="Figure 1")).title == "Figure 1"


def test_the_legend_lists_only_what_is_there() -> None:
    texts = [key.text for key in draw(graphs.square(), PLAIN).legend]
    assert texts == ["backward op", "leaf input", "root", "saves tensors for backward"]


def test_heat_colours_by_an_annotation_on_a_log_scale() -> None:
    graph = graphs.square()
    norms = Annotation("gradient", {0: 1e-4, 1: 1e-2, 2: 1.0, 3: math.nan}, combine=Combine.MAX)
    diagram = draw(graph.annotated(norms), Style(heat="gradient"))
    tints = [box.tint for box in reversed(diagram.boxes)]
    assert tints[0] == Tint("#00204C", "#FFFFFF")
    assert tints[2] == Tint("#FFEA46", "#111111")
    assert tints[1] not in (None, tints[0], tints[2])
    assert tints[3] == NOT_FINITE
    assert "gradient 0.0001" in box_of(diagram, "Sum").lines
    assert [key.text for key in diagram.legend if isinstance(key.sign, Tint)] == [
        "gradient 0.0001",
        "gradient 0.00215",
        "gradient 0.0464",
        "gradient 1",
        "gradient not finite",
    ]


def test_heat_by_saved_bytes_needs_no_annotation() -> None:
    diagram = draw(graphs.square(), Style(heat="saved"))
    assert box_of(diagram, "Exp").tint == Tint("#00204C", "#FFFFFF")
    assert box_of(diagram, "Mul").tint == Tint("#FFEA46", "#111111")
    assert box_of(diagram, "Sum").tint is None
    assert draw(graphs.square(), Style(heat="memory")).legend == diagram.legend


def test_heat_by_what_no_probe_has_measured_names_the_probe() -> None:
    with pytest.raises(UsageError) as raised:
        draw(graphs.square(), Style(heat="forward-time"))
    assert raised.value.hint == "Known: saved. --probe forward-time measures it."


def test_heat_by_an_unknown_annotation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as raised:
        draw(graphs.views(), Style(heat="gradent"))
    assert raised.value.hint == "Known: saved, views."


def test_the_longest_way_to_an_op_is_its_main_arrow() -> None:
    diagram = draw(graphs.transformer_block(), PLAIN)
    into_last = {a.source: a.main for a in diagram.arrows if a.target == "h.0.Add-2"}
    assert into_last == {"h.0.Add": False, "h.0.mlp.fc2.Addmm": True}


def test_a_graph_without_nodes_gives_a_title_only() -> None:
    diagram = draw(Graph(NodeTable.of(()), provenance=Provenance(title="nothing")), PLAIN)
    assert (diagram.title, diagram.boxes, diagram.legend) == ("nothing", (), ())


def test_a_part_without_a_root_is_drawn_whole() -> None:
    diagram = draw(replace(graphs.cut(), roots=()), PLAIN)
    assert len(diagram.boxes) == 5
    assert not next(a for a in diagram.arrows if a.target == "Mean").broken
    assert next(a for a in diagram.arrows if a.target == "detach").broken


def test_two_drawings_of_one_graph_are_equal() -> None:
    assert draw(graphs.transformer_block(), PLAIN) == draw(graphs.transformer_block(), PLAIN)


def test_a_hundred_thousand_chained_ops_are_drawn_without_recursion() -> None:
    start = time.perf_counter()
    diagram = draw(chain(100_000), PLAIN)
    assert len(diagram.boxes) == 100_001
    assert time.perf_counter() - start < 60


def test_several_outputs_are_counted() -> None:
    b = Builder()
    split = b.op("SplitBackward0", [spec(2, 3)] * 4, b.leaf("w", 8, 3))
    diagram = draw(b.build(b.op("MulBackward0", (2, 3), (split, 0), (split, 3))), PLAIN)
    assert box_of(diagram, "Split").lines == ("2×3 · 4 outputs",)
    assert "input 1 (output 3)" in diagram.arrows[-1].tooltip


@given(graphs.graphs(), st.sets(st.sampled_from(["saved", "source", "dtype", "formula"])))
def test_every_node_of_any_graph_is_shown_once_and_every_edge_is_an_arrow_or_a_chip(
    graph: Graph, show: set[str]
) -> None:
    diagram = draw(graph, Style(show=frozenset(show)))
    ids = [box.id for box in diagram.boxes]
    assert len(set(ids)) == len(ids)
    assert all(box.cluster is None or box.cluster < len(diagram.clusters) for box in diagram.boxes)
    assert all(c.parent is None or c.parent < k for k, c in enumerate(diagram.clusters))
    assert {end for pair in arrows_of(diagram) for end in pair} <= set(ids)

    ops = [n for n in graph.nodes if n.kind in (NodeKind.FUNCTION, NodeKind.CUT)]
    assert sum(box.look in (Look.OP, Look.CUT) for box in diagram.boxes) == len(ops)
    chips = [chip for box in diagram.boxes for chip in box.chips]
    in_chips = sum(int(c.title.rpartition("×")[2]) if "×" in c.title else 1 for c in chips)
    in_arrows = sum(arrow.count for arrow in diagram.arrows)
    assert in_arrows <= len(graph.edges) <= in_arrows + max(in_chips, len(chips))


@given(graphs.graphs())
def test_forward_order_puts_every_op_after_what_it_uses(graph: Graph) -> None:
    order = forward_order(graph)
    place = {node: number for number, node in enumerate(order)}
    assert sorted(order) == list(range(len(graph.nodes)))
    assert all(place[edge.target] < place[edge.source] for edge in graph.edges)


@given(graphs.graphs())
def test_the_summary_counts_every_captured_op(graph: Graph) -> None:
    summary = summarise(graph)
    assert summary.ops == sum(node.size for node in graph.nodes)
    assert summary.parameters == sum(node.parameters for node in graph.nodes)
    assert (summary.folded_ops, summary.blocks, summary.hidden_views) == (0, 0, 0)
    assert summary.hidden() == ()


def test_an_arrow_from_a_constant_shows_that_no_gradient_flows() -> None:
    b = Builder()
    x, w = b.constant("x", 3, role=Role.INPUT), b.leaf("w", 3)
    diagram = draw(b.build(b.op("MulBackward0", (3,), w, x)), Style())
    # The parameter is a chip.
    assert [arrow.unasked for arrow in diagram.arrows] == [True]
