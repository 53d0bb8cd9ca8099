from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from graphviz_cli.capture import private
from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.errors import NoGraphError
from graphviz_cli.graph.model import Graph, Node, NodeKind, Role, Root, TensorSpec
from tests.capture.programs import PROGRAMS, Program, Split, leaf
from tests.oracles import assert_runs_like_autograd, assert_same_as_bare_walk, bare_walk


def captured(*tensors: Any, **options: Any) -> Graph:
    return walk([RootTensor(f"root{i}", t) for i, t in enumerate(tensors)], **options)


def ops(graph: Graph) -> list[Node]:
    """The backward ops in the order of the forward pass."""
    found = [node for node in graph.nodes if node.kind is NodeKind.FUNCTION]
    return sorted(found, key=lambda node: node.sequence_nr)


# Nodes, edges, roots


def test_x_times_x_has_two_edges_to_the_same_leaf() -> None:
    x = leaf(3)
    graph = captured(x * x)
    assert [(e.source, e.target, e.input_nr, e.output_nr) for e in graph.edges] == [
        (0, 1, 0, 0),
        (0, 1, 1, 0),
    ]


def test_an_edge_tells_which_output_it_goes_to() -> None:
    *_, right = torch.linalg.svd(leaf(3, 3))
    graph = captured(right.sum())
    svd = next(node for node in graph.nodes if node.name == "LinalgSvdBackward0")
    assert [edge.output_nr for edge in graph.edges if edge.target == svd.id] == [2]
    assert len(svd.outputs) == 3


def test_a_root_tells_which_output_it_is() -> None:
    first, _, last = leaf(6).split(2)
    graph = captured(last, first)
    assert graph.roots == (Root("root0", 0, 2), Root("root1", 0, 0))


def test_ranks_follow_the_forward_pass_and_leaves_have_none() -> None:
    x = leaf(3)
    y = x.sin()
    graph = captured(y.exp() + y.cos())
    assert [node.name for node in ops(graph)] == [
        "SinBackward0",
        "ExpBackward0",
        "CosBackward0",
        "AddBackward0",
    ]
    assert [node.sequence_nr for node in ops(graph)] == [0, 1, 2, 3]
    assert [n.sequence_nr for n in graph.nodes if n.kind is NodeKind.LEAF] == [None]


def test_ops_of_several_threads_are_ordered_along_the_edges() -> None:
    x = leaf(3)
    for _ in range(50):  # this thread's count is far ahead of the other's
        y = x.sin()
    results = []
    thread = threading.Thread(target=lambda: results.append(y.cos()))
    thread.start()
    thread.join()
    graph = captured(results[0].exp())
    assert [node.name for node in ops(graph)] == ["SinBackward0", "CosBackward0", "ExpBackward0"]
    assert "several threads" in " ".join(graph.provenance.notes)


def test_a_tensor_without_graph_is_left_out_and_noted() -> None:
    graph = walk([RootTensor("mask", torch.ones(2)), RootTensor("loss", leaf(2).sum())])
    assert [root.name for root in graph.roots] == ["loss"]
    assert "mask" in graph.provenance.notes[0]


def test_tensors_without_any_graph_are_an_error() -> None:
    with pytest.raises(NoGraphError):
        captured(torch.ones(2), leaf(2).detach())


def test_a_gradient_edge_can_be_a_root() -> None:
    y = leaf(3) * 2
    assert captured(get_gradient_edge(y)).roots == captured(y).roots


def test_a_root_that_is_a_leaf_of_the_graph_is_that_node() -> None:
    x = leaf(3)
    graph = captured(x, x * 2)
    assert [graph.nodes[root.node].name for root in graph.roots] == [
        "AccumulateGrad",
        "MulBackward0",
    ]
    assert len(graph.nodes) == 2


def test_a_root_may_be_nothing_but_a_leaf() -> None:
    graph = captured(leaf(3))
    assert [(node.kind, node.outputs[0].shape) for node in graph.nodes] == [(NodeKind.LEAF, (3,))]
    assert graph.roots == (Root("root0", 0, 0),)


# Leaves


