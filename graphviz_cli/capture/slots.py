"""Which input of which op an argument of a torch call went into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from graphviz_cli.capture import private
from graphviz_cli.capture.cut_records import Place
from graphviz_cli.graph.model import Operator

_SCHEMAS: Final = {
    "truediv": "div", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub",
    "conv1d": "convolution", "conv2d": "convolution", "conv3d": "convolution",
}  # fmt: skip
"""What the operator is called whose arguments are those of a function, where it differs."""


def free_inputs(node: Any) -> list[int]:
    """The inputs of an op that no gradient goes to."""
    return [k for k, (child, _) in enumerate(node.next_functions) if child is None]


def saved_at(
    address: int | None,
    nodes: Sequence[Any],
    free: Mapping[int, Sequence[int]],
    known: Mapping[str, Operator],
) -> tuple[int, int] | None:
    """The node, and its free input, that saved the memory at an address."""
    for node, slots in free.items():
        operator = known.get(nodes[node].name())
        for name, attribute in private.saved_fields(type(nodes[node])) if operator else ():
            if operator is not None and name in operator.inputs:
                slot = operator.inputs.index(name)
                saved = getattr(nodes[node], attribute)
                if slot in slots and address and private.address_of(saved) == address:
                    return node, slot
    return None


def told_slot(operator: Operator, function: str, place: Place) -> int | None:
    """The input that a value at a place among the arguments of a torch function went into.

    None where the function is not called like the operator, so that its arguments may be others.
    """
    schema, _, rest = operator.schema.partition("(")
    operation, plain = schema.partition(".")[0], function.strip("_")
    is_swapped = function.startswith("__r") and operation != plain
    if is_swapped or (function.startswith("__i") and operation != plain):
        plain = plain[1:]
    if operation not in (plain, _SCHEMAS.get(plain)):
        return None
    parameters = rest.rpartition(") ->")[0].split(", ")
    names = [part.partition("=")[0].split()[-1] for part in parameters if part != "*"]
    # Python calls the first argument `input` that schemas call `self`.
    first = 0 if place[0] == "input" and "input" not in names else place[0]
    if is_swapped and isinstance(first, int) and first < 2:
        first = 1 - first
    name = first if isinstance(first, str) else names[first] if -1 < first < len(names) else ""
    inputs = [label.rstrip("*") for label in operator.inputs]
    if name not in inputs:
        return None
    slot = inputs.index(name)
    if operator.inputs[slot].endswith("*") and len(place) > 1 and isinstance(place[1], int):
        slot += place[1]
    return slot
