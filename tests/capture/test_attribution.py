from __future__ import annotations

import copy
import gc
import itertools
import os
import threading
import weakref
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.modules import keep_calls
from graphviz_cli.graph.model import NONE, ModuleCall
from tests.capture.observed import ObservedOp, explain, observe, ops_of


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x).relu()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x) * 2
        return self.head(x)


def paths(ops: list[ObservedOp], op: str = "") -> list[str | None]:
    return [found.path for found in ops if found.op.startswith(op)]


def calls(ops: list[ObservedOp]) -> list[tuple[str, int]]:
    """Path and number of each call in which ops were made, in order and each once."""
    return list(dict.fromkeys((op.call.path, op.call.nth) for op in ops if op.call))


# Module calls


def test_every_op_has_the_innermost_module_call() -> None:
    net = Net()
    x = torch.rand(4, 3)
    ops = observe(lambda: net(x), top_names={id(net): "net"})
    assert paths(ops, "Addmm") == ["net.blocks.0.fc", "net.blocks.1.fc", "net.head.1"]
    assert paths(ops, "Relu") == ["net.blocks.0", "net.blocks.1"]
    assert paths(ops, "Mul") == ["net", "net"]
    assert paths(ops, "NativeLayerNorm") == ["net.head.0"]


def test_calls_form_a_tree_without_containers_that_are_not_called() -> None:
    net = Net()
    with Attribution() as attribution:
        net(torch.rand(4, 3))
    table = attribution.modules({id(net): ""})
    shown = [(call.path, call.type, table[call.parent].path if call.parent is not None else None)
             for call in table]  # fmt: skip
    assert shown == [
        ("", "Net", None),
        ("blocks.0", "Block", ""),
        ("blocks.0.fc", "Linear", "blocks.0"),
        ("blocks.1", "Block", ""),
        ("blocks.1.fc", "Linear", "blocks.1"),
        ("head", "Sequential", ""),
        ("head.0", "LayerNorm", "head"),
        ("head.1", "Linear", "head"),
    ]


def test_a_module_that_is_called_twice_has_two_calls() -> None:
    block = Block()
    ops = observe(lambda: block(block(torch.rand(4, 3))), top_names={id(block): "block"})
    assert calls(ops) == [("block.fc", 0), ("block", 0), ("block.fc", 1), ("block", 1)]


def test_a_shared_module_goes_by_its_first_name_in_the_module_that_calls_it() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = self.a
            self.inner = nn.Sequential(self.a)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(self.b(self.a(x)))

    tied = Tied()
    ops = observe(lambda: tied(torch.rand(4, 3)), top_names={id(tied): "tied"})
    assert calls(ops) == [("tied.a", 0), ("tied.a", 1), ("tied.inner.0", 0)]


def test_a_module_that_calls_itself_keeps_its_path() -> None:
    class Recursive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor, depth: int = 2) -> torch.Tensor:
            x = self.fc(x)
            return self(x, depth - 1) if depth else x

    recursive = Recursive()
    with Attribution() as attribution:
        recursive(torch.rand(4, 3))
    table = attribution.modules({id(recursive): "r"})
    assert [(call.path, call.nth, call.parent) for call in table] == [
        ("r", 0, None),
        ("r.fc", 0, 0),
        ("r", 1, 0),
        ("r.fc", 1, 2),
        ("r", 2, 2),
        ("r.fc", 2, 4),
    ]


def test_modules_that_refer_to_each_other_have_paths() -> None:
    class Knot(nn.Module):
        def __init__(self, other: nn.Module | None = None) -> None:
            super().__init__()
            self.other = other or Knot(self)
            self.fc = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.other.fc(self.fc(x))  # type: ignore[operator,union-attr]

    knot = Knot()
    ops = observe(lambda: knot(torch.rand(4, 3)), top_names={id(knot): "knot"})
    assert calls(ops) == [("knot.fc", 0), ("knot.other.fc", 0)]