def test_a_leaf_knows_its_names_role_shape_and_size() -> None:
    model = nn.Linear(3, 2)
    x = leaf(4, 3)
    names = TensorNames([{"model": model, "x": x}])
    graph = captured(model(x).sum(), names=names)
    found = {node.names: node for node in graph.nodes if node.kind is NodeKind.LEAF}
    weight = found["model.weight",]
    assert weight.name == "AccumulateGrad"
    assert (weight.role, weight.parameters, weight.size) == (Role.PARAMETER, 6, 0)
    assert weight.outputs == (TensorSpec((2, 3), "float32", "cpu"),)
    assert (found["x",].role, found["x",].parameters) == (Role.INPUT, 0)


def test_a_tied_weight_is_one_leaf_with_both_names() -> None:
    model = nn.Sequential(nn.Embedding(5, 5), nn.Linear(5, 5, bias=False))
    model[1].weight = model[0].weight
    graph = captured(model(torch.tensor([1])), names=TensorNames([{"net": model}]))
    assert [n.names for n in graph.nodes if n.kind is NodeKind.LEAF] == [
        ("net.0.weight", "net.1.weight")
    ]


def test_parameters_that_no_gradient_reaches_are_leaves_without_edges() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    model["unused"].weight.requires_grad_(False)
    graph = captured(
        model["used"](torch.ones(2)),
        names=TensorNames([{"m": model}]),
        unreached=list(model.parameters()),
    )
    touched = {*graph.edges.sources, *graph.edges.targets}
    alone = [node for node in graph.nodes if node.id not in touched]
    assert [(n.names, n.kind, n.role, n.parameters) for n in alone] == [
        (("m.unused.bias",), NodeKind.LEAF, Role.PARAMETER, 2),
        (("m.unused.weight",), NodeKind.CONSTANT, Role.PARAMETER, 4),
    ]
    assert [node.id for node in alone] == [len(graph.nodes) - 2, len(graph.nodes) - 1]


# Attribution


def test_nodes_carry_their_module_call_and_variable() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with Attribution() as attribution:
        output = model(torch.ones(1, 2))
        loss = output.sum()
    graph = captured(loss, attribution=attribution, names=TensorNames([{"model": model}]))
    paths = {n.name: None if n.module is None else graph.modules[n.module].path for n in ops(graph)}
    assert paths == {
        "TBackward0": "model.0",
        "AddmmBackward0": "model.0",
        "ReluBackward0": "model.1",
        "SumBackward0": None,
    }
    by_name = {node.names: node for node in graph.nodes if node.kind is NodeKind.LEAF}
    owner = by_name["model.0.weight",].module
    assert owner is not None
    assert graph.modules[owner].path == "model.0"
    loss_node = graph.nodes[0]
    assert loss_node.names == ("loss",)
    assert loss_node.source is not None
    assert loss_node.source.text == "output.sum()"


def test_module_calls_of_earlier_steps_are_not_in_the_graph() -> None:
    model = nn.Linear(2, 2)
    with Attribution(sources=False) as attribution:
        for _ in range(3):
            loss = model(torch.ones(1, 2)).sum()
    graph = captured(loss, attribution=attribution, names=TensorNames([{"model": model}]))
    assert [(call.path, call.nth) for call in graph.modules] == [("model", 0)]
    assert [n.module for n in graph.nodes if n.kind is NodeKind.LEAF] == [0, 0]


def test_the_leaf_of_a_module_that_is_called_twice_belongs_to_the_first_call() -> None:
    model = nn.Linear(2, 2)
    with Attribution(sources=False) as attribution:
        loss = model(model(torch.ones(1, 2))).sum()
    graph = captured(loss, attribution=attribution, names=TensorNames([{"model": model}]))
    assert [(call.path, call.nth) for call in graph.modules] == [("model", 0), ("model", 1)]
    assert {n.module for n in graph.nodes if n.kind is NodeKind.LEAF} == {0}


def test_an_unreached_parameter_belongs_to_the_nearest_module_that_was_called() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(2, 2)
            self.cut = nn.Linear(2, 2)
            self.never = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x) + self.cut(x).detach()

    model = Model()
    with Attribution(sources=False) as attribution:
        loss = model(torch.ones(2)).sum()
    graph = captured(
        loss,
        attribution=attribution,
        names=TensorNames([{"model": model}]),
        unreached=list(model.parameters()),
    )
    paths = {
        node.label: graph.modules[node.module].path
        for node in graph.nodes
        if node.kind is NodeKind.LEAF and node.module is not None
    }
    assert paths["model.cut.weight"] == "model.cut"
    assert paths["model.never.weight"] == "model"
    assert paths["model.used.weight"] == "model.used"


