"""The formulas of a backward op with the names of its inputs filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from graphviz_cli.graph.model import Operator


def input_name(inputs: Sequence[str], input_nr: int) -> str:
    """The name of an input; a `*` marks one that takes up as many places as are left over."""
    for place, name in enumerate(inputs):
        if name.endswith("*"):
            return f"{name[:-1]}[{input_nr - place}]" if place <= input_nr else ""
        if place == input_nr:
            return name
    return ""


def filled(operator: Operator, names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """For each differentiable input its name and its formula, in the user's names.

    `names` tells what the user calls an input or a result of the forward op; what it does not tell
    keeps the name that it has in the schema.
    """
    formulas = []
    for name, formula in zip(operator.inputs, operator.formulas):
        plain = name.removesuffix("*")
        formulas.append((names.get(plain, plain), _replaced(formula, names)))
    return tuple(formulas)


def _replaced(formula: str, names: Mapping[str, str]) -> str:
    # Not what follows a dot: there a word is a method's name.
    return re.sub(r"(?<![\w.:])[A-Za-z_]\w*", lambda m: names.get(m[0], m[0]), formula)
