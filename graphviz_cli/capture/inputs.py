"""The inputs of a module: what the user asked for, what the module offers, as tensors."""

from __future__ import annotations

import ast
import difflib
import inspect
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphviz_cli.capture.contents import contents
from graphviz_cli.errors import UsageError

_NAMED = re.compile(r"([^\W\d]\w*)=(?!=)(.*)", re.DOTALL)
_SHAPE = re.compile(r"\(\)|scalar|\d+(?:\s*[x×,*]\s*\d+)*,?")
_LITERALS = {"True": True, "False": False, "None": None}
_EXAMPLE = "e.g. 1x3x224x224, ids=int64:2x32<50257, mask=bool:2x32, x=batch.pt, n=value:3"
_LARGEST = 2**36
"""Elements; more than any machine holds is a slip of the hand."""


@dataclass(frozen=True, slots=True)
class TensorInput:
    """A tensor to be made: normally distributed, or whole numbers below a bound."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None = None
    """None for that of the module's parameters."""
    bound: int | None = None
    requires_grad: bool = False

    def made(self, draw: Draw) -> torch.Tensor:
        """The tensor, on its device before it requires a gradient, so that it is the leaf."""
        dtype = self.dtype or draw.dtype
        if dtype.is_floating_point or dtype.is_complex:
            drawn = torch.complex64 if dtype.is_complex else torch.float32
            if dtype in (torch.float64, torch.complex128):
                drawn = dtype
            if self.bound is None:
                tensor = torch.randn(self.shape, dtype=drawn, generator=draw.generator)
            else:
                tensor = torch.rand(self.shape, dtype=drawn, generator=draw.generator) * self.bound
        else:
            bound = 2 if self.bound is None else self.bound
            tensor = torch.randint(bound, self.shape, generator=draw.generator)
        tensor = tensor.to(dtype).to(draw.device)
        return tensor.requires_grad_() if self.requires_grad else tensor


@dataclass(frozen=True, slots=True)
class FileInput:
    """What a file holds."""

    path: Path

    def made(self, draw: Draw) -> Any:
        """The content with its tensors on the device. Raises UsageError if it cannot be read."""
        return moved(_loaded(self.path), draw.device)


@dataclass(frozen=True, slots=True)
class ValueInput:
    """Something that is there already: a number, a text."""

    value: Any

    def made(self, draw: Draw) -> Any:
        """The value with its tensors on the device."""
        return moved(self.value, draw.device)


@dataclass(frozen=True, slots=True)
class Draw:
    """How tensors are made: from a generator of our own, so that the user's numbers stay."""

    device: torch.device
    dtype: torch.dtype
    generator: torch.Generator

    @classmethod
    def for_module(cls, module: nn.Module, device: torch.device, seed: int | None) -> Draw:
        """Inputs on a device, of the element type of the module's parameters."""
        dtypes = (p.dtype for p in module.parameters() if p.dtype.is_floating_point)
        # 8-bit weights take inputs of the usual type.
        dtype = next((d for d in dtypes if d.itemsize > 1), torch.get_default_dtype())
        return cls.of(device, dtype, seed)

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype, seed: int | None) -> Draw:
        """Inputs on a device, floating-point ones of a given type."""
        return cls(device, dtype, torch.Generator().manual_seed(seed or 0))


Input = TensorInput | FileInput | ValueInput


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a module's forward."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def named(self, function: Any) -> dict[str, Any]:
        """The arguments by the names that the function gives them."""
        try:
            bound = inspect.signature(function).bind(*self.args, **self.kwargs)
        except (TypeError, ValueError):
            return {f"input.{i}": arg for i, arg in enumerate(self.args)} | dict(self.kwargs)
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL and len(value) == 1:
                named[name] = value[0]
            else:
                named[name] = value
        return named

    def described(self, function: Any) -> tuple[str, ...]:
        """The tensors as specifications that would make such again (`ids=int64:2x32`)."""
        return tuple(
            f"{name}={described(tensor)}"
            for name, tensor in contents(self.named(function), torch.Tensor)
        )


def parse_input(text: str) -> tuple[str | None, Input]:
    """Read the specification of one input: its name, if it has one, and what it shall be.

    `[NAME=][grad:][DTYPE:]SHAPE[<BOUND]`, a file (`.pt`, `.pth`, `.npy`), `value:LITERAL`, or
    True, False and None. A shape is `2x3`, `2,3` or `()`. Raises UsageError.
    """
    match = _NAMED.fullmatch(text.strip())
    name, rest = (match[1], match[2]) if match else (None, text)
    rest = rest.strip()
    if rest in _LITERALS:
        return name, ValueInput(_LITERALS[rest])
    if rest.startswith("value:"):
        return name, ValueInput(literal(rest.removeprefix("value:")))
    if rest.endswith((".pt", ".pth", ".npy")):
        if not Path(rest).is_file():
            raise UsageError(f"There is no file {rest}.")
        return name, FileInput(Path(rest))
    *prefixes, size = (part.strip() for part in rest.split(":"))
    shape_text, less, bound_text = (part.strip() for part in size.partition("<"))
    if _SHAPE.fullmatch(shape_text) is None or (less and not bound_text.isdigit()):
        raise UsageError(f"The input {text!r} cannot be understood.", hint=f"Write {_EXAMPLE}.")
    shape = tuple(int(size) for size in re.findall(r"\d+", shape_text))
    requires_grad = "grad" in prefixes
    dtypes = [_dtype(prefix) for prefix in prefixes if prefix != "grad"]
    dtype = dtypes[-1] if dtypes else torch.int64 if less and not requires_grad else None
    if len(dtypes) > 1 or (less and int(bound_text) < 1) or torch.Size(shape).numel() > _LARGEST:
        raise UsageError(f"The input {text!r} makes no sense.", hint=f"Write {_EXAMPLE}.")
    if requires_grad and dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise UsageError(f"The input {text!r} cannot require a gradient: it is {dtypes[0]}.")
    return name, TensorInput(shape, dtype, int(bound_text) if less else None, requires_grad)


