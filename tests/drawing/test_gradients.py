"""Gradients on the picture: at the boxes, along the arrows, and formulas that can be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.formula import filled, input_name, readable
from graphviz_cli.drawing.gradients import FLOW
from graphviz_cli.drawing.style import Style
from graphviz_cli.graph.model import Annotation, Graph, NodeKind, Operator, Role
from tests import graphs

MUL = Operator(
    "mul.Tensor(Tensor self, Tensor other) -> Tensor",
    ("self", "other"),
    ("result",),
    (
        "mul_tensor_backward(grad, other, self.scalar_type())",
        "mul_tensor_backward(grad, self, other.scalar_type())",
    ),
)


def lecture(*shape: int) -> Graph:
    """y = x * x and z = y * w at x = 3, w = 2, with what a backward pass found."""
    b = graphs.Builder()
    x = b.leaf("x", *shape, role=Role.INPUT)
    w = b.leaf("w", *shape, role=Role.INPUT)
    y = b.op("MulBackward0", shape, x, x, names=("y",))
    z = b.op("MulBackward0", shape, y, w, names=("z",))
    graph = b.build(z, names=("z",))
    at = {name: n for n in range(4) for name in graph.nodes.user_names[n]}
    received = {at["z"]: 1.0, at["y"]: 2.0, at["w"]: 9.0, at["x"]: 12.0}
    sent = {at["z"]: (2.0, 9.0), at["y"]: (6.0, 6.0)}
    texts = {node: tuple(f"{value:g}" for value in row) for node, row in sent.items()}
    return replace(
        graph.annotated(
            Annotation("gradient", received, inputs=sent),
            Annotation("gradient-mean", received, inputs=sent),
            Annotation("gradient-values", {n: f"{v:g}" for n, v in received.items()}, inputs=texts),
            Annotation("values", {at["x"]: "3", at["w"]: "2"}),
        ),
        operators={"MulBackward0": MUL},
        provenance=replace(graph.provenance, vectors=("z: 1",)),
    )


VALUES = Style(show=frozenset(("values", "formula")))


def box_lines(graph: Graph, style: Style, title: str) -> tuple[str, ...]:
    (box,) = (b for b in draw(graph, style).boxes if title in (b.title, b.variable))
    return box.lines


def test_a_box_tells_its_value_and_how_its_gradient_adds_up() -> None:
    assert box_lines(lecture(), VALUES, "x")[1:] == ("x = 3", "∂z/∂x = 6 + 6 = 12")
    assert "∂z/∂y = 2" in box_lines(lecture(), VALUES, "y")


def test_an_arrow_tells_the_local_derivative_and_the_product() -> None:
    diagram = draw(lecture(), VALUES)
    labels = {(a.source, a.target): a.labels for a in diagram.arrows}
    ids = {b.variable or b.title: b.id for b in diagram.boxes}
    assert labels[ids["y"], ids["z"]] == ("∂z/∂y = 2\n1 · 2 = 2",)
    assert labels[ids["x"], ids["y"]] == ("∂y/∂x = 3\n2 · 3 = 6",) * 2
    assert FLOW in [key.text for key in diagram.legend]


def test_of_larger_tensors_only_the_numbers_are_told() -> None:
    graph = lecture(2)
    labels = [label for arrow in draw(graph, VALUES).arrows for label in arrow.labels]
    assert "2" in labels and not any("∂" in label for label in labels)


def test_formulas_are_told_in_the_users_names() -> None:
    (box,) = (b for b in draw(lecture(), VALUES).boxes if b.variable == "z")
    assert [(row.title, row.detail) for row in box.rows] == [
        ("grad y", "= grad z · w"),
        ("grad w", "= grad z · y"),
    ]


def test_without_values_a_box_tells_the_size_of_its_gradient() -> None:
    assert box_lines(lecture(), Style(), "x")[1:] == ("|grad| 12",)
    assert not any(arrow.labels for arrow in draw(lecture(), Style()).arrows)
    heated = box_lines(lecture(), Style(heat="gradient"), "x")
    assert heated[1:] == ("gradient 12",), "told once"


def test_a_gradient_that_a_hook_changed_is_no_sum_and_is_marked() -> None:
    graph = lecture()
    (x,) = (n for n in graph.nodes.ids(NodeKind.LEAF) if graph.nodes.user_names[n] == ("x",))
    values = graph.annotations["gradient-values"]
    graph = graph.annotated(
        replace(values, values={**values.values, x: "1200"}),
        Annotation("gradient-changed", {x: "a hook changed the gradient"}),
    )
    lines = box_lines(graph, VALUES, "x")
    assert "∂z/∂x = 1200" in lines and any("hook" in line for line in lines)


def test_a_graph_that_was_not_measured_looks_as_before() -> None:
    diagram = draw(graphs.mlp(), VALUES)
    assert not any(arrow.labels for arrow in diagram.arrows)
    assert not any("grad" in line for box in diagram.boxes for line in box.lines[:1])


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("mul_tensor_backward(grad, other, self.scalar_type())", "grad · other"),
        ("handle_r_to_c(other.scalar_type(), maybe_multiply(grad, alpha.conj()))", "grad · alpha"),
        ("maybe_multiply(grad, 1)", "grad"),
        ("pow_backward(grad, self, exponent)", "grad · exponent · self^(exponent - 1)"),
        ("div_tensor_self_backward(grad, other, self.scalar_type())", "grad / other"),
        ("grad * self.cos().conj()", "grad · self.cos()"),
        ("some_backward(grad, f(self), std::get<0>(x))", None),
    ],
)
def test_a_formula_is_written_as_one_would_write_it(formula: str, text: str | None) -> None:
    assert readable(formula) == (formula if text is None else text)


def test_readable_formulas_give_what_torch_computes() -> None:
    import torch

    from graphviz_cli.capture.operators import operators

    values = {"self": 1.7, "other": 0.6, "exponent": 3.0, "alpha": 1.0}
    for name, function in {
        "MulBackward0": torch.mul,
        "DivBackward0": torch.div,
        "AddBackward0": torch.add,
        "SubBackward0": torch.sub,
    }.items():
        inputs = [torch.tensor(values[n], dtype=torch.float64, requires_grad=True)
                  for n in ("self", "other")]  # fmt: skip
        exact = torch.autograd.grad(function(*inputs), inputs, torch.tensor(1.3).double())
        for formula, gradient in zip(operators([name])[name].formulas, exact):
            text = readable(formula).replace("·", "*").replace("²", "**2").replace("^", "**")
            assert eval(text, {"grad": 1.3, **values}) == pytest.approx(float(gradient)), text
    x = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    (exact_power,) = torch.autograd.grad(x**3, x)
    text = readable(operators(["PowBackward0"])["PowBackward0"].formulas[0])
    power = eval(text.replace("·", "*").replace("^", "**"), {"grad": 1.0, **values})
    assert power == pytest.approx(float(exact_power))


def test_names_are_filled_in_where_they_are_arguments_and_nowhere_else() -> None:
    operator = replace(MUL, formulas=("at::mul(grad, self.other(), other)", "self.self"))
    assert filled(operator, {"self": "a", "other": "b", "mul": "no"}) == (
        ("a", "at::mul(grad, a.other(), b)"),
        ("b", "a.self"),
    )
    assert input_name(("self", "tensors*"), 3) == "tensors[2]" and input_name(("self",), 4) == ""
