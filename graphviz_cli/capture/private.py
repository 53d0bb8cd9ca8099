"""Every name that torch does not promise to keep, each behind one function.

Nothing else in the package touches a private name of torch, but `private_calls.py`. A test holds
each function to what its docstring says, so that a new torch that breaks one of them says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.utils import checkpoint as torch_checkpoint

UNNUMBERED = 2**64 - 1
"""The sequence number of nodes that are no step of the forward pass (AccumulateGrad, Error)."""


undisturbed: Callable[[], AbstractContextManager[object]] = torch._C.DisableTorchFunction
"""Read tensors without any `__torch_function__` being called, of a mode or of a subclass.

`torch/csrc/utils/disable_torch_function.cpp`; the public `torch.overrides` has no equal. Entered
for every op of a backward pass, hence without a generator around it.
"""


# Nodes: torch/csrc/autograd/python_cpp_function.cpp, python_function.cpp


def sequence_nrs(nodes: Iterable[Any]) -> list[int]:
    """For each node its place in the order in which its thread made nodes, or UNNUMBERED."""
    return [node._sequence_nr() for node in nodes]


next_sequence_nr: Callable[[], int] = torch._C._autograd._get_sequence_nr
"""The sequence number that the next backward op of this thread will get.

Asked twice for every torch call, hence without a function around it.
"""


def output_metadata(node: Any) -> Sequence[Any]:
    """For each differentiable output of a node an object with shape, dtype and device.

    The shape is a list, holds SymInts where torch has only a symbol, and raises RuntimeError for a
    nested tensor without a layout.
    """
    metadata: Sequence[Any] = node._input_metadata
    return metadata


def saved_fields(node_type: type) -> tuple[tuple[str, str], ...]:
    """Name of every tensor that built-in nodes of a type save, and the attribute that holds it.

    The attribute is a SavedTensor or a tuple of them. Reading it runs no hook; it raises
    RuntimeError where a list of tensors was freed.
    """
    return _saved_fields(node_type)


@lru_cache(maxsize=1024)
def _saved_fields(node_type: type) -> tuple[tuple[str, str], ...]:
    prefix = "_raw_saved_"
    return tuple(
        (attribute.removeprefix(prefix), attribute)
        for attribute in dir(node_type)
        if attribute.startswith(prefix) and not is_custom_function(node_type)
    )


def is_custom_function(node_type: type) -> bool:
    """Whether nodes of a type belong to a `torch.autograd.Function` written in Python."""
    return hasattr(node_type, "_raw_saved_tensors")


def custom_saved(node: Any) -> Sequence[Any]:
    """The SavedTensors of a custom Function's node.

    Raises RuntimeError when backward has freed them, also if there were none.
    """
    saved: Sequence[Any] = node._raw_saved_tensors
    return saved


# Saved tensors: torch/csrc/autograd/init.cpp, saved_variable.cpp


def is_saved_tensor(value: object) -> bool:
    """Whether a value is a handle on a saved tensor.

    It points into its node without keeping it alive: it must not outlive a reference to the node.
    """
    return isinstance(value, torch._C._autograd.SavedTensor)


def address_of(saved: Any) -> int | None:
    """The `storage_address` of a SavedTensor; None if it holds no tensor, or one without."""
    data = getattr(saved, "data", None)
    return address_of_tensor(data) if isinstance(data, torch.Tensor) else None


def is_freed(saved: Any) -> bool:
    """Whether a SavedTensor without data and without hook was freed, or else never filled.

    Must not be called on any other: unpacking those runs the user's hooks.
    """
    try:
        saved.unpack()
    except RuntimeError:
        return True
    return False


def is_stale(saved: Any) -> bool:
    """Whether a saved tensor was written to since it was saved, so that backward will raise.

    Must not be called on one with a hook.
    """
    try:
        saved.unpack()
    except RuntimeError as error:
        return "modified by an inplace operation" in str(error)
    return False


def is_output_stale(node: Any, name: str) -> bool:
    """Whether an output that a built-in node saved as `name` was written to since it was saved.

    The handle alone cannot tell: to unpack an output, torch needs the node. Must not be called
    where a hook is.
    """
    if isinstance(getattr(node, f"_raw_saved_{name}", ()), tuple):
        return False
    try:
        getattr(node, f"_saved_{name}")
    except RuntimeError as error:
        return "modified by an inplace operation" in str(error)
    return False


def is_torchs_function(node_type: type) -> bool:
    """Whether a custom Function is one of torch's own (checkpoint)."""
    forward_class = getattr(node_type, "_forward_cls", None)
    return getattr(forward_class, "__module__", "").partition(".")[0] == "torch"


def is_once_differentiable(node_type: type) -> bool:
    """Whether nodes of a type belong to a custom Function with `@once_differentiable`.

    `torch/autograd/function.py`: the decorator puts a function of its own around `backward`.
    """
    backward = getattr(getattr(node_type, "_forward_cls", None), "backward", None)
    code = getattr(backward, "__code__", None)
    return code is not None and code in once_differentiable.__code__.co_consts


# Running: torch/autograd/graph.py, torch/csrc/autograd/python_engine.cpp


def backward_entry_points() -> tuple[tuple[Any, str], ...]:
    """Module and attribute of the function that every `backward` and `grad` call goes through.

    It takes the root tensors first. `torch/_dynamo/compiled_autograd.py` replaces the same ones.
    """
    import torch.autograd.graph as autograd_graph

    name = "_engine_run_backward"
    return tuple(
        (place, name) for place in (torch.autograd, autograd_graph) if hasattr(place, name)
    )


