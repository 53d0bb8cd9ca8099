"""Every way to lose the gradient: its kind, its expression, and the ops on both sides."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.callers import begin
from graphviz_cli.capture.cut_records import ENDS, JOINS
from graphviz_cli.capture.cuts import MOST_LOOKS
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.graph.model import Graph, NodeKind
from graphviz_cli.graph.verdict import Status, verdicts
from graphviz_cli.transforms.fold import Fold
from graphviz_cli.transforms.hide import Hide
from graphviz_cli.transforms.repeats import Repeats
from tests.capture.severed import Shown, graph_of, shown


def x() -> Tensor:
    return torch.tensor([1.5, 2.5, 3.5], requires_grad=True)


def detached() -> Tensor:
    y = x() * 2
    z = y.detach()
    return z * y


def detached_in_place() -> Tensor:
    w = x()
    y = w * 2
    y.detach_()
    return y * w


def under_no_grad() -> Tensor:
    w = x()
    with torch.no_grad():
        y = w.exp()
    return y * w


@torch.no_grad()
def decorated(w: Tensor) -> Tensor:
    return w.exp()


def under_a_decorator() -> Tensor:
    w = x()
    y = decorated(w)
    return w * y


def under_set_grad_enabled() -> Tensor:
    w = x()
    with torch.set_grad_enabled(False):
        y = w.exp()
    return y * w


def after_set_grad_enabled() -> Tensor:
    w = x()
    torch.set_grad_enabled(False)
    y = w.exp()
    torch.set_grad_enabled(True)
    return y * w


def under_inference_mode() -> Tensor:
    w = x()
    with torch.inference_mode():
        y = w.exp()
    return w + y


def through_data() -> Tensor:
    w = x()
    y = (w * 2).data
    return y * w


def into_data() -> Tensor:
    w, v = x(), x()
    v.data = w * 2
    return v.exp()


def through_argmax() -> Tensor:
    w = x()
    y = w.exp()
    i = y.argmax()
    return w[i]


def through_a_comparison() -> Tensor:
    w = x()
    mask = w.exp() > 2
    return w * mask


def through_long() -> Tensor:
    w = x()
    i = w.exp().long()
    return w * i


def through_the_indices_of_topk() -> Tensor:
    w = x()
    _, indices = w.exp().topk(2)
    return w[indices]


def through_the_indices_of_max() -> Tensor:
    w = x()
    i = w.exp().max(0).indices
    return w[i]


def through_tensor() -> Tensor:
    w = x()
    y = torch.tensor(w.exp())
    return y * w


def through_new_tensor() -> Tensor:
    w = x()
    y = w.new_tensor(w.exp())
    return y * w


def through_copy() -> Tensor:
    w, buffer = x(), torch.zeros(3)
    y = w.exp()
    with torch.no_grad():
        buffer.copy_(y)
    return w * buffer


def through_a_write() -> Tensor:
    w, buffer = x(), torch.zeros(3)
    buffer[0] = w.exp()[0].detach()
    return w * buffer


def through_deepcopy() -> Tensor:
    w = x()
    v = copy.deepcopy(w)
    return v.exp()


def as_a_new_leaf() -> Tensor:
    y = x() * 2
    z = y.detach().requires_grad_()
    return z.exp()


def as_a_new_leaf_by_attribute() -> Tensor:
    y = x() * 2
    z = y.detach()
    z.requires_grad = True
    return z.exp()


def as_a_parameter() -> Tensor:
    y = x() * 2
    p = nn.Parameter(y)
    return p.exp()


class Halves(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> tuple[Tensor, Tensor]:
        rest = w.exp()
        ctx.mark_non_differentiable(rest)
        return w * 2, rest

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Tensor:
        return grad * 2


def through_an_output_that_is_marked() -> Tensor:
    w = x()
    twice, rest = Halves.apply(w)
    return twice * rest


def without_a_derivative() -> Tensor:
    w = x()
    y = torch.histc(w, 3)
    return w * y


CUTS: list[tuple[Callable[[], Tensor], Shown]] = [
    (detached, Shown("detach", "y.detach()", ("z",), ("MulBackward0",), ("MulBackward0:0",), None)),
    (
        detached_in_place,
        Shown("detach", "y.detach_()", (), ("MulBackward0",), ("MulBackward0:0",), None),
    ),
    (under_no_grad, Shown("no_grad", "w.exp()", ("y",), ("leaf",), ("MulBackward0:0",), None)),
    (under_a_decorator, Shown("no_grad", "w.exp()", ("y",), ("leaf",), ("MulBackward0:1",), None)),
    (
        under_set_grad_enabled,
        Shown("set_grad_enabled", "w.exp()", ("y",), ("leaf",), ("MulBackward0:0",), None),
    ),
    (
        after_set_grad_enabled,
        Shown("set_grad_enabled", "w.exp()", ("y",), ("leaf",), ("MulBackward0:0",), None),
    ),
    (
        under_inference_mode,
        Shown("inference_mode", "w.exp()", ("y",), ("leaf",), ("AddBackward0:1",), None),
    ),
    (
        through_data,
        Shown(".data", "(w * 2).data", ("y",), ("MulBackward0",), ("MulBackward0:0",), None),
    ),
    (into_data, Shown(".data", "v.data = w * 2", (), ("MulBackward0",), ("leaf:0",), None)),
    (
        through_argmax,
        Shown(
            "integer output", "y.argmax()", ("i",), ("ExpBackward0",), ("SelectBackward0:0",), None
        ),
    ),
    (
        through_a_comparison,
        Shown(
            "integer output", "w.exp() > 2", ("mask",), ("ExpBackward0",), ("MulBackward0:1",), None
        ),
    ),
    (
        through_long,
        Shown(
            "integer output", "w.exp().long()", ("i",), ("ExpBackward0",), ("MulBackward0:1",), None
        ),
    ),
    (
        through_the_indices_of_topk,
        Shown(
            "integer output",
            "w.exp().topk(2)",
            ("indices",),
            ("ExpBackward0",),
            ("IndexBackward0:0",),
            None,
        ),
    ),
    (
        through_the_indices_of_max,
        Shown(
            "integer output", "w.exp().max(0)", (), ("ExpBackward0",), ("SelectBackward0:0",), None
        ),
    ),
    (
        through_tensor,
        Shown(
            "torch.tensor",
            "torch.tensor(w.exp())",
            ("y",),
            ("ExpBackward0",),
            ("MulBackward0:0",),
            None,
        ),
    ),
    (
        through_new_tensor,
        Shown(
            "torch.tensor",
            "w.new_tensor(w.exp())",
            ("y",),
            ("ExpBackward0",),
            ("MulBackward0:0",),
            None,
        ),
    ),
    (
        through_copy,
        Shown("copy_", "buffer.copy_(y)", (), ("ExpBackward0",), ("MulBackward0:1",), None),
    ),
    (
        through_a_write,
        Shown(
            "detach",
            "w.exp()[0].detach()",
            ("buffer[0]",),
            ("SelectBackward0",),
            ("MulBackward0:1",),
            None,
        ),
    ),
    (through_deepcopy, Shown("deepcopy", "copy.deepcopy(w)", (), ("leaf",), ("leaf:0",), None)),
    (as_a_new_leaf, Shown("detach", "y.detach()", (), ("MulBackward0",), ("leaf:0",), None)),
    (
        as_a_new_leaf_by_attribute,
        Shown("detach", "y.detach()", ("z",), ("MulBackward0",), ("leaf:0",), None),
    ),
    (
        as_a_parameter,
        Shown("new leaf", "nn.Parameter(y)", ("p",), ("MulBackward0",), ("leaf:0",), None),
    ),
    (
        through_an_output_that_is_marked,
        Shown(
            "mark_non_differentiable",
            "Halves.apply(w)",
            ("rest",),
            ("leaf",),
            ("MulBackward0:1",),
            None,
        ),
    ),
    (
        without_a_derivative,
        Shown(
            "non-differentiable", "torch.histc(w, 3)", ("y",), ("leaf",), ("MulBackward0:1",), None
        ),
    ),
]


@pytest.mark.filterwarnings("ignore:To copy construct")
@pytest.mark.parametrize(("program", "cut"), CUTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_value_that_goes_on_without_its_gradient_is_shown(program, cut):
    assert shown(graph_of(program)) == [cut]


# What is no cut


def with_a_log_line() -> Tensor:
    w = x()
    loss = w.exp().sum()
    assert f"{loss.item():.2f} {loss} {w.grad}"
    if loss > 3:
        loss = loss * 2
    return loss


def with_shapes_and_constants() -> Tensor:
    w = x()
    mask = torch.ones(3, dtype=torch.bool).expand_as(w)
    noise = torch.rand_like(w) + w.new_zeros(w.shape) + torch.zeros_like(w)
    return (w.masked_fill(~mask, 0.0) * noise).type_as(w).sum() / len(w)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        inner = (a * b).detach()
        with torch.no_grad():
            return inner + (a.data * 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return grad * b, grad * a


def with_a_custom_function() -> Tensor:
    w = x()
    return Product.apply(w, w.exp())


def with_a_transform() -> Tensor:
    w = x()
    squares = torch.func.vmap(lambda v: v * v.detach())(w)
    return squares * torch.func.grad(lambda v: (v.detach() * v).sum())(w)


def with_an_optimizer() -> Tensor:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 1))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(2):
        model(torch.rand(4, 3)).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    nn.init.xavier_uniform_(model[0].weight)
    return model(torch.rand(4, 3)).mean()


def with_updates_by_hand() -> Tensor:
    w = x()
    for _ in range(2):
        w.exp().sum().backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            w.mul_(1 - 0.1 * w.norm())
        w.data -= 0.1 * w.grad
        w.grad = None
    return w.exp()


def with_weights_that_are_copied() -> Tensor:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        second.weight.copy_(first.weight)
    second.bias.data = first.bias.data
    return second(first(torch.rand(2, 3)))


@pytest.mark.parametrize(
    "program",
    [
        with_a_log_line,
        with_shapes_and_constants,
        with_a_custom_function,
        with_a_transform,
        with_an_optimizer,
        with_updates_by_hand,
        with_weights_that_are_copied,
    ],
)
def test_what_loses_no_gradient_is_not_shown(program):
    assert shown(graph_of(program)) == []


# Combinations


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    @torch.no_grad()
    def forward(self, v: Tensor) -> Tensor:
        h = v.detach() * 2
        return h.tanh()


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Frozen()

    def forward(self, v: Tensor) -> Tensor:
        gate = self.part(v)
        return v * gate


def test_a_cut_in_a_module_within_a_decorator_is_told_with_its_module():
    model = Outer()
    names = TensorNames()
    names.add_module(model, "")
    graph = graph_of(lambda: model(x() * 2), names=lambda: names)
    assert shown(graph) == [
        Shown("detach", "v.detach()", ("gate",), ("MulBackward0",), ("MulBackward0:1",), "part")
    ]


def test_a_value_that_joins_twice_is_one_cut_with_two_takers():
    def twice() -> Tensor:
        w = x()
        y = w.detach()
        return w * y + w.exp() * y

    (cut,) = shown(graph_of(twice))
    assert cut.after == ("MulBackward0:1", "MulBackward0:1")


def test_what_is_computed_from_a_cut_value_before_it_joins_is_the_same_cut():
    def program() -> Tensor:
        w = x()
        y = w.detach()
        z = (y * 2).relu()
        return w * torch.cat([z[:1], z[1:]])

    (cut,) = shown(graph_of(program))
    assert (cut.kind, cut.names, cut.after) == ("detach", ("y",), ("MulBackward0:1",))


def test_a_cut_behind_a_cut_is_in_the_graph():
    def program() -> Tensor:
        w = x()
        y = w.exp().detach() * w
        return w * y.data

    first, second = shown(graph_of(program))
    assert (first.kind, first.after) == ("detach", ("MulBackward0:0",))
    assert (second.kind, second.before) == (".data", ("MulBackward0",))


def test_a_block_without_gradients_is_one_cut_of_all_that_went_in():
    def program() -> Tensor:
        w, v, u = x(), x(), x()
        with torch.no_grad():
            y = (w * v).exp()
            z = y * u
            unrelated = v.exp()
        assert unrelated is not None
        return w * z

    (cut,) = shown(graph_of(program))
    assert (cut.kind, cut.text, cut.names) == ("no_grad", "y * u", ("z",))
    assert cut.before == ("leaf", "leaf", "leaf")


def test_a_list_of_tensors_tells_the_input_that_was_cut():
    def program() -> Tensor:
        w = x()
        return torch.cat([w, w.exp().detach(), w])

    (cut,) = shown(graph_of(program))
    assert cut.after == ("CatBackward0:1",)


def test_a_loop_keeps_no_more_than_its_last_graphs():
    def program() -> Tensor:
        w = x()
        for _ in range(3 * JOINS):
            y = w.exp()
            loss = (y.detach() * w).sum()
            log.append(loss.item())
        return loss

    log: list[float] = []
    with Attribution(cuts=True) as attribution:
        begin(program)
    assert attribution.cuts is not None
    assert len(attribution.cuts.joins) <= JOINS and len(attribution.cuts.ends) <= 2 * ENDS


def test_a_write_behind_autograds_back_after_the_value_was_used_is_shown():
    def program() -> Tensor:
        w = x()
        y = 2 * w
        w.data *= 100
        return y

    (cut,) = shown(graph_of(program))
    assert (cut.kind, cut.text, cut.before, cut.after) == (".data", "w.data *= 100", ("leaf",), ())


def test_a_recurrent_cell_takes_a_cut_state_where_it_saves_it():
    cell = nn.GRUCell(3, 3)

    def program() -> Tensor:
        state = cell(torch.rand(2, 3), torch.zeros(2, 3))
        return cell(torch.rand(2, 3), state.detach())

    graph = graph_of(program)
    (cut,) = graph.nodes.ids(NodeKind.CUT)
    (edge,) = [edge for edge in graph.edges if edge.target == cut]
    (first,) = [e.target for e in graph.edges if e.source == edge.source and e.input_nr == 0]
    assert graph.nodes.names[edge.source] == "AddmmBackward0" and edge.input_nr == 1
    assert graph.nodes[first].outputs[0].shape == (9,)


STEPS = """
import torch
from torch import nn