# Nodes of unusual kinds


def test_names_lose_the_namespace_of_the_engine() -> None:
    x = leaf(2) * 1
    x[0] = 1
    assert {node.name for node in captured(x).nodes} == {
        "CopySlices",
        "MulBackward0",
        "AccumulateGrad",
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_cpp_nodes_that_share_a_python_type_keep_their_own_names() -> None:
    def twice(x: torch.Tensor) -> torch.Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            return x * 2

    library = torch.library.Library("test_walk", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", twice, "CPU")
    x = torch.ops.test_walk.twice(leaf(3))
    with forward_ad.dual_level():
        primal = forward_ad.unpack_dual(forward_ad.make_dual(x, torch.ones(3))).primal
    nodes = bare_walk([primal]).nodes
    assert sum(type(node) is type(primal.grad_fn) for node in nodes) == 2
    names = list(captured(primal).nodes.names)
    assert "Identity" in names
    assert "WarnNotImplemented" in names


def test_a_second_derivative_that_is_an_error_is_an_op_like_others() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * 2

    x = leaf(3)
    seed = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(Once.apply(x), x, seed, create_graph=True)
    graph = captured(gradient.sum())
    error = next(node for node in graph.nodes if node.name.endswith("Error"))
    assert error.kind is NodeKind.FUNCTION
    assert error.sequence_nr == 0


def test_outputs_that_a_custom_function_may_not_have_are_unknown() -> None:
    first, _, _, last = Split.apply(leaf(2, 3) * 1)
    graph = captured(first + last)
    node = next(node for node in graph.nodes if node.name == "SplitBackward")
    assert [spec.shape for spec in node.outputs] == [(2, 3), None, None, (2, 3)]


def test_a_scalar_output_that_is_used_is_known() -> None:
    class Sums(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> Any:
            return x.sum(), x.prod()

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            return gradients[0].expand(3)

    first, _ = Sums.apply(leaf(3))
    assert [spec.shape for spec in captured(first).nodes[0].outputs] == [(), None]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_without_layout_has_no_shape() -> None:
    x = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], requires_grad=True)
    graph = captured(x * 2)
    assert [node.outputs[0].shape for node in graph.nodes] == [None, None]
    assert graph.nodes[0].outputs[0].dtype == "float32"


def test_a_jagged_dimension_is_a_symbol() -> None:
    parts = [torch.ones(2, 3), torch.ones(4, 3)]
    x = torch.nested.nested_tensor(parts, requires_grad=True, layout=torch.jagged)
    shape = captured(x * 2).nodes[0].outputs[0].shape
    assert shape is not None
    assert (shape[0], shape[2]) == (2, 3)
    assert isinstance(shape[1], str)


def test_symbolic_dimensions_are_read_without_a_guard() -> None:
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    environment = ShapeEnv()
    mode = FakeTensorMode(shape_env=environment)
    x = mode.from_tensor(torch.ones(4, 3), static_shapes=False).requires_grad_()
    y = x.exp()
    guards = len(environment.guards)
    graph = captured(y)
    assert all(isinstance(d, str) for node in graph.nodes for d in node.outputs[0].shape or ())
    assert len(environment.guards) == guards


def test_fake_tensors_show_the_device_that_they_stand_for() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        model = nn.Linear(3, 2)
        graph = captured(model(torch.ones(4, 3)).relu())
    assert {spec.device for node in graph.nodes for spec in node.outputs} == {"cpu"}
    assert graph.nodes[0].outputs[0].shape == (4, 2)
    assert all(storage.nbytes > 0 for storage in graph.storages)


def test_a_subclass_that_answers_nothing_does_not_stop_the_walk() -> None:
    class Mute(torch.Tensor):
        @property
        def shape(self) -> Any:
            raise RuntimeError("no answer")

        @property
        def dtype(self) -> Any:
            raise RuntimeError("no answer")

    x = torch.ones(3).as_subclass(Mute).requires_grad_()
    graph = captured((x * x).sum())
    (mute,) = (node for node in graph.nodes if node.kind is NodeKind.LEAF)
    assert mute.outputs == (TensorSpec(None, "unknown", "unknown"),)


# What cannot be seen


def note_on(graph: Graph) -> str:
    (note,) = graph.provenance.notes
    return note


def test_a_write_into_a_view_is_noted_as_half_seen() -> None:
    x = leaf(4) * 1
    x[0] = 2
    x[1] = 3
    assert note_on(captured(x)).startswith("Not seen of 2 in-place writes into a view:")


def test_a_reentrant_checkpoint_is_noted_and_not_run_again() -> None:
    calls = []

    def region(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x.sin()

    graph = captured(checkpoint(region, leaf(3), use_reentrant=True))
    assert note_on(graph).startswith("Not seen of 1 reentrant checkpoint:")
    assert len(calls) == 1


def test_a_plain_graph_has_no_notes() -> None:
    assert captured((leaf(3) * 2).sum()).provenance.notes == ()


# The observer does not disturb


def test_no_torch_call_is_made_that_a_mode_could_see() -> None:
    seen: list[object] = []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(func)
            return func(*args, **(kwargs or {}))

    class Dispatches(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(func)
            return func(*args, **(kwargs or {}))

    for program in PROGRAMS.values():
        roots = [RootTensor("root", tensor) for tensor in program()]
        with Functions(), Dispatches():
            walk(roots)
        assert seen == [], program


@pytest.fixture(params=PROGRAMS.values(), ids=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Program:
    return request.param


def gradients(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    """Run backward and collect what it leaves in the leaves."""
    torch.autograd.backward(tensors, [torch.ones_like(tensor) for tensor in tensors])
    return [leaf.grad for leaf in bare_walk(tensors).leaves.values()]


def test_gradients_and_random_numbers_are_the_same_with_and_without(program: Program) -> None:
    torch.manual_seed(0)
    tensors = program()
    captured(*tensors)
    ours, our_numbers = gradients(tensors), torch.get_rng_state()
    torch.manual_seed(0)
    theirs, their_numbers = gradients(program()), torch.get_rng_state()
    assert torch.equal(our_numbers, their_numbers)
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs):
        assert (mine is None) == (other is None)
        if mine is not None and other is not None:
            assert torch.equal(mine.to_dense(), other.to_dense())


def test_no_node_is_made_and_no_gradient_written(program: Program) -> None:
    tensors = program()
    before = private.next_sequence_nr()
    captured(*tensors)
    assert private.next_sequence_nr() == before
    assert all(leaf.grad is None for leaf in bare_walk(tensors).leaves.values())


def test_no_hook_of_the_user_is_called() -> None:
    called = []

    def note(*arguments: object) -> None:
        called.append(arguments)

    x = leaf(3)
    y = x * 2
    x.register_hook(note)
    y.register_hook(note)
    x.register_post_accumulate_grad_hook(note)
    y.grad_fn.register_hook(note)
    y.grad_fn.register_prehook(note)
    y.retain_grad()
    captured(y.sum())
    assert called == []
    y.sum().backward()
    assert len(called) == 5


def test_nothing_is_kept_alive() -> None:
    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.kept = kept = x.detach().clone()
            alive.append(weakref.ref(kept))
            return x * 1

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            return gradients[0]

    alive: list[weakref.ref[torch.Tensor]] = []
    x = leaf(3)
    y = Keeps.apply(x.exp())
    graph = captured(y, names=TensorNames([{"x": x}]))
    alive.append(weakref.ref(x))
    del x, y
    assert [reference() for reference in alive] == [None, None]
    assert len(graph.nodes) == 3


@pytest.fixture(params=[True, False], ids=["on", "off"])
def collection(request: pytest.FixtureRequest) -> Iterator[bool]:
    was = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if was else gc.disable)()


def test_garbage_collection_is_as_before(collection: bool) -> None:
    captured(leaf(3) * 2)
    assert gc.isenabled() is collection
    with pytest.raises(NoGraphError):
        captured(torch.ones(3))
    assert gc.isenabled() is collection


def test_a_second_walk_tells_the_same() -> None:
    tensors = PROGRAMS["convolution"]()
    assert captured(*tensors) == captured(*tensors)


def test_a_graph_that_was_retained_can_be_walked_after_backward() -> None:
    y = (leaf(3).exp() * leaf(3)).sum()
    before = captured(y)
    y.backward(retain_graph=True)
    assert captured(y) == before
    assert_same_as_bare_walk(before, [y])
    assert assert_runs_like_autograd(before, [y]) == 2
