"""What each torch function means for the gradient, by its name: the vocabulary of cuts."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final


class Meaning(Enum):
    """What has to be done about a call of a function."""

    VALUE = "value"
    """Its result depends on the values of its arguments."""
    NOTHING = "nothing"
    """Its result depends on no value (a shape, zeros), or is no part of the forward pass."""
    FIRST = "first"
    """Its result depends on the values of its first argument alone (`expand_as`)."""
    REST = "rest"
    """Its result depends on the values of all arguments but the first (`new_tensor`)."""
    ESCAPE = "escape"
    """It hands values to Python, where nobody can follow them."""
    DETACHING = "detaching"
    """It takes the history of its first argument away."""
    NEW_LEAF = "new leaf"
    """It may turn its first argument into a leaf of its own."""
    WRITE_DATA = "write data"
    """It puts the value of its second argument under its first."""
    COPY = "copy"
    """It makes a copy without a history."""
    GRADIENT = "gradient"
    """It goes back through the graph, perhaps in order to go on with what that gives."""
    GRAD_MODE = "grad mode"
    """It turns the recording of gradients on or off."""


_NAMES: Final = {
    "detach": "detach",
    "detach_": "detach",
    "data.__get__": ".data",
    "data.__set__": ".data",
    "tensor": "torch.tensor",
    "as_tensor": "torch.tensor",
    "asarray": "torch.tensor",
    "new_tensor": "torch.tensor",
    "scalar_tensor": "torch.tensor",
    "__deepcopy__": "deepcopy",
    "copy_": "copy_",
    "item": "item",
    "tolist": "tolist",
    "numpy": "numpy",
    "__array__": "numpy",
    "__float__": "float()",
    "__int__": "int()",
    "__bool__": "bool()",
    "__index__": "int()",
    "__complex__": "complex()",
    "__dlpack__": "dlpack",
    "to_dlpack": "dlpack",
    "_to_dlpack": "dlpack",
}

_MEANINGS: Final = {
    **dict.fromkeys(
        (
            "item", "tolist", "numpy", "__array__", "__float__", "__int__", "__bool__",
            "__index__", "__complex__", "__dlpack__", "to_dlpack", "_to_dlpack",
        ),
        Meaning.ESCAPE,
    ),
    "detach_": Meaning.DETACHING,
    "new_tensor": Meaning.REST,
    "requires_grad_": Meaning.NEW_LEAF,
    "requires_grad.__set__": Meaning.NEW_LEAF,
    "data.__set__": Meaning.WRITE_DATA,
    "__deepcopy__": Meaning.COPY,
    "grad": Meaning.GRADIENT,
    "_set_grad_enabled": Meaning.GRAD_MODE,
    **dict.fromkeys(
        ("expand_as", "view_as", "reshape_as", "type_as", "to", "sum_to_size"), Meaning.FIRST
    ),
    **dict.fromkeys(
        (
            "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "randint_like",
            "full_like", "new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided",
            "backward", "retain_grad", "register_hook",
            "register_post_accumulate_grad_hook", "__repr__", "__format__", "__str__", "__hash__",
            "__len__", "size", "dim", "numel", "nelement", "stride", "element_size", "data_ptr",
            "storage", "untyped_storage", "storage_offset", "is_contiguous", "is_floating_point",
            "is_complex", "is_signed", "get_device", "has_names", "result_type", "can_cast",
            "broadcast_tensors", "__dlpack_device__", "zero_", "normal_", "uniform_",
            "zero_grad", "_nested_tensor_size", "share_memory_", "set_", "resize_",
        ),
        Meaning.NOTHING,
    ),
}  # fmt: skip

_PLAIN_ATTRIBUTES: Final = frozenset(
    ("data", "T", "mT", "H", "mH", "real", "imag", "requires_grad")
)
"""Those of a tensor that are tensors computed from it, or that matter otherwise."""


def name_of(function: Callable[..., Any]) -> str:
    """The name of a torch function; that of an attribute ends in `.__get__` or `.__set__`."""
    name = getattr(function, "__name__", None) or type(function).__name__
    if name in ("__get__", "__set__", "__delete__"):
        return f"{getattr(getattr(function, '__self__', None), '__name__', '?')}.{name}"
    return str(name)


def meaning_of(name: str) -> Meaning:
    """What a function of this name does."""
    known = _MEANINGS.get(name)
    if known is not None:
        return known
    attribute, dot, access = name.partition(".")
    if dot and (attribute not in _PLAIN_ATTRIBUTES or access != "__get__"):
        return Meaning.NOTHING
    if name == "requires_grad.__get__":
        return Meaning.NOTHING
    return Meaning.VALUE


def kind_of(name: str) -> str | None:
    """What a cut is called that a function of this name always makes."""
    return _NAMES.get(name)


def is_write(name: str) -> bool:
    """Whether functions of this name change their first argument."""
    return (
        name == "__setitem__"
        or (name.endswith("_") and not name.endswith("__"))
        or (name.startswith("__i") and name.endswith("__") and name not in _NO_WRITES)
    )


_NO_WRITES: Final = frozenset(
    ("__index__", "__int__", "__invert__", "__iter__", "__instancecheck__")
)