def post_accumulate_hooks(tensor: torch.Tensor) -> dict[Any, Any] | None:
    """What runs after a gradient was added to a leaf's `.grad`: to be changed in place only.

    None where nothing ever was registered.
    """
    hooks: dict[Any, Any] | None = getattr(tensor, "_post_accumulate_grad_hooks", None)
    return hooks


def is_refusal(error: BaseException | None) -> bool:
    """Whether torch raised an error since what backward should start from requires no gradient.

    `torch/csrc/autograd/python_engine.cpp`; the error has no class of its own.
    """
    return isinstance(error, RuntimeError) and "does not require grad" in str(error)


def is_inside_backward() -> bool:
    """Whether a backward pass is running in this thread (a checkpoint that computes again)."""
    return bool(torch._C._current_graph_task_id() != -1)


def is_inside_transform() -> bool:
    """Whether a `torch.func` transform is running, within which tensors are wrappers."""
    return torch._C._functorch.peek_interpreter_stack() is not None


# Memory: torch/storage.py, torch/csrc/Module.cpp


storage_address: Callable[[torch.Tensor], int] = torch._C._storage_address  # type: ignore[attr-defined]
"""A number that tensors on the same storage share, as long as the storage lives.

It tells storages apart that hold no data (fake, meta). Raises NotImplementedError for tensors
without a storage (sparse, mkldnn).
"""


def address_of_tensor(tensor: torch.Tensor) -> int | None:
    """The `storage_address` of a tensor; None if it has no storage of its own."""
    try:
        return storage_address(tensor)
    except (NotImplementedError, RuntimeError):
        return None


def inner_tensors(tensor: torch.Tensor) -> tuple[tuple[str, torch.Tensor], ...]:
    """The tensors that hold the data of a wrapper subclass (DTensor, jagged), with their names.

    Empty for every other tensor. `torch/utils/_python_dispatch.py`.
    """
    flatten = getattr(type(tensor), "__tensor_flatten__", None)
    if flatten is None:
        return ()
    names, _ = flatten(tensor)
    return tuple((name, getattr(tensor, name)) for name in names)


def sparse_parts(tensor: torch.Tensor) -> tuple[tuple[str, torch.Tensor], ...]:
    """The tensors that hold the indices and values of a sparse tensor, with their names.

    Empty for a tensor of any other layout. The public `indices()` refuses uncoalesced tensors.
    """
    if tensor.layout is torch.sparse_coo:
        return ("indices", tensor._indices()), ("values", tensor._values())
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        outer, inner = "crow_indices", "col_indices"
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        outer, inner = "ccol_indices", "row_indices"
    else:
        return ()
    return tuple((name, getattr(tensor, name)()) for name in (outer, inner, "values"))


def plain_dimension(dimension: Any) -> int | str:
    """A dimension as a number, or as the symbol's text where torch knows no number.

    Unlike `int()`, this leaves no guard behind in the program that is being traced.
    """
    if isinstance(dimension, int):
        return dimension
    value = dimension.node.maybe_as_int()
    return str(dimension) if value is None else int(value)


# Checkpoint: torch/utils/checkpoint.py


def checkpoint_frame(unpack_hook: Any) -> Any | None:
    """The frame of the non-reentrant checkpoint that an unpack hook belongs to, if it does."""
    frame_type = getattr(torch_checkpoint, "_CheckpointFrame", None)
    if frame_type is None:
        return None
    hooks = [unpack_hook]
    for hook in hooks:
        for cell in getattr(hook, "__closure__", None) or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if isinstance(content, frame_type):
                return content
            # Where the user asked to be told of errors, torch puts a function around its hook.
            if getattr(content, "__qualname__", "").startswith("_checkpoint_hook."):
                hooks.append(content)
    return None


def checkpoint_holders(frame: Any) -> list[tuple[object, Any]]:
    """What stands for each saved tensor of a checkpoint and is still alive, with its metadata.

    The metadata is a dict of shape, dtype and device, or None if the checkpoint was told not to
    compare them. Empty where this torch keeps its frames otherwise.
    """
    holders = getattr(frame, "weak_holders", ())
    metadata = getattr(frame, "x_metadatas", ())
    alive = ((reference(), data) for reference, data in zip(holders, metadata))
    return [(holder, data) for holder, data in alive if holder is not None]


def checkpoint_inputs(frame: Any) -> list[Any]:
    """The SavedTensors that a checkpoint keeps to compute its region again."""
    return [value for value in getattr(frame, "saved_args", ()) if is_saved_tensor(value)]


# Tensors: torch/csrc/autograd/python_variable.cpp


def is_view(tensor: torch.Tensor) -> bool:
    """Whether a tensor shares its history with the one that it is a view of."""
    with torch._C.DisableTorchFunction():
        return tensor._is_view()


def viewed(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that another is a view of, or that itself."""
    with torch._C.DisableTorchFunction():
        base = tensor._base
    return tensor if base is None else base


def is_computed(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a node; unlike `grad_fn` this makes no Python object of it."""
    with torch._C.DisableTorchFunction():
        return tensor.requires_grad and not tensor.is_leaf


def requires_grad(tensor: torch.Tensor) -> bool:
    """Whether autograd follows a tensor; unlike the attribute this asks no function mode."""
    with torch._C.DisableTorchFunction():
        return tensor.requires_grad
