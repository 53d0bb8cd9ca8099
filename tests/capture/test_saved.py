from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint

from graphviz_cli.capture.names import TensorNames
from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.graph.model import Graph, SavedState, SavedTensor, TensorSpec, held_bytes
from tests.capture.programs import PROGRAMS, leaf, quiet_checkpoint_debugging
from tests.oracles import assert_runs_like_autograd

HELD, FREED = SavedState.HELD, SavedState.FREED
PACKED, UNDEFINED = SavedState.PACKED, SavedState.UNDEFINED


def captured(*tensors: torch.Tensor, **options: Any) -> Graph:
    return walk([RootTensor("root", tensor) for tensor in tensors], **options)


def saved_by(graph: Graph, op: str) -> dict[str, SavedTensor]:
    (node,) = (node for node in graph.nodes if node.name == op)
    assert len({saved.name for saved in node.saved}) == len(node.saved)
    return {saved.name: saved for saved in node.saved}


def floats(*shape: int) -> TensorSpec:
    return TensorSpec(shape, "float32", "cpu")


def states(graph: Graph) -> set[SavedState]:
    return {saved.state for node in graph.nodes for saved in node.saved}


# What is saved


def test_a_saved_tensor_has_name_spec_storage_and_state() -> None:
    graph = captured(leaf(2, 3).exp())
    saved = saved_by(graph, "ExpBackward0")["result"]
    assert saved == SavedTensor("result", floats(2, 3), 0, HELD)
    assert graph.storages[0].nbytes == 24


def test_tensors_on_the_same_storage_share_it() -> None:
    x = leaf(4, 6).neg()
    graph = captured(x[0] * x[1])
    saved = saved_by(graph, "MulBackward0")
    assert saved["self"].storage == saved["other"].storage == 0
    assert [storage.nbytes for storage in graph.storages] == [96]


def test_a_list_of_saved_tensors_is_numbered_and_tells_the_missing_ones() -> None:
    graph = captured(leaf(3, 4)[:, torch.tensor([0, 2])])
    saved = saved_by(graph, "IndexBackward0")
    assert saved["indices[0]"] == SavedTensor("indices[0]", None, None, UNDEFINED)
    assert saved["indices[1]"].spec == TensorSpec((2,), "int64", "cpu")


def test_a_place_that_was_never_filled_is_undefined() -> None:
    weight = leaf(3)
    graph = captured(nn.functional.layer_norm(torch.ones(2, 3), (3,), None, weight))
    assert saved_by(graph, "NativeLayerNormBackward0")["weight"].state is UNDEFINED


def test_storages_of_parameters_buffers_and_inputs_are_not_the_graphs_own() -> None:
    layer = nn.BatchNorm1d(3)
    x = torch.randn(4, 3)
    names = TensorNames([{"layer": layer, "x": x}])
    graph = captured(layer(x).exp(), names=names)
    saved = saved_by(graph, "NativeBatchNormBackward0")
    owned = {
        name: graph.storages[s.storage].owned for name, s in saved.items() if s.storage is not None
    }
    assert owned == {
        "input": False,
        "weight": False,
        "running_mean": False,
        "running_var": False,
        "result1": True,
        "result2": True,
    }


def test_held_bytes_count_every_storage_once_and_none_of_the_users() -> None:
    weight, x = nn.Parameter(torch.randn(8, 8)), torch.randn(4, 8)
    hidden = (x @ weight).exp()
    graph = captured((hidden * hidden).sum(), names=TensorNames([{"w": weight, "x": x}]))
    assert held_bytes(graph) == 4 * 8 * 4


# Custom Functions


def test_a_custom_function_shows_what_it_saved_and_what_stands_on_its_ctx() -> None:
    class Parks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, None)
            ctx.mask = x > 0
            ctx.nested = {"pair": (x.exp(), 3)}
            return x * 1

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            return gradients[0]

    y = Parks.apply(leaf(3))
    saved = saved_by(captured(y), "ParksBackward")
    assert {name: (s.spec, s.state) for name, s in saved.items()} == {
        "saved_tensors[0]": (floats(3), HELD),
        "saved_tensors[1]": (None, UNDEFINED),
        "ctx.mask": (TensorSpec((3,), "bool", "cpu"), HELD),
        "ctx.nested['pair'][0]": (floats(3), HELD),
    }
    y.sum().backward()
    graph = captured(y)
    assert set(saved_by(graph, "ParksBackward")) == {"ctx.mask", "ctx.nested['pair'][0]"}
    assert graph.provenance.notes == (
        "Not seen of 1 custom Function: what was saved, as backward has freed it.",
    )


