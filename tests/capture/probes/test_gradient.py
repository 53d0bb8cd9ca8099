"""What flows along every edge, held against numbers worked out by hand and against `.grad`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from graphviz_cli.capture.probes.statistics import Statistics, Summary
from graphviz_cli.errors import TargetError
from graphviz_cli.graph.model import Graph

from .programs import leaf, leaf_gradients, measure, op, received, sent


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in values.items()
    }


def test_the_gradients_of_the_chain_rule_are_those_of_the_lecture() -> None:
    v = scalars(a=2, b=3, c=1)
    v["d"], v["e"] = v["a"] + v["b"], v["b"] - v["c"]
    v["z"] = v["d"] * v["e"]
    graph = measure(v, "z")
    assert sent(graph, op(graph, "MulBackward0")) == ("2", "5")
    assert sent(graph, op(graph, "AddBackward0")) == ("2", "2")
    assert sent(graph, op(graph, "SubBackward0")) == ("5", "-5")
    assert [received(graph, leaf(graph, name)) for name in "abc"] == ["2", "7", "-5"]
    assert graph.annotations["gradient"].inputs[op(graph, "SubBackward0")] == (5, 5)
    assert graph.annotations["values"].values[leaf(graph, "b")] == "3"
    assert graph.provenance.vectors == ("z: 1",)
    assert "gradient-changed" not in graph.annotations


def test_a_tensor_that_is_used_twice_by_one_op_has_two_edges_with_their_own_gradients() -> None:
    v = scalars(x=3)
    v["y"] = v["x"] * v["x"]
    graph = measure(v, "y")
    assert sent(graph, 0) == ("3", "3") and received(graph, leaf(graph, "x")) == "6"


def test_every_output_of_an_op_counts() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    first, second = x.chunk(2)
    v: dict[str, Any] = {"x": x, "z": (3 * first).sum() + (second * second).sum()}
    graph = measure(v, "z")
    split = op(graph, "SplitBackward0")
    assert received(graph, split) == "[3, 3], [6, 8]"
    norm = graph.annotations["gradient"].values[split]
    assert float(norm) == pytest.approx(math.sqrt(9 + 9 + 36 + 64))
    assert graph.annotations["gradient-mean"].values[split] == 5
    assert received(graph, leaf(graph, "x")) == "[3, 3, 6, 8]"


def test_an_output_that_nothing_uses_has_no_gradient() -> None:
    x = torch.tensor([3.0, 1.0], requires_grad=True)
    first, _ = x.chunk(2)
    graph = measure({"x": x, "z": first.sum()}, "z")
    assert received(graph, op(graph, "SplitBackward0")) == "[1]"
    assert received(graph, leaf(graph, "x")) == "[1, 0]"
    assert graph.annotations["gradient-zeros"].values[leaf(graph, "x")] == 0.5


def test_a_gradient_that_a_hook_changes_is_marked_where_it_arrives() -> None:
    x = torch.ones(2, requires_grad=True)
    y = 3 * x
    y.register_hook(lambda gradient: 100 * gradient)
    graph = measure({"x": x, "z": y.sum()}, "z")
    product = op(graph, "MulBackward0")
    changed = graph.annotations["gradient-changed"].values
    assert list(changed) == [product] and "hook" in str(changed[product])
    assert sent(graph, op(graph, "SumBackward0")) == ("[1, 1]",)
    assert received(graph, product) == "[100, 100]"
    assert received(graph, leaf(graph, "x")) == "[300, 300]"


@pytest.mark.parametrize("change", [lambda g: g.mul_(2), lambda g: -g, lambda g: g.clamp(max=1)])
def test_a_hook_on_a_leaf_is_marked_and_one_that_changes_nothing_is_not(change: Any) -> None:
    x, y = (torch.tensor([1.0, 5.0], requires_grad=True) for _ in range(2))
    x.register_hook(change)
    y.register_hook(lambda gradient: None)
    z = (torch.tensor([2.0, 3.0]) * x).sum() + (7 * y).sum()
    graph = measure({"x": x, "y": y, "z": z}, "z")
    assert set(graph.annotations["gradient-changed"].values) == {leaf(graph, "x")}


def test_a_hook_is_marked_where_several_gradients_add_up() -> None:
    x, y = (torch.tensor([1.0, 5.0], requires_grad=True) for _ in range(2))
    x.register_hook(lambda gradient: gradient / 2)
    z = (2 * x).sum() + (x * x).sum() + (2 * y).sum() + (y * y).sum()
    graph = measure({"x": x, "y": y, "z": z}, "z")
    assert set(graph.annotations["gradient-changed"].values) == {leaf(graph, "x")}
    assert received(graph, leaf(graph, "y")) == "[4, 12]"


@pytest.mark.parametrize("changes", [False, True])
def test_a_backward_hook_of_a_module_is_marked_if_it_changes_the_gradient(changes: bool) -> None:
    layer = torch.nn.Linear(2, 2)
    layer.register_full_backward_hook(
        lambda module, inputs, outputs: (3 * inputs[0],) if changes else None
    )
    x = torch.ones(1, 2, requires_grad=True)
    graph = measure({"x": x, "layer": layer, "z": layer(x).sum()}, "z")
    changed = graph.annotations.get("gradient-changed")
    names = [] if changed is None else [graph.nodes.names[node] for node in changed.values]
    assert names == (["BackwardHookFunctionBackward"] if changes else [])


def test_a_custom_function_is_measured_like_any_op() -> None:
    class Triple(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return 3 * gradient

    x = torch.tensor(5.0, requires_grad=True)
    graph = measure({"x": x, "z": Triple.apply(x) * 4}, "z")
    assert sent(graph, op(graph, "TripleBackward")) == ("12",)
    assert received(graph, leaf(graph, "x")) == "12"


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_runs_and_leaves_grad_and_random_numbers_alone(reentrant: bool) -> None:
    layer = torch.nn.Linear(3, 3)
    layer.bias.grad = before = torch.full((3,), 9.0)
    x = torch.ones(2, 3, requires_grad=True)
    z = checkpoint(lambda h: torch.dropout(layer(h), 0.5, True), x, use_reentrant=reentrant).sum()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    v = {"x": x, "layer": layer, "z": z}
    graph = measure(v, "z", tensors=list(layer.parameters()))
    assert torch.equal(torch.rand(3), expected)
    assert layer.bias.grad is before and torch.equal(before, torch.full((3,), 9.0))
    assert layer.weight.grad is None and x.grad is None
    if not reentrant:  # which refuses this call
        (gradient,) = torch.autograd.grad(z, x)
        norm = graph.annotations["gradient"].values[leaf(graph, "x")]
        assert float(norm) == pytest.approx(float(gradient.norm()))
    assert float(graph.annotations["gradient"].values[leaf(graph, "x")]) > 0


def test_complex_gradients_are_those_of_their_parts() -> None:
    x = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    graph = measure({"x": x, "z": (x * x.conj()).real.sum()}, "z")
    # torch's convention: the gradient of |x|^2 is 2x
    assert received(graph, leaf(graph, "x")) == "[2+4i, 6-2i]"
    facts = graph.annotations
    assert float(facts["gradient"].values[leaf(graph, "x")]) == pytest.approx(math.sqrt(60))
    assert facts["gradient-min"].values[leaf(graph, "x")] == -2


def test_a_sparse_gradient_counts_what_it_leaves_out_as_zeros() -> None:
    table = torch.nn.Embedding(4, 2, sparse=True)
    z = (table(torch.tensor([1, 1, 3])) * torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum()
    graph = measure({"table": table, "z": z}, "z")
    weight = leaf(graph, "table.weight")
    assert received(graph, weight) == "[[0, 0], [4, 6], [0, 0], [5, 6]]"
    facts = graph.annotations
    assert facts["gradient-zeros"].values[weight] == 0.5
    assert facts["gradient-min"].values[weight] == 0
    assert float(facts["gradient"].values[weight]) == pytest.approx(math.sqrt(16 + 36 + 25 + 36))


def test_infinities_and_nans_are_counted_and_the_norm_says_so() -> None:
    x = torch.tensor([0.0, 1.0, 4.0, 0.0], requires_grad=True)
    z = (x.sqrt() * torch.tensor([1.0, 1.0, 1.0, 0.0])).sum()
    graph = measure({"x": x, "z": z}, "z")
    facts, node = graph.annotations, leaf(graph, "x")
    assert facts["gradient-inf"].values[node] == facts["gradient-nan"].values[node] == 0.25
    assert math.isnan(float(facts["gradient"].values[node]))
    assert received(graph, node) == "[inf, 0.5, 0.25, nan]"
    healthy = op(graph, "SqrtBackward0")
    assert facts["gradient-nan"].values[healthy] == 0


def test_where_all_is_finite_nothing_is_said_of_nan() -> None:
    v = scalars(x=1)
    v["z"] = v["x"] * 2
    assert not {"gradient-nan", "gradient-inf"} & set(measure(v, "z").annotations)


def test_a_norm_whose_square_leaves_the_range_is_right_all_the_same() -> None:
    statistics = Statistics()
    statistics.add(torch.full((4,), 1e-25))
    statistics.add(torch.full((4,), 1e30))
    statistics.add(torch.full((4,), 6e4, dtype=torch.float16))
    small, large, half = statistics.fetch()
    assert small.norm == pytest.approx(2e-25)
    assert large.norm == pytest.approx(2e30) and large.infinite == 0
    assert half.norm == pytest.approx(1.2e5, rel=1e-2)


def test_several_tensors_are_summarised_as_one() -> None:
    statistics = Statistics()
    parts = [torch.randn(5), torch.zeros(3), torch.tensor([math.inf, 1.0])]
    for part in (*parts, torch.cat(parts)):
        statistics.add(part)
    *each, whole = statistics.fetch()
    together = Summary.of(each)
    assert together.zeros == whole.zeros == 3 and together.infinite == 1
    assert (together.least, together.largest) == (whole.least, whole.largest)
    assert together.norm == whole.norm == math.inf


def test_double_backward_graphs_are_measured() -> None:
    x = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(x**3, x, create_graph=True)
    graph = measure({"x": x, "z": first * first}, "z")
    # z = (3x^2)^2 = 9x^4, dz/dx = 36x^3
    assert received(graph, leaf(graph, "x")) == "972"


def test_a_root_inside_another_roots_graph_receives_both() -> None:
    v = scalars(x=2)
    v["y"] = v["x"] * 3
    v["z"] = v["y"] * v["y"]
    graph = measure(v, "z", "y", asked_for=["z=1", "y=10"])
    assert graph.provenance.vectors == ("z: 1", "y: 10")
    assert received(graph, graph.roots[1].node) == "22"
    assert received(graph, leaf(graph, "x")) == "66"
    assert "gradient-changed" not in graph.annotations


def test_what_the_users_backward_raises_ends_the_measurement_and_is_told() -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            raise ValueError("not today")

    x = torch.tensor(1.0, requires_grad=True)
    with pytest.raises(TargetError, match="backward pass raised ValueError"):
        measure({"x": x, "z": Fails.apply(x) * 2}, "z")
    assert x.grad is None


def test_nothing_of_ours_is_left_and_the_users_hooks_stay() -> None:
    calls: list[str] = []
    x = torch.tensor(2.0, requires_grad=True)
    x.register_post_accumulate_grad_hook(lambda t: calls.append("accumulated"))
    y = x * 3
    y.retain_grad()
    z = y * 2
    measure({"x": x, "y": y, "z": z}, "z", tensors=[y])
    assert calls == [] and x.grad is None and y.grad is None
    z.backward()
    assert calls == ["accumulated"]
    assert x.grad is not None and y.grad is not None and (x.grad, y.grad) == (6, 2)


def test_a_tensor_subclass_is_asked_nothing_and_a_nested_tensor_has_no_numbers() -> None:
    asked: list[str] = []

    class Watchful(torch.Tensor):
        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            asked.append(getattr(func, "__name__", ""))
            return super().__torch_function__(func, types, args, kwargs or {})

    x = torch.ones(2).as_subclass(Watchful).requires_grad_()
    z = (x * 2).sum()
    asked.clear()
    torch.autograd.backward(z, retain_graph=True)
    plain = list(asked)
    asked.clear()
    graph = measure({"x": x, "z": z}, "z")
    assert asked == plain and received(graph, leaf(graph, "x")) == "[2, 2]"

    parts = [torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)]
    nested = torch.nested.as_nested_tensor(parts)
    total = torch.nested.to_padded_tensor(nested * 2, 0.0).sum()
    graph = measure({"first": parts[0], "total": total}, "total")
    assert received(graph, leaf(graph, "first")) == "[2, 2]"


def _net() -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.GELU(),
        torch.nn.Flatten(), torch.nn.Linear(144, 5), torch.nn.LayerNorm(5),
    )  # fmt: skip
    return net, torch.randn(2, 3, 8, 8)


def test_the_gradients_at_the_leaves_of_a_network_are_those_of_grad() -> None:
    net, images = _net()
    loss = torch.nn.functional.cross_entropy(net(images), torch.tensor([1, 3]))
    graph: Graph = measure({"net": net, "loss": loss}, "loss")
    loss.backward()
    gradients = {f"net.{name}": p.grad for name, p in net.named_parameters()}

    def at(node: int) -> torch.Tensor:
        gradient = gradients[graph.nodes.user_names[node][0]]
        assert gradient is not None
        return gradient

    leaf_gradients(graph, at)
    assert "gradient-changed" not in graph.annotations