def test_a_module_that_another_one_was_given_goes_by_the_name_of_its_owner() -> None:
    class Decoder(nn.Module):
        def forward(self, x: torch.Tensor, embed: nn.Module) -> torch.Tensor:
            return embed(x) * 2

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({"embed": nn.Linear(3, 3)})
            self.decoder = Decoder()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.decoder(x, self.parts["embed"])

    model = Model()
    ops = observe(lambda: model(torch.rand(4, 3)), top_names={id(model): "model"})
    assert calls(ops) == [("model.parts.embed", 0), ("model.decoder", 0)]
    with Attribution() as attribution:
        model(torch.rand(4, 3))
    table = attribution.modules({})
    assert [(call.path, call.parent) for call in table][-1] == ("Model.parts.embed", 1)


def test_modules_that_nobody_owns_go_by_their_class_and_are_told_apart() -> None:
    class Careless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [[nn.Linear(3, 3), nn.Linear(3, 3)]]  # nothing that torch looks into

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.hidden[0] * 2:
                x = layer(x)
            return x

    careless = Careless()
    ops = observe(lambda: careless(torch.rand(4, 3)), top_names={id(careless): "net"})
    assert calls(ops) == [
        ("net.Linear", 0),
        ("net.Linear_2", 0),
        ("net.Linear", 1),
        ("net.Linear_2", 1),
    ]