torch.manual_seed(0)
cell, head = nn.GRUCell(3, 4), nn.Linear(4, 1)
optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()])
state = torch.zeros(4, 4)
for _ in range(4):
    state = cell(torch.randn(4, 3), state)
    loss = head(state).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    state = state.detach()
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def captured(text: str, **options: Any) -> Graph:
        (tmp_path / "script.py").write_text(text, encoding="utf-8")
        return capture(parse_target("script.py"), Request(**options)).graph

    return captured


def test_what_an_earlier_backward_has_used_up_is_not_drawn_behind_a_cut(script):
    first, third = script(STEPS), script(STEPS, step=3)
    (cut,) = shown(third)
    assert (cut.kind, cut.text, cut.before) == ("detach", "state.detach()", ())
    assert sum(third.nodes.sizes) == sum(first.nodes.sizes)
    assert {v.status for v in verdicts(third).values()} == {Status.REACHED}


def test_a_value_that_was_cut_before_a_backward_pass_is_still_a_cut_one_after_it(script):
    text = STEPS.replace("    loss.backward()", "    state = state.detach()\n    loss.backward()")
    for step in (2, 3):
        (cut,) = shown(script(text, step=step))
        assert (cut.kind, cut.text, cut.before) == ("detach", "state.detach()", ())


