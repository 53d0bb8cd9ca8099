"""What each backward op is, from the derivatives.yaml that the installed torch was made from.

torch names the class of a backward op after the forward op and counts the file's entries for that.
The file is split as text and only the entries that are wanted are parsed: a few milliseconds, where
torchgen's own `load_derivatives` takes seconds. A test holds the two against each other.
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from graphviz_cli.graph.model import Operator

_NODE_NAME = re.compile(r"(\w+Backward)(?:[A-Z]\w*?)?\d+(?:_copy)?")
"""After the prefix for the forward op may come a dispatch key, then the count, then the mark of a
view op's variant that copies (`view_copy`)."""
_ENTRY = re.compile(r"^- name:\s+(?=(\w+))", re.MULTILINE)
_SCHEMA = re.compile(r"(?P<op>[\w.]+)\((?P<arguments>.*)\) -> (?P<returns>.*)")
_COMMA = re.compile(r", (?![^(\[]*[)\]])")
"""Between arguments, not within `[0, 0]`."""
_VIEW = re.compile(r"(?<=Tensor)\([a-z](?: -> \*)?\)")
"""The mark of a tensor that shares memory with another but is not written to."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def operators(names: Iterable[str]) -> dict[str, Operator]:
    """What torch says about backward ops, for those of `names` of which it says anything.

    Nothing of AccumulateGrad and other nodes that are written by hand, of custom Functions and of
    ops from elsewhere; nothing at all where torch came without its derivatives.yaml.
    """
    wanted = sorted(set(names))
    entries = _entries()
    found: dict[str, Operator] = {}
    for prefix in {match[1] for match in map(_NODE_NAME.fullmatch, wanted) if match}:
        try:
            found.update(dict(_operators(prefix, entries.get(prefix, ()))))
        except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError):
            continue  # written in a way that we do not know: better nothing than miscounted
    return {name: found[name] for name in wanted if name in found}


def prefixes() -> list[str]:
    """How the names of all backward ops that torch has formulas for begin: `AddmmBackward`, ..."""
    return sorted(_entries())


def family(prefix: str) -> dict[str, Operator]:
    """The backward ops whose names begin with one of `prefixes`, in the order of torch's file.

    Those for one dispatch key are counted by themselves (`ProdBackwardAutogradNestedTensor0`).
    Empty for a prefix that there is not.
    """
    try:
        return dict(_operators(prefix, _entries().get(prefix, ())))
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError):
        return {}


@cache
def _entries() -> Mapping[str, tuple[str, ...]]:
    """The texts of the file's entries in order, by the prefix of the names of their nodes."""
    torchgen = importlib.util.find_spec("torchgen")
    entries: dict[str, tuple[str, ...]] = {}
    for folder in (torchgen and torchgen.submodule_search_locations) or ():
        try:
            file = Path(folder, "packaged", "autograd", "derivatives.yaml")
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        starts = list(_ENTRY.finditer(text))
        ends = [start.start() for start in starts[1:]] + [len(text)]
        for start, end in zip(starts, ends):
            prefix = _prefix(start[1])
            entries[prefix] = (*entries.get(prefix, ()), text[start.start() : end])
    return entries


def _prefix(op: str) -> str:
    """`add_` -> `AddBackward`: `_create_op_prefix` in torchgen's load_derivatives.py."""
    camel_case = "".join(part.title() for part in op.split("_"))
    return f"{camel_case}Backward".replace("ForwardBackward", "Backward")


def _operators(prefix: str, entries: Iterable[str]) -> Iterator[tuple[str, Operator]]:
    """The operators of all nodes whose names begin with `prefix`, by these names."""
    counts: Counter[str] = Counter()
    for text in entries:
        (entry,) = yaml.load(text, _Loader)
        schema = entry.pop("name")
        differentiable = entry.pop("output_differentiability", None)
        for key, formulas in entry.get("dispatch", {"Default": entry}).items():
            operator = _operator(schema, formulas, differentiable)
            if operator is None:
                continue
            keyed = prefix if key == "Default" else prefix + key
            name = f"{keyed}{counts[keyed]}"
            counts[keyed] += 1
            yield name, operator
            if _VIEW.search(schema):
                op, rest = _VIEW.sub("", schema).split("(", 1)
                base, dot, overload = op.partition(".")
                yield f"{name}_copy", replace(operator, schema=f"{base}_copy{dot}{overload}({rest}")


def _operator(
    schema: str, formulas: Mapping[str, str], differentiable: Sequence[bool | str] | None
) -> Operator | None:
    """What an entry says; None if it has no formula for an input, since then there is no node.

    The rules are those of `create_differentiability_info` in torchgen's load_derivatives.py, and of
    `gen_differentiable_outputs` in torchgen/api/autograd.py.
    """
    match = _SCHEMA.fullmatch(schema)
    if match is None:
        raise ValueError(schema)
    # A key names one or more inputs, or an output: then it is for forward-mode differentiation.
    given = {
        name.strip(): " ".join(formula.split())
        for names, formula in formulas.items()
        for name in names.split(",")
    }
    arguments = [_typed(text) for text in _COMMA.split(match["arguments"]) if text != "*"]
    inputs = [
        (kind, name)
        for kind, name in arguments
        if given.get(name, "non_differentiable").lower() != "non_differentiable"
    ]
    if not inputs:
        return None
    returns = [_typed(text) for text in _COMMA.split(match["returns"].strip("()"))]
    is_inplace = match["op"].partition(".")[0].endswith("_")
    taken = {name for _, name in arguments}
    outputs = []
    for position, (kind, name) in enumerate(returns):
        if is_inplace:
            name = "self"
        elif not name:
            name = "result" if len(returns) == 1 else f"result{position}"
        elif name in taken:
            name = f"{name}_return"
        if differentiable[position] if differentiable else kind.startswith("Tensor"):
            outputs.append(name + _star(kind))
    uses_first_gradient_alone = any(
        re.search(r"(^|\W)grad($|\W)", given[name]) for _, name in inputs
    )
    if uses_first_gradient_alone and not differentiable:
        del outputs[1:]
    return Operator(
        schema=schema,
        inputs=tuple(name + _star(kind) for kind, name in inputs),
        outputs=tuple(outputs),
        formulas=tuple(given[name] for _, name in inputs),
    )


def _typed(text: str) -> tuple[str, str]:
    """Type and name of an argument or a return value; a return value need have no name."""
    kind, _, name = _VIEW.sub("", text).partition("=")[0].partition(" ")
    return kind, name


def _star(kind: str) -> str:
    return "*" if kind.startswith("Tensor") and kind.endswith("]") else ""