def test_modules_made_for_a_single_call_share_a_path() -> None:
    class Naive(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(3):
                x = nn.Tanh()(x)
            return x

    naive = Naive()
    x = torch.rand(3, requires_grad=True)
    ops = observe(lambda: naive(x), top_names={id(naive): "net"})
    assert calls(ops) == [("net.Tanh", 0), ("net.Tanh", 1), ("net.Tanh", 2)]


def test_a_module_that_is_registered_during_its_first_call_has_its_name() -> None:
    class Late(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.early = nn.Linear(3, 3)
            x = self.early(x)
            self.late = nn.Linear(3, 3)
            return self.late(x)

    late = Late()
    ops = observe(lambda: late(torch.rand(4, 3)), top_names={id(late): ""})
    assert calls(ops) == [("early", 0), ("late", 0)]


def test_a_module_put_in_the_place_of_another_takes_its_path() -> None:
    net = Net()

    def program() -> tuple[torch.Tensor, torch.Tensor]:
        before = net(torch.rand(4, 3))
        net.head[1] = nn.Linear(3, 5)
        return before, net(torch.rand(4, 3))

    ops = observe(program, top_names={id(net): ""})
    assert ("head.1", 0) in calls(ops) and ("head.1", 1) in calls(ops)


def test_a_part_that_is_called_from_outside_goes_by_its_own_name() -> None:
    net = Net()
    names = {id(module): f"net.{name}" for name, module in net.named_modules()}
    ops = observe(lambda: net.blocks[1](torch.rand(4, 3)), top_names=names)
    assert calls(ops) == [("net.blocks.1.fc", 0), ("net.blocks.1", 0)]


def test_top_modules_without_a_name_go_by_their_class() -> None:
    first, second = Block(), Block()
    ops = observe(lambda: second(first(torch.rand(4, 3))))
    assert list(dict.fromkeys(paths(ops, "Relu"))) == ["Block", "Block_2"]


def test_ops_outside_of_all_modules_have_no_call() -> None:
    block = Block()
    ops = observe(lambda: (block(torch.rand(4, 3)) ** 2).mean())
    assert paths(ops) == ["Block.fc", "Block.fc", "Block", None, None]


def test_ops_made_before_the_block_are_unknown() -> None:
    w = torch.rand(3, requires_grad=True)
    before = w.exp()
    with Attribution() as attribution:
        inside = before.sin()
    after = inside.cos()
    ops = explain(attribution, after)
    assert [op.text for op in ops] == [None, "before.sin()", None]
    assert [op.names for op in ops] == [(), ("inside",), ()]


def test_an_exception_ends_the_calls_that_it_leaves() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Block()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.inner(x)
            raise ValueError

    failing, block = Failing(), Block()

    def program() -> torch.Tensor:
        with pytest.raises(ValueError):
            nn.Sequential(failing)(torch.rand(4, 3))
        return block(torch.rand(4, 3)) * 2

    ops = observe(program, top_names={id(block): "block"})
    assert paths(ops) == ["block.fc", "block.fc", "block", None]


def test_an_interrupt_ends_the_calls_that_it_leaves() -> None:
    class Interrupted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    class Patient(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Interrupted()
            self.second = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                return self.first(x)
            except KeyboardInterrupt:
                return self.second(x)

    patient = Patient()
    model = nn.Sequential(nn.Linear(3, 3), Interrupted())

    def program() -> torch.Tensor:
        with pytest.raises(KeyboardInterrupt):
            model(torch.rand(4, 3))
        return patient(torch.rand(4, 3))

    ops = observe(program, top_names={id(patient): "patient", id(model): "model"})
    assert calls(ops) == [("patient.second", 0)]


def test_calls_that_are_still_running_count() -> None:
    attribution = Attribution()
    seen: list[list[ObservedOp]] = []

    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            loss = self.fc(x).sum()
            seen.append(explain(attribution, loss))
            return loss

    with attribution:
        Training()(torch.rand(4, 3))
    assert paths(seen[0]) == ["Training.fc", "Training.fc", "Training"]


def test_calls_without_gradients_are_not_kept_again_and_again() -> None:
    net = Net()
    with Attribution() as attribution, torch.no_grad():
        for _ in range(100):
            net(torch.rand(4, 3))
    assert len(attribution.modules({})) == 8


def test_frozen_parts_keep_their_calls() -> None:
    net = Net()
    net.blocks.requires_grad_(False)
    with Attribution() as attribution:
        net(torch.rand(4, 3))
        net(torch.rand(4, 3))
    assert Counter(call.path for call in attribution.modules({id(net): ""}))["blocks.0.fc"] == 2


def test_kept_calls_are_those_asked_for_and_those_around_them() -> None:
    table = [
        ModuleCall("net", "Net", None, 0),
        ModuleCall("net.a", "A", 0, 0),
        ModuleCall("net", "Net", None, 1),
        ModuleCall("net.a", "A", 2, 1),
        ModuleCall("net.a.b", "B", 3, 0),
    ]
    kept, renumbered = keep_calls(table, [4, NONE])
    assert kept == (
        ModuleCall("net", "Net", None, 0),
        ModuleCall("net.a", "A", 0, 0),
        ModuleCall("net.a.b", "B", 1, 0),
    )
    assert renumbered.tolist() == [NONE, NONE, 0, 1, 2]


def test_a_million_numbers_are_resolved_in_a_second() -> None:
    x = torch.rand(2, requires_grad=True)
    with Attribution() as attribution:
        x = x * 1
    (number,) = [node._sequence_nr() for node in ops_of(x)]
    numbers = [number + i for i in range(1_000_000)]
    attributed = attribution.resolve(numbers)
    known, unknown = attributed.sources.values
    assert known is not None and known.text == "x * 1"
    assert unknown is None
    assert attributed.sources.codes.count(0) == 1


def test_numbers_far_apart_are_resolved() -> None:
    x = torch.rand(2, requires_grad=True)
    block = Block()
    with Attribution() as attribution:
        y = block(torch.rand(4, 3))
        z = x * 1
    numbers = [node._sequence_nr() for node in ops_of(y, z)]
    attributed = attribution.resolve([2**61, *numbers, 2**64 - 1, 10**12])
    assert attributed.modules.tolist() == [NONE, 1, 1, 0, NONE, NONE, NONE]
    assert attributed.names[4] == ("z",)
    assert attributed.sources[0] is attributed.sources[5] is attributed.sources[6] is None


def test_backward_hooks_on_modules_leave_the_sources_and_names_of_others_as_they_are() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    x = torch.rand(2, 3, requires_grad=True)
    for module in (net, net[0]):
        module.register_full_backward_hook(lambda *_: None)

    def program() -> torch.Tensor:
        y = net(x)
        return y.exp()

    ops = observe(program, top_names={id(net): "net"})
    assert [op.text for op in ops] == [*["net(x)"] * (len(ops) - 1), "y.exp()"]
    hooked = "BackwardHookFunctionBackward"
    assert [op.op for op in ops if op.op == hooked] == [hooked] * 4
    assert [op.op for op in ops if "y" in op.names] in ([], [hooked])
    assert [(op.op, op.path) for op in ops if op.op == "TanhBackward0"] == [
        ("TanhBackward0", "net.1")
    ]


def test_what_a_dead_module_has_made_is_not_under_the_name_of_one_that_came_later() -> None:
    class First(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.exp()

    def program() -> torch.Tensor:
        x = torch.rand(2, requires_grad=True)
        y = nn.Sequential(First())(x)
        later.append(nn.Sequential(nn.Tanh()))
        return later[0](y)

    later: list[nn.Module] = []
    with Attribution() as attribution:
        root = program()
    ops = explain(attribution, root, top_names={id(later[0]): "later"})
    assert paths(ops) == ["Sequential.0", "later.0"]


def test_numbers_that_two_threads_have_given_tell_nothing() -> None:
    w = torch.rand(3, requires_grad=True)
    results = []

    def work() -> None:
        results.append(w.exp().sin())

    def program() -> torch.Tensor:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return results[0]

    # A new thread counts from 0, and so must this one for the numbers to be the same.
    outcome: list[list[ObservedOp]] = []

    def run() -> None:
        with Attribution() as attribution:
            other = program()
            own = w.exp().cos().tan()
        outcome.append(explain(attribution, own, other))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    by_op = {op.op: op.text for op in outcome[0]}
    assert by_op == {
        "ExpBackward0": None,
        "SinBackward0": None,
        "CosBackward0": None,
        "TanBackward0": "w.exp().cos().tan()",
    }


def test_modules_called_in_other_threads_are_no_calls() -> None:
    block = Block()

    def program() -> torch.Tensor:
        thread = threading.Thread(target=lambda: block(torch.rand(4, 3)))
        thread.start()
        thread.join()
        return block(torch.rand(4, 3))

    with Attribution() as attribution:
        program()
    assert [call.nth for call in attribution.modules({})] == [0, 0]


def test_nodes_of_a_second_backward_come_from_the_call_that_made_them() -> None:
    fc = nn.Linear(3, 1)
    x = torch.rand(4, 3, requires_grad=True)

    def program() -> torch.Tensor:
        y = fc(x).tanh().sum()
        (gradient,) = torch.autograd.grad(y, x, create_graph=True)
        return gradient.norm()

    ops = observe(program, top_names={id(fc): "fc"})
    texts = dict.fromkeys(op.text for op in ops)
    assert list(texts) == [
        "fc(x)",
        "fc(x).tanh()",
        "torch.autograd.grad(y, x, create_graph=True)",
        "gradient.norm()",
    ]
    made_backward = [op for op in ops if op.text == "torch.autograd.grad(y, x, create_graph=True)"]
    assert "TanhBackwardBackward0" in [op.op for op in made_backward]
    assert {op.path for op in made_backward} == {None}
    assert {op.names for op in made_backward} == {()}


# Undisturbed


def observer_traces() -> tuple[object, ...]:
    """All places in torch where an observer could leave something."""
    return (
        dict(torch_module._global_forward_hooks),
        dict(torch_module._global_forward_pre_hooks),
        dict(torch_module._global_forward_hooks_always_called),
        list(_get_current_function_mode_stack()),
        vars(torch.autograd.Function)["apply"],
        torch.is_grad_enabled(),
    )


def test_nothing_outlives_the_block() -> None:
    before = observer_traces()
    with Attribution():
        assert observer_traces() != before
        Net()(torch.rand(4, 3))
    assert observer_traces() == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_outlives_a_block_that_raises(error: type[BaseException]) -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    before = observer_traces()
    with pytest.raises(error), Attribution():
        nn.Sequential(Failing())(torch.rand(4, 3))
    assert observer_traces() == before


def test_a_mode_that_the_program_leaves_behind_is_not_taken_for_ours() -> None:
    class Left(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            return function(*args, **(kwargs or {}))

    left = Left()
    with Attribution():
        left.__enter__()
    try:
        assert _get_current_function_mode_stack() == [left]
    finally:
        left.__exit__(None, None, None)


def test_attributions_may_be_nested() -> None:
    x = torch.rand(2, requires_grad=True)
    before = observer_traces()
    with Attribution() as outer:
        a = x.exp()
        with Attribution() as inner:
            b = a.sin()
        c = b.cos()
    assert observer_traces() == before
    assert [op.text for op in explain(outer, c)] == ["x.exp()", "a.sin()", "b.cos()"]
    assert [op.text for op in explain(inner, c)] == [None, "a.sin()", None]


class Odd(nn.Module):
    """Uses everything that an observer might disturb."""

    forward_calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)
        self.weights = nn.Parameter(torch.rand(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Odd.forward_calls += 1
        x = functional.dropout(self.net(x), 0.3)
        x, _ = self.attention(x[None], x[None], x[None])
        x = checkpoint(self.mixed, x, use_reentrant=False) + torch.rand_like(x)
        x = x.clone()
        x[:, 0] *= 2
        with torch.no_grad():
            scale = x.abs().max()
        return (x / scale).mean()

    def mixed(self, x: torch.Tensor) -> torch.Tensor:
        return Square.apply(functional.dropout(x @ self.weights))


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return 2 * gradient * ctx.saved_tensors[0]


def train(model: nn.Module) -> tuple[list[torch.Tensor], torch.Tensor, list[Any]]:
    """Gradients, the state of the random numbers, and the shape of the graph."""
    torch.manual_seed(3)
    model.zero_grad()
    loss = model(torch.rand(5, 3))
    shape = [(node.name(), len(node.next_functions)) for node in ops_of(loss)]
    loss.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return gradients, torch.get_rng_state(), shape


@pytest.mark.parametrize("sources", [True, False])
def test_gradients_random_numbers_and_graph_are_the_same_with_and_without(sources: bool) -> None:
    model = Odd()
    Odd.forward_calls = 0
    gradients, state, shape = train(model)
    with Attribution(sources=sources):
        observed_gradients, observed_state, observed_shape = train(model)
    assert all(map(torch.equal, gradients, observed_gradients))
    assert torch.equal(state, observed_state)
    assert shape == observed_shape
    assert Odd.forward_calls == 2


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_without_gradients_torchs_modules_take_the_same_path_as_ever() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x, padding = torch.rand(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])

    def program() -> torch.Tensor:
        with torch.no_grad():
            return encoder(x, src_key_padding_mask=padding)

    expected = program()
    fast_path_fills_padding_with_zeros = not expected[1, 3:].any()
    assert fast_path_fills_padding_with_zeros
    before = observer_traces()
    with Attribution() as attribution:
        assert torch.equal(program(), expected)
        y = encoder(x).exp()
    assert observer_traces() == before
    ops = explain(attribution, y)
    assert ops[-1].text == "encoder(x).exp()"
    assert None not in [op.text for op in ops]


def test_modes_that_the_program_enters_keep_their_order() -> None:
    net = Net()
    with Attribution():
        with torch.device("cpu"):
            before = _get_current_function_mode_stack()
            with torch.no_grad():
                net(torch.rand(4, 3))
            assert _get_current_function_mode_stack() == before
            assert len(before) == 2
        assert _get_current_function_mode_stack() == before[:-1]


def test_gradients_within_a_module_without_them_are_noted_again() -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                return Block()(x) * 2

    inner = Inner()

    def program() -> torch.Tensor:
        with torch.no_grad():
            return inner(torch.rand(4, 3))

    ops = observe(program, top_names={id(inner): "inner"})
    assert paths(ops) == ["inner.Block.fc", "inner.Block.fc", "inner.Block", "inner"]
    assert ops[2].text == "self.fc(x).relu()"


def test_without_sources_the_calls_alone_are_known() -> None:
    block = Block()
    with Attribution(sources=False) as attribution:
        assert not _get_current_function_mode_stack()
        y = block(torch.rand(4, 3))
    ops = explain(attribution, y)
    assert paths(ops) == ["Block.fc", "Block.fc", "Block"]
    assert {op.source for op in ops} == {None}
    assert {op.names for op in ops} == {()}


def test_no_tensor_and_no_module_is_kept_alive() -> None:
    with Attribution() as attribution:
        block, x = Block(), torch.rand(4, 3)
        y = block(x)
        alive = [weakref.ref(block), weakref.ref(x), weakref.ref(y)]
        del block, x, y
        gc.collect()
        assert [reference() for reference in alive] == [None, None, None]
    assert [call.path for call in attribution.modules({})] == ["Block", "Block.fc"]


def test_models_are_copied_and_pickled_without_a_trace() -> None:
    block = Block()
    with Attribution():
        block(torch.rand(4, 3))
        twin = copy.deepcopy(block)
    assert vars(twin).keys() == vars(block).keys()
    assert not twin._forward_hooks and not twin.fc._forward_pre_hooks


@pytest.mark.parametrize(
    "mode",
    [torch.no_grad(), torch.inference_mode(), torch.autocast("cpu"), torch.device("cpu")],
    ids=["no_grad", "inference_mode", "autocast", "default device"],
)
def test_modes_of_torch_work_within_the_block(mode: Any) -> None:
    net = Net()
    x = torch.rand(4, 3)
    with mode:
        expected = net(x)
    with Attribution(), mode:
        assert torch.equal(net(x), expected)


def test_subclasses_and_modes_of_the_program_see_the_same_calls() -> None:
    seen: list[str] = []

    class Noted(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(function.__name__)
            return super().__torch_function__(function, types, args, kwargs or {})

    class Noting(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(f"mode {function.__name__}")
            return function(*args, **(kwargs or {}))

    net = Net()

    def program() -> list[str]:
        seen.clear()
        with Noting():
            x = torch.rand(4, 3).as_subclass(Noted).requires_grad_()
            y = net(x) * 1
            y[0].mul_(2)
            y[0] = Square.apply(y[1])
            y.chunk(2)
        return list(seen)

    expected = program()
    with Attribution():
        assert program() == expected
    seen.clear()
    with Noting(), Attribution():
        net(torch.rand(4, 3))
    assert "mode linear" in seen
    assert not {"mode __get__", "mode _is_view"} & set(seen)


def test_function_transforms_work_within_the_block() -> None:
    def program(x: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(torch.func.grad(lambda v: (v**3).sum()))(x).sum()

    x = torch.rand(3, 2, requires_grad=True)
    ops = observe(lambda: program(x))
    assert ops[-1].text == "torch.func.vmap(torch.func.grad(lambda v: (v**3).sum()))(x).sum()"


def test_fake_tensors_are_attributed() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        net = Net()
        ops = observe(lambda: net(torch.rand(4, 3)), top_names={id(net): ""})
    assert paths(ops, "Addmm") == ["blocks.0.fc", "blocks.1.fc", "head.1"]
    assert all(op.source for op in ops)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_notes_nothing() -> None:
    block = Block()
    with Attribution() as attribution:
        block(torch.rand(4, 3))
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            block.fc.weight.sum()
            block(torch.rand(4, 3))
            os._exit(len(attribution.modules({})))
        _, status = os.waitpid(child, 0)
        block(torch.rand(4, 3))
    assert os.waitstatus_to_exitcode(status) == 2
    assert len(attribution.modules({})) == 4


def test_workers_of_a_data_loader_run_within_the_block() -> None:
    data = torch.utils.data.TensorDataset(torch.rand(8, 3))
    loader = torch.utils.data.DataLoader(data, batch_size=4, num_workers=1)
    block = Block()
    ops = observe(lambda: sum(block(x).sum() for (x,) in loader))
    assert Counter(paths(ops))["Block.fc"] == 4


# Custom Functions and checkpoints


def test_custom_functions_are_attributed() -> None:
    x = torch.rand(3, requires_grad=True)

    def program() -> torch.Tensor:
        y = Square.apply(x)
        return (y,)

    (op,) = observe(program)
    assert (op.op, op.text, op.names) == ("SquareBackward", "Square.apply(x)", ("y",))


def test_custom_functions_are_attributed_under_a_name_taken_while_another_watched() -> None:
    x = torch.rand(3, requires_grad=True)
    with Attribution():
        square = Square.apply
    ops = observe(lambda: square(square(x)))
    assert [op.text for op in ops] == ["square(x)", "square(square(x))"]
    assert square(x).grad_fn is not None


def test_checkpoints_are_attributed() -> None:
    block = Block()

    def program() -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.rand(4, 3, requires_grad=True)
        plain = checkpoint(block, x, use_reentrant=False)
        opaque = checkpoint(block, x, use_reentrant=True)
        return plain, opaque

    ops = observe(program, top_names={id(block): "block"})
    assert [(op.op, op.path) for op in ops] == [
        ("TBackward0", "block.fc"),
        ("AddmmBackward0", "block.fc"),
        ("ReluBackward0", "block"),
        ("CheckpointFunctionBackward", None),
    ]
    assert ops[-1].text == "checkpoint(block, x, use_reentrant=True)"


# Real models


@pytest.fixture(scope="module")
def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=3,
        n_embd=32,
        n_head=2,
        vocab_size=100,
        n_positions=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config)


def test_every_op_of_gpt2_has_a_path_and_a_source(gpt2: nn.Module) -> None:
    tokens = torch.randint(0, 100, (2, 8))
    ops = observe(lambda: gpt2(tokens, labels=tokens).loss, top_names={id(gpt2): ""})
    assert len(ops) > 150
    assert None not in paths(ops)
    layers = {
        path.split(".")[2] for path in paths(ops) if path and path.startswith("transformer.h.")
    }
    assert layers == {"0", "1", "2"}
    # The innermost code of ours is the line that calls the model.
    assert {op.text for op in ops} == {"gpt2(tokens, labels=tokens)"}


def test_without_code_of_the_users_own_the_librarys_line_is_shown(gpt2: nn.Module) -> None:
    from graphviz_cli.capture.callers import begin

    tokens = torch.randint(0, 100, (2, 8))
    with Attribution() as attribution:
        output = begin(gpt2, tokens)
    ops = explain(attribution, output.logits, top_names={id(gpt2): ""})
    sources = [op.source for op in ops if op.source is not None]
    assert len(sources) == len(ops)
    assert all(source.file.startswith("transformers/") for source in sources)
    assert any(op.names == ("hidden_states",) for op in ops)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_graphs_of_torchs_op_database_are_the_same_with_and_without() -> None:
    pytest.importorskip("expecttest", reason="torch's op database needs expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    def graph(op: Any, sample: Any) -> list[Any]:
        torch.manual_seed(0)
        result = op.op(sample.input, *sample.args, **sample.kwargs)
        leaves = torch.utils._pytree.tree_leaves(result)
        roots = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.grad_fn]
        ops = ops_of(*roots)
        place = {node: position for position, node in enumerate(ops)}
        return [
            (node.name(), [(place.get(child), nr) for child, nr in node.next_functions])
            for node in ops
        ]

    compared = 0
    for op in op_db:
        if torch.float32 not in op.supported_backward_dtypes("cpu") or not op.supports_autograd:
            continue
        samples = op.sample_inputs("cpu", torch.float32, requires_grad=True)
        for sample in itertools.islice(samples, 3):
            expected = graph(op, sample)
            with Attribution():
                observed = graph(op, sample)
            assert observed == expected, op.formatted_name
            compared += 1
    assert compared > 1_000
