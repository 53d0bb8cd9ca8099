"""Exact lines about small graphs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from graphs import Builder, linear, spec

from graphviz_cli.diff.changes import changes
from graphviz_cli.diff.pairs import What
from graphviz_cli.graph.model import Annotation, Graph, NodeKind, Role, SourceLocation
from graphviz_cli.graph.verdict import UNKNOWN


def at(line: int, text: str = "") -> SourceLocation:
    return SourceLocation("train.py", line, text=text)


def small(change: Callable[[Builder, int], int] = lambda b, h: h, *, batch: int = 8) -> Graph:
    """Two linear layers; `change` makes what stands between them."""
    b = Builder()
    top = b.module("model", "Model")
    x = b.leaf("x", batch, 8, role=Role.INPUT)
    h = linear(b, "model.fc1", x, (batch, 8, 8), top)
    h = change(b, h)
    h = linear(b, "model.fc2", h, (batch, 8, 4), top)
    return b.build(b.op("MeanBackward0", (), h, source=at(30)))


def loop(times: int, *, at_lines: bool = True) -> Graph:
    b = Builder()
    w, h = b.leaf("w", 8, 8), b.leaf("h", 4, 8, role=Role.INPUT)
    for _ in range(times):
        for line, name in enumerate(("Mm", "Add", "Tanh", "Mul"), 20):
            source = at(line) if at_lines else None
            h = b.op(f"{name}Backward0", (4, 8), h, *([w] * (name == "Mm")), source=source)
    return b.build(b.op("SumBackward0", (), h))


def layers(*numbers: int, extra: str = "") -> Graph:
    b = Builder()
    top = b.module("model", "Model")
    h = b.leaf("x", 8, 8, role=Role.INPUT)
    for number in numbers:
        block = b.module(f"model.h.{number}", "Block", top)
        for name in ("in", "out"):
            h = linear(b, f"model.h.{number}.{name}", h, (8, 8, 8), block)
            if extra:
                h = b.op(extra, (8, 8), h, module=block)
    return b.build(b.op("MeanBackward0", (), h))


def test_an_op_between_two_others_is_told_and_its_neighbours_are_not() -> None:
    with_act = small(
        lambda b, h: b.op(
            "MulBackward0", (8, 8), h, module=b.module("model.act", "Act"), source=at(14, "h * 2")
        )
    )
    assert changes(small(), with_act).lines() == (
        "+ MulBackward0 8×8 in model.act (train.py:14 h * 2)",
    )
    assert changes(with_act, small()).lines() == (
        "- MulBackward0 8×8 in model.act (train.py:14 h * 2)",
    )


def test_a_parameter_that_is_used_no_more_comes_first() -> None:
    def scaled(b: Builder, h: int) -> int:
        return b.op("MulBackward0", (8, 8), h, b.leaf("model.scale", 8), source=at(14))

    assert changes(small(scaled), small()).lines() == (
        "- model.scale gets no gradient any more",
        "- MulBackward0 8×8 (train.py:14)",
    )


def test_a_leaf_of_both_graphs_that_is_reached_no_more_is_told() -> None:
    def graph(*, is_used: bool) -> Graph:
        b = Builder()
        w, v = b.leaf("w", 4), b.leaf("v", 4)
        y = b.op("MulBackward0", (4,), w, v if is_used else None)
        return b.build(b.op("SumBackward0", (), y))

    used, unused = graph(is_used=True), graph(is_used=False)
    found = changes(used, unused)
    assert found.lines() == (
        "- v gets no gradient any more",
        "~ MulBackward0 4 passes no gradient to v any more",
    )
    assert (found.added, found.lost) == ((), ())
    assert changes(unused, used).lines() == (
        "+ v gets a gradient now",
        "~ MulBackward0 4 passes a gradient to v now",
    )


def test_a_frozen_parameter_requires_none() -> None:
    def graph(kind: NodeKind) -> Graph:
        b = Builder()
        w = b.leaf("w", 4)
        v = b.leaf("v", 4, kind=kind)
        return b.build(b.op("MulBackward0", (4,), w, v))

    old, new = graph(NodeKind.LEAF), graph(NodeKind.CONSTANT)
    assert changes(old, new).lines() == ("- v requires no gradient any more",)
    assert changes(new, old).lines() == ("+ v requires a gradient now",)


@pytest.mark.parametrize("are_listed", [True, False])
def test_another_parameter_of_equal_shape_is_told_by_the_names(*, are_listed: bool) -> None:
    def graph(name: str) -> Graph:
        b = Builder()
        leaves = {key: b.leaf(key, 4) for key in ("ab" if are_listed else name)}
        return b.build(b.op("MulBackward0", (4,), leaves[name]))

    assert changes(graph("a"), graph("b")).lines() == (
        "- a gets no gradient any more",
        "+ b gets a gradient now",
        "~ MulBackward0 4 takes b instead of a",
    )


def test_a_parameter_that_is_used_elsewhere_too_is_told_by_the_wiring() -> None:
    def graph(name: str) -> Graph:
        b = Builder()
        a = {key: b.leaf(key, 4) for key in "ab"}
        h = b.op("MulBackward0", (4,), a["a"], a["b"], source=at(3))
        return b.build(b.op("SubBackward0", (4,), h, a[name], source=at(4)))

    found = changes(graph("a"), graph("b"))
    assert found.lines() == ("~ SubBackward0 4 takes b instead of a (train.py:4)",)
    assert [change.what for change in found.changed] == [{What.WIRING}]


def test_a_gradient_that_is_not_passed_any_more_is_told() -> None:
    def graph(*, is_whole: bool) -> Graph:
        b = Builder()
        h = b.op("ExpBackward0", (4,), b.leaf("x", 4), source=at(2))
        return b.build(b.op("MulBackward0", (4,), h, h if is_whole else None, source=at(3)))

    assert changes(graph(is_whole=True), graph(is_whole=False)).lines() == (
        "~ MulBackward0 4 passes no gradient to ExpBackward0 of train.py:2 any more (train.py:3)",
    )
    assert changes(graph(is_whole=False), graph(is_whole=True)).lines() == (
        "~ MulBackward0 4 passes a gradient to ExpBackward0 of train.py:2 now (train.py:3)",
    )


def test_inputs_in_another_order_are_told_and_one_more_input_is_not() -> None:
    def graph(order: str) -> Graph:
        b = Builder()
        leaves = {key: b.leaf(key, 4) for key in "abc"}
        h = b.op("CatBackward0", (8,), *(leaves[key] for key in order), source=at(3))
        return b.build(b.op("SumBackward0", (), h, *leaves.values()))

    assert changes(graph("ab"), graph("ba")).lines() == (
        "~ CatBackward0 8 takes its inputs in another order (train.py:3)",
    )
    assert changes(graph("ab"), graph("acb")).lines() == (
        "~ CatBackward0 8 passes a gradient to c now (train.py:3)",
    )


@pytest.mark.parametrize(("old", "new", "line"), [
    (5, 3, "- 2 times the 4 ops of train.py:20-23"),
    (3, 5, "+ 2 times the 4 ops of train.py:20-23"),
    (3, 4, "+ once the 4 ops of train.py:20-23"),
])  # fmt: skip
def test_passes_of_a_loop_are_told_as_such(old: int, new: int, line: str) -> None:
    assert changes(loop(old), loop(new)).lines() == (line,)


def test_a_loop_without_source_lines_is_told_by_its_ops() -> None:
    assert changes(loop(5, at_lines=False), loop(3, at_lines=False)).lines() == (
        "- 2 times the 4 ops from MmBackward0 to MulBackward0",
    )


def test_a_skipped_layer_is_one_line() -> None:
    assert changes(layers(0, 1, 2, 3), layers(0, 3)).lines() == (
        "- model.h.1..2.* (8 parameters) get no gradient any more",
        "- model.h.1..2: 4 ops each",
    )
    assert changes(layers(0, 2, 3), layers(0, 1, 3)).lines() == (
        "- model.h.2.* (4 parameters) get no gradient any more",
        "+ model.h.1.* (4 parameters) get a gradient now",
        "- model.h.2: 4 ops",
        "+ model.h.1: 4 ops",
    )


def test_the_same_change_in_every_layer_is_one_line() -> None:
    old, new = (layers(*range(12), extra=name) for name in ("ReluBackward0", "GeluBackward0"))
    assert changes(old, new).lines() == (
        "- 24 × ReluBackward0 8×8 in model.h.0..11",
        "+ 24 × GeluBackward0 8×8 in model.h.0..11",
    )


def test_another_batch_size_is_one_line() -> None:
    def graph(batch: int) -> Graph:
        def deep(b: Builder, h: int) -> int:
            for _ in range(6):
                h = b.op("SinBackward0", (batch, 8), h)
            return b.op("ViewBackward0", (batch * 8,), h)

        return small(deep, batch=batch)

    found = changes(graph(8), graph(4))
    assert found.lines() == ("~ shapes differ in 10 nodes: 8×… became 4×…, 64 became 32",)
    assert {change.what for change in found.changed} == {frozenset({What.SHAPE})}


def test_few_other_shapes_are_told_one_by_one() -> None:
    assert changes(small(batch=8), small(batch=4)).lines() == (
        "~ x 4×8 was 8×8",
        "~ AddmmBackward0 4×8 was 8×8 in model.fc1 (model.py:12 self.model.fc1(x))",
        "~ AddmmBackward0 4×4 was 8×4 in model.fc2 (model.py:12 self.model.fc2(x))",
    )


def test_one_shape_is_told_with_what_it_was() -> None:
    def graph(size: int, dtype: str = "float32") -> Graph:
        b = Builder()
        fc = b.module("model.fc", "Linear")
        h = b.leaf("x", 8, 8, role=Role.INPUT)
        h = b.op("AddmmBackward0", [spec(8, size, dtype=dtype)], h, module=fc,
                 source=SourceLocation("net.py", 9))  # fmt: skip
        return b.build(b.op("MeanBackward0", (), h))

    assert changes(graph(8), graph(4)).lines() == (
        "~ AddmmBackward0 8×4 was 8×8 in model.fc (net.py:9)",
    )
    assert changes(graph(8), graph(8, "bfloat16")).lines() == (
        "~ AddmmBackward0 8×8 bf16 was f32 in model.fc (net.py:9)",
    )
    assert changes(graph(8), graph(4, "bfloat16")).lines() == (
        "~ AddmmBackward0 8×4 bf16 was 8×8 f32 in model.fc (net.py:9)",
    )


def test_an_op_that_moved_into_a_module_is_the_same_op() -> None:
    def graph(path: str) -> Graph:
        def between(b: Builder, h: int) -> int:
            return b.op("ReluBackward0", (8, 8), h, module=b.module(path, "Module"))

        return small(between)

    found = changes(graph("model"), graph("model.act"))
    assert found.lines() == ("~ ReluBackward0 8×8 in model.act, was in model",)
    assert [change.what for change in found.changed] == [{What.MODULE}]


def test_roots_that_came_went_or_are_others_are_told() -> None:
    def graph(*roots: str, names: tuple[str, ...]) -> Graph:
        b = Builder()
        ops = {
            name: b.op(f"{name}Backward0", (4,), b.leaf("x" + name, 4)) for name in ("Sin", "Exp")
        }
        both = b.op("AddBackward0", (4,), *ops.values())
        return b.build(*(ops.get(name, both) for name in roots), names=names)

    old = graph("Add", "Sin", names=("loss", "aux"))
    assert changes(old, graph("Add", names=("loss",))).lines() == ("- root aux: SinBackward0 4",)
    assert changes(graph("Add", names=("loss",)), old).lines() == ("+ root aux: SinBackward0 4",)
    assert changes(old, graph("Add", "Exp", names=("loss", "aux"))).lines() == (
        "~ root aux is another: ExpBackward0 4, was SinBackward0 4",
    )
    assert changes(old, graph("Add", "Sin", names=("total", "aux"))).lines() == (
        "~ root total was called loss",
    )


def test_a_weight_that_is_no_longer_tied_still_gets_its_gradient() -> None:
    def graph(*, is_tied: bool) -> Graph:
        b = Builder()
        first = b.leaf(("wte.weight", "head.weight") if is_tied else ("wte.weight",), 8, 4)
        second = first if is_tied else b.leaf("head.weight", 8, 4)
        h = b.op("EmbeddingBackward0", (2, 4), first)
        return b.build(b.op("MmBackward0", (2, 8), h, second))

    found = changes(graph(is_tied=True), graph(is_tied=False))
    assert (found.gained, found.ended) == ((), ())
    assert found.lines() == (
        "~ MmBackward0 2×8 takes head.weight instead of wte.weight",
        "+ leaf head.weight 8×4",
    )


def test_leaves_without_a_name_are_known_by_the_ops_that_take_them() -> None:
    def graph(*names: str) -> Graph:
        b = Builder()
        h = b.leaf("x", 4)
        for line, name in enumerate(names):
            leaf = b.leaf((), 4, role=None)
            h = b.op(f"{name}Backward0", (4,), h, leaf, source=at(line))
        return b.build(h)

    assert changes(graph("Mul", "Sub", "Div"), graph("Mul", "Div")).lines() == (
        "- 1 unnamed leaf gets no gradient any more",
        "- SubBackward0 4 (train.py:1)",
    )
    lost = changes(graph("Mul", "Sub", "Div"), graph("Sub")).lines()
    assert lost[0] == "- 2 unnamed leaves get no gradient any more"


def test_ops_that_changed_places_are_no_change() -> None:
    def graph(order: str) -> Graph:
        b = Builder()
        x = b.leaf("x", 4)
        ops = {name: b.op(f"{name}Backward0", (4,), x, source=at(ord(name))) for name in order}
        return b.build(b.op("AddBackward0", (4,), ops["a"], ops["b"]))

    assert changes(graph("ab"), graph("ba")).lines() == ()


def test_many_other_shapes_come_before_single_ops() -> None:
    def graph(batch: int, extra: str) -> Graph:
        b = Builder()
        h = b.leaf("x", batch, 8)
        for name in ("Sin", "Cos", "Exp", "Tan", *extra):
            h = b.op(f"{name}Backward0", (batch, 8), h)
        return b.build(h)

    assert changes(graph(4, ""), graph(2, "z")).lines() == (
        "~ shapes differ in 5 nodes: 4×… became 2×…",
        "+ zBackward0 2×8",
    )


def test_what_there_is_no_room_for_is_counted() -> None:
    def graph(names: str) -> Graph:
        b = Builder()
        h = b.leaf("x", 4)
        for name in names:
            h = b.op(f"{name}Backward0", (4,), h, source=at(ord(name)))
        return b.build(b.op("SumBackward0", (), h))

    found = changes(graph(""), graph("abcdefgh"))
    assert len(found.lines()) == 8
    assert found.lines(5) == ("+ outside of modules: 8 ops",)
    both = changes(graph("ABCD"), graph("abcdefgh"))
    assert both.lines(1) == ("… and 12 more",)


def test_of_a_leaf_that_cannot_be_told_of_nothing_is_claimed() -> None:
    def graph(*, is_used: bool) -> Graph:
        b = Builder()
        w, v = b.leaf("w", 4), b.leaf("v", 4)
        h = b.op("ExpBackward0", (4,), w, source=at(2))
        h = b.op("MulBackward0", (4,), h, v, source=at(3)) if is_used else h
        return b.build(b.op("SumBackward0", (), h))

    new = graph(is_used=False)
    leaf = next(node.id for node in new.nodes if node.names == ("v",))
    hidden = new.annotated(Annotation(UNKNOWN, {leaf: "it is inside a reentrant checkpoint"}))
    line = "- MulBackward0 4 (train.py:3)"
    gone = "- v gets no gradient any more"
    assert changes(graph(is_used=True), new).lines() == (gone, line)
    assert changes(graph(is_used=True), hidden).lines() == (line,)


def test_an_edited_file_is_compared_by_its_expressions() -> None:
    def graph(first: int, *texts: str, size: int = 4) -> Graph:
        b = Builder()
        h = b.leaf("x", size)
        for line, text in enumerate(texts, first):
            h = b.op("MulBackward0", (size,), h, source=at(line, text))
        return b.build(h)

    old = graph(1, "h * 1", "h * 2", "h * 3")
    assert changes(old, graph(8, "h * 1", "h * 2", "h * 3")).lines() == ()
    assert changes(old, graph(8, "h * 0", "h * 1", "h * 2", "h * 3")).lines() == (
        "+ MulBackward0 4 (train.py:8 h * 0)",
    )
    found = changes(old, graph(8, "h * 1", "h * 3", size=2))
    assert [old.nodes[node].source for node in found.lost] == [at(2, "h * 2")]


def test_an_expression_that_was_rewritten_is_known_by_its_shape_or_by_its_place() -> None:
    def graph(text: str, *sizes: int) -> Graph:
        b = Builder()
        h = b.leaf("x", 1)
        for size in sizes:
            h = b.op("ExpandBackward0", (size,), h, source=at(3, text))
        return b.build(b.op("SumBackward0", (), h))

    assert changes(graph("h.expand(n)", 2, 4, 8), graph("expand(h, n)", 2, 8)).lines() == (
        "- ExpandBackward0 4 (train.py:3 h.expand(n))",
    )
    assert changes(graph("h.expand(n)", 2), graph("expand(h, n)", 4)).lines() == (
        "~ ExpandBackward0 4 was 2 (train.py:3 expand(h, n))",
    )


def test_ops_that_came_and_went_stand_in_the_order_of_the_forward_pass() -> None:
    def graph(*names: str) -> Graph:
        b = Builder()
        h = b.leaf("x", 4)
        for name in names:
            h = b.op(f"{name}Backward0", (4,), h)
        return b.build(h)

    old, new = graph("Sin", "Abs", "Cos", "Exp", "Sum"), graph("Tan", "Abs", "Log", "Exp", "Sum")
    assert changes(old, new).lines() == (
        "- SinBackward0 4",
        "+ TanBackward0 4",
        "- CosBackward0 4",
        "+ LogBackward0 4",
    )
