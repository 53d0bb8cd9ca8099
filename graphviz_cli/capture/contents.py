"""Tensors, modules and the like inside nested Python values, each by its path."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer

Kind = TypeVar("Kind")

DEPTH = 6
"""How many containers deep a value is searched: `trainer.models.0.heads` is four."""
_WIDTH = 1_000
_LIMIT = 50_000

_OPAQUE = (
    str, bytes, bytearray, int, float, complex, type(None), type, range, slice,
    ModuleType, FunctionType, BuiltinFunctionType, MethodType, nn.Module, Optimizer,
)  # fmt: skip


def contents(
    value: object, kinds: type[Kind] | tuple[type[Kind], ...], *, name: str = "", depth: int = DEPTH
) -> Iterator[tuple[str, Kind]]:
    """Everything of some kinds in a value, in order, with its path (`past.0.key`).

    Looks into mappings, sequences, dataclasses and the attributes of objects, never into what it
    finds. The same object comes once for each of its paths, a container only once. The search is
    bounded in depth, in the items of one container and in all, since values of users are anything.
    """
    seen: set[int] = set()
    visited: list[object] = []  # keeps alive what `seen` knows by its address
    pending: list[tuple[str, object, int]] = [(name, value, depth)]
    while pending and len(visited) < _LIMIT:
        path, item, left = pending.pop()
        if isinstance(item, kinds):
            yield path, item
            continue
        if isinstance(item, _OPAQUE) or left <= 0 or id(item) in seen:
            continue
        seen.add(id(item))
        visited.append(item)
        try:
            parts = list(islice(_parts(item), _WIDTH))
        except Exception:  # iterating over a user's container may do anything
            continue
        prefix = f"{path}." if path else ""
        pending.extend((f"{prefix}{key}", part, left - 1) for key, part in reversed(parts))


def lookup(value: object, path: str) -> object:
    """What stands at a path such as `out.loss`, `past.0.key`, `outs[-1]` or `batch['x']`.

    A name is a key of a mapping, else an attribute. Raises LookupError, with the part of the path
    that is not there, or AttributeError.
    """
    found = value
    for part in _PART.finditer(path):
        name, key = part["name"], part["key"]
        number = part["number"] or part["item"]
        if number is not None:
            found = _numbered(found, int(number))
        elif key is not None:
            found = found[key]  # type: ignore[index]
        elif isinstance(found, Mapping) and name in found:
            found = found[name]
        else:
            found = getattr(found, name)
    return found


def is_path(text: str) -> bool:
    """`lookup` can read the text."""
    return bool(text) and _PATH.fullmatch(text) is not None


def _numbered(value: object, number: int) -> object:
    try:
        return value[number]  # type: ignore[index]
    except (LookupError, TypeError):
        # torch names the parts of a container of modules by their numbers.
        if isinstance(value, Mapping) and str(number) in value:
            return value[str(number)]
        raise LookupError(number) from None


_PART = re.compile(
    r"""(?:^|\.)(?P<name>[^\W\d]\w*)|(?:^|\.)(?P<item>\d+)"""
    r"""|\[(?P<number>-?\d+)\]|\[(?P<quote>['"])(?P<key>[^'"]*)(?P=quote)\]"""
)
_PATH = re.compile(rf"(?!\.)(?:{_PART.pattern})+")


def _parts(item: object) -> Iterable[tuple[Any, object]]:
    if isinstance(item, Mapping):
        return item.items()
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return zip(item._fields, item)
    if isinstance(item, list | tuple | deque):
        return enumerate(item)
    if is_dataclass(item):
        return [(field.name, getattr(item, field.name, None)) for field in fields(item)]
    attributes = getattr(item, "__dict__", None)
    return attributes.items() if isinstance(attributes, dict) else ()