# Packed


def test_no_hook_fires_and_packed_tensors_say_so() -> None:
    unpacked = []

    def unpack(number: int) -> torch.Tensor:
        unpacked.append(number)
        return kept[number]

    kept: list[torch.Tensor] = []
    with saved_tensors_hooks(lambda t: kept.append(t) or len(kept) - 1, unpack):
        y = leaf(3).exp()
    graph = captured(y)
    assert saved_by(graph, "ExpBackward0")["result"] == SavedTensor("result", None, None, PACKED)
    assert unpacked == []
    y.sum().backward()
    assert unpacked == [0]


def test_a_packed_tensor_shows_what_is_kept_instead() -> None:
    with saved_tensors_hooks(lambda t: t.half(), lambda t: t.float()):
        graph = captured(leaf(3).exp())
    saved = saved_by(graph, "ExpBackward0")["result"]
    assert (saved.spec, saved.state) == (TensorSpec((3,), "float16", "cpu"), PACKED)
    assert held_bytes(graph) == 6


def test_a_packed_tensor_is_told_from_a_held_one_of_the_same_kind() -> None:
    with saved_tensors_hooks(torch.clone, lambda t: t):
        y = leaf(3).exp()
    graph = captured(y.exp())
    assert [node.saved[0].state for node in graph.nodes if node.saved] == [HELD, PACKED]


def test_an_offloaded_tensor_is_found_beside_its_device() -> None:
    with torch.autograd.graph.save_on_cpu():
        graph = captured(leaf(5).exp())
    saved = saved_by(graph, "ExpBackward0")["result"]
    assert (saved.spec, saved.state) == (floats(5), PACKED)
    assert held_bytes(graph) == 20


@pytest.fixture
def counted() -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    def region(x: torch.Tensor) -> torch.Tensor:
        region.calls += 1  # type: ignore[attr-defined]
        return x.exp().sin()

    region.calls = 0  # type: ignore[attr-defined]
    return region


@pytest.mark.parametrize("options", [{}, {"debug": True}], ids=["plain", "debug"])
def test_a_checkpoint_shows_what_it_stands_for_and_is_not_computed_again(
    options: dict[str, Any], counted: Any
) -> None:
    x = leaf(2, 3) * 1
    with quiet_checkpoint_debugging():
        y = checkpoint(counted, x, use_reentrant=False, **options)
        graph = captured(y)
        assert counted.calls == 1
        y.sum().backward()
    assert counted.calls == 2
    assert saved_by(graph, "ExpBackward0")["result"] == SavedTensor(
        "result", floats(2, 3), None, PACKED
    )


def test_what_a_checkpoint_keeps_to_compute_again_is_counted_once(counted: Any) -> None:
    graph = captured(checkpoint(counted, leaf(2, 3).neg(), use_reentrant=False))
    kept = [s for node in graph.nodes for s in node.saved if s.name.startswith("checkpoint[")]
    assert [(saved.spec, saved.state) for saved in kept] == [(floats(2, 3), HELD)]
    assert held_bytes(graph) == 24


def test_a_checkpoint_that_notes_nothing_has_no_specs(counted: Any) -> None:
    y = checkpoint(counted, leaf(3), use_reentrant=False, determinism_check="none")
    saved = saved_by(captured(y), "ExpBackward0")["result"]
    assert (saved.spec, saved.state) == (None, PACKED)


# Freed


def test_what_backward_freed_is_freed_and_nothing_raises() -> None:
    for program in PROGRAMS.values():
        tensors = program()
        torch.autograd.backward(tensors, [torch.ones_like(tensor) for tensor in tensors])
        graph = captured(*tensors)
        assert states(graph) <= {FREED, UNDEFINED}, program
        assert held_bytes(graph) == 0


