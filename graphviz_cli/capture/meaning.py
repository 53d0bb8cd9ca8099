"""What a backward op means: what it saves, how its name came about, where torch documents it.

All of it is read from the files of the installed torch, without importing it.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from graphviz_cli.capture.operators import family, prefixes
from graphviz_cli.graph.model import Operator

_DOCUMENTATION = "https://docs.pytorch.org/docs/stable/generated/"

_SCHEMA = re.compile(r"(?P<op>\w+)(?:\.\w+)?\((?P<arguments>.*)\) -> (?P<returns>.*)")
_TENSOR = re.compile(r"Tensor(?:\([^)]*\))?(?:\?|\[\d*\]|\?\[\])* (\w+)")
_COUNT = re.compile(r"\d+(?:_copy)?$")

# What a formula asks of a tensor is computed in the forward pass, and the tensor is not kept:
# `REPLACEMENTS` in torchgen's load_derivatives.py.
_ASKED = (
    r"{0}(?:\.|->)(?:sym_sizes|sym_blocksize|options|numel|sym_numel|scalar_type|dim|sym_strides"
    r"|layout|is_conj)\(\)"
    r"|{0}\.sym_size\(-?\w+\)"
    r"|(?:zeros_like|to_args_sizes|to_args_sizes_symint|to_args_scalartypes|TensorGeometry)\({0}\)"
)

HAND_WRITTEN: Mapping[str, str] = {
    "AccumulateGrad": (
        "The end of a path: adds the gradient that arrives to the .grad of a leaf, and runs the "
        "leaf's hooks. It is no op of the forward pass and keeps only the leaf itself."
    ),
    "CopySlices": (
        "An in-place write into a view: splits the gradient into the part that was overwritten, "
        "which goes to the op that wrote, and the rest, which goes to what was there before. The "
        "op that wrote is hidden inside it."
    ),
    "CopyBackwards": (
        "A copy of a tensor between types or devices: converts the gradient back to the type and "
        "the device of the original."
    ),
    "CheckpointFunctionBackward": (
        "A reentrant checkpoint (torch.utils.checkpoint with use_reentrant=True): runs the forward "
        "pass of its region again and then a backward pass of its own through it. The ops in it "
        "exist only while it runs."
    ),
    "CompiledFunctionBackward": (
        "A region that torch.compile made one op of, with a backward graph of its own."
    ),
    "DelayedError": "Passes the gradient on, but a backward pass through it raises.",
    "Error": "Raises when a gradient arrives: the op before it cannot be differentiated (again).",
    "NotImplemented": "Raises when a gradient arrives: torch has no derivative for the op.",
    "Identity": "Passes the gradient on unchanged.",
    "UndefinedGrad": "Passes on no gradient at all.",
    "UndefinedGradBackward": "Passes on no gradient at all.",
    "GraphRoot": "Where the engine starts: hands the roots their gradients.",
}
"""Backward ops that torch writes by hand, for which it has no formula, by name."""


@dataclass(frozen=True, slots=True)
class BackwardOp:
    """A backward op for which torch has formulas."""

    name: str
    operator: Operator
    saved: tuple[str, ...]
    """The arguments and results of the forward op, tensors all, that the formulas need."""
    siblings: tuple[tuple[str, str], ...]
    """Name and schema of all backward ops that are counted together with this one, itself too."""
    documentation: str
    """Address of the page on the function that calls the forward op; empty if there is none."""

    @property
    def number(self) -> int:
        """Its place among the siblings, from 0: the suffix of its name."""
        return [name for name, _ in self.siblings].index(self.name)

    @property
    def is_copy(self) -> bool:
        """It belongs to the variant of a view op that copies; its sibling is the view op's."""
        return self.name.endswith("_copy")


def backward_ops(name: str) -> tuple[BackwardOp, ...]:
    """What is meant by `MulBackward0`, `MulBackward`, `mul`, `mul.Scalar` or `aten::mul`.

    A name without a number or an overload stands for all of its kind. Empty if torch has no formula
    of that name.
    """
    wanted = name.removeprefix("torch::autograd::").removeprefix("aten::").removeprefix("torch.")
    op, _, overload = wanted.partition(".")
    for prefix in filter(wanted.startswith, prefixes()):
        members = family(prefix)
        if wanted in members:
            return (_described(wanted, members),)
        if wanted == prefix:
            return tuple(_described(name, members) for name in members)
    found = []
    for prefix in prefixes():
        if prefix.lower() != f"{op.replace('_', '')}backward".lower():
            continue
        members = family(prefix)
        for member, operator in members.items():
            schema = operator.schema.partition("(")[0]
            if schema.rstrip("_") == wanted.rstrip("_") or (
                not overload and schema.partition(".")[0].rstrip("_") == op.rstrip("_")
            ):
                found.append(_described(member, members))
    return tuple(found)