RUNNING_MEAN = """
import torch
w = torch.ones(3, requires_grad=True)
mean = torch.zeros(3)
for _ in range(9):
    y = w.exp()
    loss = (y - mean).sum()
    loss.backward()
    mean = 0.9 * mean + y.detach()
"""


def test_what_was_cut_before_many_passes_is_no_more_than_before_two(script):
    kinds = [[cut.text for cut in shown(script(RUNNING_MEAN, step=n))] for n in (1, 2, 3, 8)]
    assert kinds == [[], ["y.detach()"], ["y.detach()"] * 2, ["y.detach()"] * 2]


def test_weights_that_are_averaged_are_no_cut_after_a_backward_pass(script):
    text = STEPS.replace("state = torch", "average = torch.zeros(12, 4)\nstate = torch", 1)
    text = text.replace(
        "    state = state.detach()",
        "    with torch.no_grad():\n"
        "        average = 0.9 * average + 0.1 * cell.weight_hh\n"
        "        cell.weight_hh.copy_(average)",
    ).replace("cell(torch.randn(4, 3), state)", "cell(torch.randn(4, 3))")
    assert not shown(script(text, step=3))


def test_an_optimizer_is_told_of_what_it_holds(script):
    graph = script(STEPS)
    held = graph.annotations["optimizer"].values
    assert set(held) == set(graph.nodes.ids(NodeKind.LEAF)) and set(held.values()) == {"Adam"}