def test_a_freed_list_of_tensors_is_one_freed_row() -> None:
    y = leaf(3, 4)[:, torch.tensor([0, 2])]
    y.sum().backward()
    assert saved_by(captured(y), "IndexBackward0")["indices"].state is FREED


def test_reading_after_a_write_in_place_does_not_raise() -> None:
    y = leaf(3).exp()
    y.add_(1)  # backward would raise
    assert states(captured(y)) == {HELD}


# What is in a box


@pytest.mark.slow
def test_a_compiled_region_shows_what_it_saved_and_hides_its_ops() -> None:
    def region(x: torch.Tensor) -> torch.Tensor:
        return x.exp().sin().sum()

    graph = captured(torch.compile(region, backend="aot_eager")(leaf(3)))
    assert {s.spec for s in graph.nodes[0].saved} == {floats(3)}
    assert graph.provenance.notes == ("Not seen of 1 compiled region: the ops, compiled into one.",)


@pytest.mark.slow
def test_an_op_of_a_cpp_extension_hides_what_it_saved() -> None:
    if shutil.which("ninja") is None or shutil.which("c++") is None:
        pytest.skip("a C++ extension needs ninja and a compiler")
    from torch.utils.cpp_extension import load_inline

    extension = load_inline(
        "walked_extension",
        """
        struct Doubled : public torch::autograd::Function<Doubled> {
          static torch::Tensor forward(torch::autograd::AutogradContext* ctx, torch::Tensor x) {
            ctx->save_for_backward({x});
            return x * 2;
          }
          static torch::autograd::variable_list backward(
              torch::autograd::AutogradContext* ctx, torch::autograd::variable_list gradients) {
            return {gradients[0] * 2};
          }
        };
        torch::Tensor doubled(torch::Tensor x) { return Doubled::apply(x); }
        """,
        functions=["doubled"],
    )
    y = extension.doubled(leaf(3)).sum()
    graph = captured(y)
    assert list(graph.nodes.names)[1] == "CppNode<Doubled>"
    assert graph.provenance.notes == ("Not seen of 1 op of a C++ extension: what was saved.",)
    assert assert_runs_like_autograd(graph, [y]) == 1


# Tensors of other makes


def test_a_sparse_tensor_is_held_in_its_indices_and_values() -> None:
    sparse = torch.eye(3).to_sparse()
    saved = saved_by(captured(torch.sparse.mm(sparse, leaf(3, 2))), "SparseAddmmBackward0")
    assert saved["mat1"].spec == floats(3, 3)
    assert saved["mat1"].storage is None
    assert saved["mat1.indices"].spec == TensorSpec((2, 3), "int64", "cpu")
    assert saved["mat1.values"].spec == floats(3)


def test_a_wrapper_is_held_in_the_tensors_that_it_wraps() -> None:
    x = TwoTensor(torch.ones(2, 3), torch.ones(2, 3)).requires_grad_()
    graph = captured(x.neg().exp())
    saved = saved_by(graph, "ExpBackward0")
    assert {name: s.storage is None for name, s in saved.items()} == {
        "result": True,
        "result.a": False,
        "result.b": False,
    }
    assert held_bytes(graph) == 48


def test_the_storages_of_a_wrapped_parameter_are_the_users() -> None:
    x = TwoTensor(torch.ones(2, 3), torch.ones(2, 3)).requires_grad_()
    assert held_bytes(captured(x * x)) == 0


def test_fake_tensors_tell_their_storages_apart() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        x = torch.ones(4, requires_grad=True)
        graph = captured((x.exp() * x.sin()).sum())
    assert held_bytes(graph) == 2 * 16


def test_a_distributed_tensor_counts_what_is_here(tmp_path: Any) -> None:
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        x = distribute_tensor(torch.ones(4, 6), mesh, [Shard(0)]).requires_grad_()
        graph = captured(x.neg().exp())
    finally:
        distributed.destroy_process_group()
    assert saved_by(graph, "ExpBackward0")["result"].spec == floats(4, 6)
    assert held_bytes(graph) == 4 * 6 * 4 // 2