def close_names(name: str) -> list[str]:
    """Names of backward ops and of forward ops that look like one that there is not."""
    ops = [member for prefix in prefixes() for member in family(prefix)]
    known = {text.lower(): text for text in (*ops, *HAND_WRITTEN, *_forward_names())}
    return [known[text] for text in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.7)]


def _forward_names() -> set[str]:
    return {
        operator.schema.partition("(")[0].partition(".")[0]
        for prefix in prefixes()
        for operator in family(prefix).values()
    }


def _described(name: str, members: Mapping[str, Operator]) -> BackwardOp:
    operator = members[name]
    stem, copies = _COUNT.sub("", name), name.endswith("_copy")
    return BackwardOp(
        name,
        operator,
        saved_tensors(operator),
        tuple(
            (other, found.schema)
            for other, found in members.items()
            if _COUNT.sub("", other) == stem and other.endswith("_copy") == copies
        ),
        documentation_of(operator.schema),
    )


def saved_tensors(operator: Operator) -> tuple[str, ...]:
    """The names of the forward op's tensors that must be kept for the formulas.

    Where a formula asks for a size or a type only, the tensor is not kept. What a name stands for
    is told by the schema; `result` is the op's result.
    """
    match = _SCHEMA.fullmatch(operator.schema)
    if match is None:
        return ()
    names = [*_TENSOR.findall(match["arguments"]), *_TENSOR.findall(match["returns"])]
    names += ["result", *(f"result{k}" for k in range(8))]
    text = "\n".join(operator.formulas)
    return tuple(
        name
        for name in dict.fromkeys(names)
        if re.search(rf"\b{name}\b", re.sub(rf"\b(?:{_ASKED.format(name)})", "", text))
    )


def documentation_of(schema: str) -> str:
    """The page of torch's documentation on the public function that calls an op.

    Empty where no public function bears the op's name.
    """
    op = schema.partition("(")[0].partition(".")[0]
    bare = op.strip("_")
    simple = bare.removeprefix("native_").removesuffix("_forward").removesuffix("_with_indices")
    pages = _pages()
    for name in dict.fromkeys((op, bare, simple)):
        if name in pages:
            return f"{_DOCUMENTATION}{pages[name]}.html"
    return ""


_DOCSTRINGS = (
    # In each of these files torch gives its C++ functions their docstrings.
    ("_tensor_docs.py", r'^add_docstr_all\(\s*"(?P<name>\w+)"', "torch.Tensor.{}", ""),
    ("nn/functional.py", r"^def (?P<name>[a-z]\w*)\(", "torch.nn.functional.{}", ""),
    (
        "nn/functional.py",
        r"^(?P<name>\w+) = _add_docstr\(",
        "torch.nn.functional.{}",
        "",
    ),
    ("linalg/__init__.py", r"^(?P<name>\w+) = _add_docstr\(", "torch.linalg.{}", "linalg_"),
    ("fft/__init__.py", r"^(?P<name>\w+) = _add_docstr\(", "torch.fft.{}", "fft_"),
    ("_torch_docs.py", r"^add_docstr\(\s*torch\.(?P<name>\w+),", "torch.{}", ""),
)


@cache
def _pages() -> Mapping[str, str]:
    """The page of each documented function, by the name of the op that it calls."""
    return dict(_found_pages())


def _found_pages() -> Iterator[tuple[str, str]]:
    spec = importlib.util.find_spec("torch")
    for folder in (spec and spec.submodule_search_locations) or ():
        for file, pattern, page, prefix in _DOCSTRINGS:
            try:
                text = Path(folder, file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            for match in re.finditer(pattern, text, re.MULTILINE):
                if match["name"].endswith("_with_indices"):
                    continue  # these have no page
                yield prefix + match["name"], page.format(match["name"])