def test_without_cuts_there_are_none(script):
    graph = script(
        "import torch\nw = torch.ones(1, requires_grad=True)\n(w.detach() * w).backward()\n",
        cuts=False,
    )
    assert not graph.nodes.ids(NodeKind.CUT)


def test_a_write_to_what_an_op_has_saved_is_told_with_its_line(script):
    graph = script(
        "import torch\nw = torch.ones(3, requires_grad=True)\ny = w.exp()\n"
        "z = y.sin()\ny[0] = 5\nloss = z.sum()\nloss.backward()\n"
    )
    modified = graph.annotations["modified"].values
    # One op saved what is written to as its input, the other as its output.
    assert {graph.nodes.names[node]: text for node, text in modified.items()} == {
        "SinBackward0": "self was written to in place at script.py:5",
        "ExpBackward0": "result was written to in place at script.py:5",
    }


class Keeps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.kept = a
        return a * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


def test_a_tensor_on_ctx_is_told():
    graph = graph_of(lambda: Keeps.apply(x()))
    assert dict(graph.annotations["kept-on-ctx"].values) == {0: "ctx.kept"}


def test_equal_blocks_with_a_cut_are_drawn_as_one_and_keep_it():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.fc = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, v: Tensor) -> Tensor:
            return v + self.fc(v) * self.gate(v).sigmoid().detach()

    model = nn.Sequential(*[Block() for _ in range(4)])
    names = TensorNames()
    names.add_module(model, "")
    graph = graph_of(lambda: model(torch.rand(2, 3)), names=lambda: names)
    assert len(shown(graph)) == 4
    for transform in (Hide(), Repeats(), Fold(depth="all")):
        graph = transform.apply(graph)
    (cut,) = shown(graph)
    assert (cut.kind, cut.before, cut.after) == (
        "detach",
        ("SigmoidBackward0",),
        ("MulBackward0:1",),
    )


