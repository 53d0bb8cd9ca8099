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


_CALL = re.compile(r"(?P<function>[A-Za-z_]\w*)\((?P<arguments>[^()]*)\)")
_READABLE: Mapping[tuple[str, int], str] = {
    # Function and number of arguments. From torch/csrc/autograd/FunctionsManual.cpp, for numbers
    # that are real.
    ("maybe_multiply", 2): "{0} · {1}",
    ("mul_tensor_backward", 3): "{0} · {1}",
    ("div_tensor_self_backward", 3): "{0} / {1}",
    ("div_tensor_other_backward", 3): "-{0} · {1} / {2}²",
    ("handle_r_to_c", 2): "{1}",
    ("pow_backward", 3): "{0} · {2} · {1}^({2} - 1)",
}


def readable(formula: str) -> str:
    """A formula for real numbers as one would write it: `grad · e` for `mul_tensor_backward(...)`.

    Functions for which there is no such way stay as torch has them.
    """
    text = formula.replace(".conj()", "")
    # What is not to be looked at again has other brackets meanwhile.
    while match := _CALL.search(text):
        arguments = [part.strip() for part in match["arguments"].split(",")]
        template = _READABLE.get((match["function"], len(arguments)))
        if text[: match.start()].endswith((".", ":")) or template is None:
            made = f"{match['function']}\x01{match['arguments']}\x02"
        else:
            made = template.format(*(_factor(argument) for argument in arguments))
            made = made.replace("(", "\x01").replace(")", "\x02")
        text = text[: match.start()] + made + text[match.end() :]
    text = text.translate({1: "(", 2: ")"}).replace(" * ", " · ")
    return re.sub(r" · 1\b(?![.\d])", "", text)


def _factor(text: str) -> str:
    """A part of a product: a sum is put into brackets."""
    return f"\x01{text}\x02" if re.search(r" [+-] ", text) else text