def literal(text: str) -> Any:
    """A Python literal (`4`, `[1, 2]`, `'same'`), or the text itself."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def described(tensor: torch.Tensor) -> str:
    """Element type and shape as in a specification: `int64:2x32`, `float32:()`."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    shape = "x".join(str(size) for size in tensor.shape) or "()"
    return f"{'grad:' if tensor.requires_grad else ''}{dtype}:{shape}"


def asked_for(texts: Sequence[str], function: Any, draw: Draw) -> Call:
    """The call that the user asked for by specifications.

    Raises UsageError where they cannot be understood or do not fit the function's parameters.
    """
    call = given(texts, draw)
    _check_names(call.kwargs, function)
    check_fit(
        call, function, "inputs", hint=f"One -i for each, e.g. {' '.join(examples(function))}"
    )
    return call


def given(texts: Sequence[str], draw: Draw) -> Call:
    """What some specifications stand for; raises UsageError if they cannot be understood."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        name, wanted = parse_input(text)
        if name is None:
            args.append(wanted.made(draw))
        elif name in kwargs:
            raise UsageError(f"The input {name!r} is given twice.")
        else:
            kwargs[name] = wanted.made(draw)
    return Call(tuple(args), kwargs)


def _check_names(names: Iterable[str], function: Any) -> None:
    """Raises UsageError for a slip in a name, which a forward with **kwargs would swallow."""
    try:
        known = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return
    for name in names:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name not in known and close:
            raise UsageError(
                f"{signature_of(function)} has no input {name!r}.",
                hint=f"Did you mean {close[0]!r}?",
            )


def check_fit(call: Call, function: Any, what: str, *, hint: str | None) -> None:
    """Raises UsageError if a function does not take these arguments."""
    try:
        inspect.signature(function).bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise UsageError(
            f"The {what} do not fit {signature_of(function)}: {error}.", hint=hint
        ) from None
    except ValueError:  # there is no signature to be had
        return


def offered(module: nn.Module, device: torch.device) -> tuple[Call, str] | None:
    """The call that a module itself offers, and where it says so.

    `example_input_array` as in Lightning, `dummy_inputs` as in transformers; the latter only if the
    names in it are those of the forward's parameters.
    """
    example = _attribute(module, "example_input_array")
    if example is not None:
        example = moved(example, device)
        if isinstance(example, Mapping):
            return Call(kwargs=dict(example)), "example_input_array"
        args = example if isinstance(example, tuple) else (example,)
        return Call(args), "example_input_array"
    dummy = _attribute(module, "dummy_inputs")
    if isinstance(dummy, Mapping) and dummy:
        try:
            parameters = inspect.signature(module.forward).parameters
        except (TypeError, ValueError):
            return None
        if all(name in parameters for name in dummy):
            return Call(kwargs=moved(dict(dummy), device)), "dummy_inputs"
    return None


def required(function: Any) -> list[inspect.Parameter]:
    """The parameters of a function without which it cannot be called."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def signature_of(function: Any) -> str:
    """A function with the names of its parameters: `Net.forward(x, mask=None)`."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", "forward")
    if isinstance(owner, nn.Module):
        name = f"{type(owner).__name__}.{function.__name__}"
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return f"{name}(...)"
    shown = []
    for parameter in parameters:
        text = str(parameter.replace(annotation=parameter.empty))
        is_short = parameter.default is parameter.empty or len(text) < 30
        shown.append(text if is_short else f"{parameter.name}=...")
    return f"{name}({', '.join(shown[:8])}{', ...' if len(shown) > 8 else ''})"


def examples(function: Any) -> list[str]:
    """An `-i` for each parameter that must be given."""
    return [f"-i {parameter.name}=2x16" for parameter in required(function)] or ["-i 2x16"]


def moved(value: Any, device: torch.device) -> Any:
    """The same nested value with its tensors on a device; a leaf that moves stays a leaf."""
    if isinstance(value, torch.Tensor):
        if value.device == device or device.type == "meta":
            return value
        if value.is_leaf and value.requires_grad:
            return value.detach().to(device).requires_grad_()
        return value.to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(item, device) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device) for item in value)
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    return value


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise UsageError(
            f"There is no element type {name!r}.",
            hint="Known: float32, float16, bfloat16, float64, int64, int32, uint8, bool, complex64"
            " and the others of torch.",
        )
    return dtype


def _loaded(path: Path) -> Any:
    try:
        if path.suffix == ".npy":
            import numpy

            return torch.from_numpy(numpy.load(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UsageError(
            f"{path} holds more than tensors and plain values.",
            hint="Save only the input: torch.save(x, 'x.pt').",
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path} cannot be read as a tensor: {reason}") from None


def _attribute(module: nn.Module, name: str) -> Any:
    try:
        return getattr(module, name, None)
    except Exception:  # a property of the user's may do anything
        return None