def test_too_many_cuts_are_told_and_not_noted():
    def program() -> Tensor:
        h = torch.ones((), requires_grad=True)
        for _ in range(MOST_LOOKS):
            h = h * 1.0
            _ = h.detach()
        return h * h.detach()

    graph = graph_of(program)
    assert "Not seen: all cuts, as there are too many." in graph.provenance.notes


DEEP = """
import torch

for ops in (150_000, 10):
    h = w = torch.ones((), requires_grad=True)
    for _ in range(ops):
        h = h * 1.0
        h.detach()
    h.backward()
"""


@pytest.mark.slow
def test_a_long_chain_of_cuts_can_be_freed(tmp_path):
    (tmp_path / "deep.py").write_text(DEEP, encoding="utf-8")
    command = [sys.executable, "-m", "graphviz_cli", "deep.py", "--step", "2"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_nothing_of_ours_is_left_in_torch():
    new, apply = vars(nn.Parameter)["__new__"], vars(torch.autograd.Function)["apply"]
    graph_of(detached)
    assert vars(nn.Parameter)["__new__"] is new
    assert vars(torch.autograd.Function)["apply"] is apply


def test_a_program_whose_variables_carry_no_graph_shows_what_was_cut_off(script):
    graph = script("import torch\ny = (torch.ones(2, requires_grad=True) * 2).detach()\n")
    (cut,) = graph.nodes.ids(NodeKind.CUT)
    assert graph.nodes[cut].name == "detach"
    assert graph.nodes[cut].source.line == 2
