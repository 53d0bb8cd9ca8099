"""What we rely on in torch without torch's promise, one test for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from graphviz_cli.capture import private, private_calls
from tests.capture.programs import Scaled, leaf, quiet_checkpoint_debugging


class Noting(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def test_undisturbed_hides_reading_from_modes_and_subclasses() -> None:
    class Loud(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *arguments: Any, **options: Any) -> Any:
            raise AssertionError("called")

    loud = torch.ones(3).as_subclass(Loud)
    with Noting() as noting, private.undisturbed():
        assert loud.shape == (3,)
        assert loud.grad_fn is None
    assert noting.seen == []


def test_sequence_nrs_count_the_ops_and_not_the_leaves() -> None:
    y = leaf(3).sin()
    z = y.cos()
    accumulate = y.grad_fn.next_functions[0][0]
    first, second, third = private.sequence_nrs([y.grad_fn, z.grad_fn, accumulate])
    assert second == first + 1
    assert third == private.UNNUMBERED


def test_next_sequence_nr_is_that_of_the_next_op() -> None:
    following = private.next_sequence_nr()
    assert private.sequence_nrs([leaf(3).sin().grad_fn]) == [following]


def test_output_metadata_has_shape_dtype_and_device_of_each_output() -> None:
    values, _ = leaf(3, 4).max(dim=1)
    (metadata,) = private.output_metadata(values.grad_fn)
    assert tuple(metadata.shape) == (3,)
    assert (metadata.dtype, metadata.device) == (torch.float32, torch.device("cpu"))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_output_metadata_of_a_nested_tensor_has_no_shape() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], requires_grad=True)
    (metadata,) = private.output_metadata((nested * 2).grad_fn)
    with pytest.raises(RuntimeError):
        _ = metadata.shape


def test_saved_fields_are_the_tensors_and_not_the_numbers() -> None:
    y = leaf(3, 4).softmax(dim=1)
    assert private.saved_fields(type(y.grad_fn)) == (("result", "_raw_saved_result"),)
    assert hasattr(y.grad_fn, "_saved_dim")


def test_saved_fields_of_a_custom_function_are_none() -> None:
    y = Scaled.apply(leaf(3), leaf(3))
    assert private.saved_fields(type(y.grad_fn)) == ()
    assert private.is_custom_function(type(y.grad_fn))
    assert not private.is_custom_function(type(leaf(3).exp().grad_fn))


def test_custom_saved_raises_once_freed() -> None:
    x, factor = leaf(3), leaf(3)
    y = Scaled.apply(x, factor)
    assert [saved.data for saved in private.custom_saved(y.grad_fn)] == [x, factor]
    y.sum().backward()
    with pytest.raises(RuntimeError):
        private.custom_saved(y.grad_fn)


def test_the_data_of_an_input_is_the_input_itself_and_of_an_output_shares_its_storage() -> None:
    x = leaf(3)
    y = x.sin()
    z = x.exp()
    assert y.grad_fn._raw_saved_self.data is x
    result = z.grad_fn._raw_saved_result.data
    assert private.storage_address(result) == private.storage_address(z)


def test_only_handles_are_saved_tensors() -> None:
    y = leaf(3).exp()
    assert private.is_saved_tensor(y.grad_fn._raw_saved_result)
    assert not private.is_saved_tensor(y)


def test_is_freed_tells_freed_from_never_filled() -> None:
    y = nn.functional.layer_norm(torch.ones(2, 3), (3,), None, leaf(3))
    node = y.grad_fn
    assert node._raw_saved_weight.data is None
    assert not private.is_freed(node._raw_saved_weight)
    y.sum().backward()
    assert node._raw_saved_input.data is None
    assert private.is_freed(node._raw_saved_input)


@pytest.mark.parametrize(
    "run",
    [
        lambda loss, x: loss.backward(),
        lambda loss, x: torch.autograd.backward(loss),
        lambda loss, x: torch.autograd.grad(loss, x),
    ],
    ids=["method", "backward", "grad"],
)
def test_every_backward_call_goes_through_the_entry_points(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for place, name in private.backward_entry_points():
        original = getattr(place, name)
        monkeypatch.setattr(
            place, name, lambda roots, *a, o=original, **k: seen.append(roots) or o(roots, *a, **k)
        )
    x = leaf(3)
    loss = x.sum()
    run(loss, x)
    assert len(seen) == 1
    assert seen[0][0] is loss


def test_a_hook_is_inside_backward_and_the_rest_is_not() -> None:
    inside = []
    x = leaf(3)
    x.register_hook(lambda gradient: inside.append(private.is_inside_backward()))
    assert not private.is_inside_backward()
    x.sum().backward()
    assert inside == [True]


def test_a_transform_is_noticed() -> None:
    inside = []

    def function(x: torch.Tensor) -> torch.Tensor:
        inside.append(private.is_inside_transform())
        return x.sin()

    function(torch.ones(()))
    torch.func.grad(function)(torch.ones(()))
    assert inside == [False, True]


def test_views_share_a_storage_address_and_copies_do_not() -> None:
    x = torch.ones(4)
    assert private.storage_address(x[1:]) == private.storage_address(x)
    assert private.storage_address(x.clone()) != private.storage_address(x)
    one, other = torch.ones(4, device="meta"), torch.ones(4, device="meta")
    assert private.storage_address(one) != private.storage_address(other)
    with pytest.raises(NotImplementedError):
        private.storage_address(torch.eye(3).to_sparse())


def test_inner_tensors_are_those_that_a_wrapper_is_made_of() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    one, other = torch.ones(2), torch.zeros(2)
    inner = private.inner_tensors(TwoTensor(one, other))
    assert [name for name, _ in inner] == ["a", "b"]
    assert inner[0][1] is one
    assert inner[1][1] is other
    assert private.inner_tensors(one) == ()


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(
    ("convert", "names"),
    [
        (lambda t: t.to_sparse(), ["indices", "values"]),
        (lambda t: t.to_sparse_csr(), ["crow_indices", "col_indices", "values"]),
        (lambda t: t.to_sparse_csc(), ["ccol_indices", "row_indices", "values"]),
        (lambda t: t.to_sparse_bsr((1, 1)), ["crow_indices", "col_indices", "values"]),
        (lambda t: t, []),
    ],
    ids=["coo", "csr", "csc", "bsr", "dense"],
)
def test_sparse_parts_are_indices_and_values(convert: Any, names: list[str]) -> None:
    parts = private.sparse_parts(convert(torch.eye(3)))
    assert [name for name, _ in parts] == names
    assert all(part.layout is torch.strided for _, part in parts)


def test_a_dimension_is_a_number_or_the_text_of_its_symbol() -> None:
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    assert private.plain_dimension(3) == 3
    mode = FakeTensorMode(shape_env=ShapeEnv())
    x = mode.from_tensor(torch.ones(4, 3), static_shapes=False)
    assert private.plain_dimension(x.shape[0]) == str(x.shape[0])
    assert isinstance(private.plain_dimension(x.shape[0]), str)


@pytest.mark.parametrize("debug", [False, True])
def test_a_checkpoint_is_known_by_its_unpack_hook(debug: bool) -> None:
    x = leaf(2, 3).neg()
    with quiet_checkpoint_debugging():
        y = checkpoint(lambda x: x.exp(), x, use_reentrant=False, debug=debug)
    handle = y.grad_fn._raw_saved_result
    frame = private.checkpoint_frame(handle.unpack_hook)
    ((holder, metadata),) = private.checkpoint_holders(frame)
    assert holder is handle.data
    assert metadata == {"shape": (2, 3), "dtype": torch.float32, "device": torch.device("cpu")}
    assert [saved.data is x for saved in private.checkpoint_inputs(frame)] == [True]


def test_other_hooks_are_no_checkpoint() -> None:
    frame = {"weak_holders": []}
    assert private.checkpoint_frame(lambda packed: frame) is None
    assert private.checkpoint_frame(len) is None


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 2


def test_a_function_that_goes_back_once_is_known_by_its_decorator() -> None:
    assert private.is_once_differentiable(type(Once.apply(leaf(3)).grad_fn))
    for other in (Scaled.apply(leaf(3), leaf(3)), leaf(3).exp()):
        assert not private.is_once_differentiable(type(other.grad_fn))


def test_an_output_that_was_written_to_after_it_was_saved_is_stale() -> None:
    w = torch.ones(3, requires_grad=True)
    kept, changed = w.exp(), w.exp()
    node = changed.grad_fn
    changed += 1
    assert private.is_output_stale(node, "result")
    assert not private.is_output_stale(kept.grad_fn, "result")


def test_the_refusal_of_a_root_without_history_is_known_by_its_text() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.ones(()).backward()
    assert private.is_refusal(refused.value)
    assert not private.is_refusal(RuntimeError("another"))
    assert not private.is_refusal(None)


def test_a_module_without_hooks_runs_its_forward_where_it_is_said() -> None:
    class Fails(torch.nn.Module):
        def forward(self) -> None:
            raise ValueError

    with pytest.raises(ValueError) as raised:
        Fails()()
    entries = {entry.frame.code.raw: entry._rawentry for entry in raised.traceback}
    entry = entries[torch.nn.Module._call_impl.__code__]
    assert private_calls.call_without_hooks() == (entry.tb_lasti, entry.tb_lineno)


def test_all_hooks_of_a_call_are_told() -> None:
    def hook(*given: Any) -> None: ...

    def on_all(*given: Any) -> None: ...

    module = torch.nn.Linear(3, 3)
    for register in (
        module.register_forward_hook,
        module.register_forward_pre_hook,
        module.register_full_backward_hook,
        module.register_full_backward_pre_hook,
    ):
        register(hook)
    with torch.nn.modules.module.register_module_forward_hook(on_all):
        assert private_calls.call_hooks(module).count(hook) == 4
        assert private_calls.call_hooks(module).count(on_all) == 1
    assert on_all not in private_calls.call_hooks(module)
