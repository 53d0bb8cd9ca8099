"""The usual reasons why an op makes NaN or infinities, and the cures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphviz_cli.checks.measured import Range
from graphviz_cli.drawing.format import op_text


@dataclass(frozen=True, slots=True)
class Deed:
    """An op that made NaN or infinities out of finite numbers, and what is known of these."""

    op: str
    """Autograd's name."""
    dtype: str
    is_forward: bool
    has_nan: bool
    has_infinite: bool
    ranges: Mapping[str, Range]
    """Least and largest element of what it saved, by name, and of `grad`."""
    numel: int | None = None
    """Elements of what went in; None where it is not known."""
    is_masked: bool = False
    """The gradient that it received is 0 wherever what it sent is NaN."""
    below_where: bool = False
    """It received its gradient from `torch.where`."""

    def reaches(self, name: str, number: float) -> bool:
        """The saved tensor `name` may hold `number`: that is not outside of its range."""
        least, largest = self.ranges.get(name, (math.inf, -math.inf))
        return least <= number <= largest

    def ends_at(self, name: str, number: float) -> bool:
        """The saved tensor `name` holds `number`, as its least or its largest element."""
        return number in self.ranges.get(name, ())

    def is_negative(self, name: str) -> bool:
        """The saved tensor `name` holds a number below 0."""
        return self.ranges.get(name, (0.0, 0.0))[0] < 0


def cure(deed: Deed) -> str:
    """What to do about it; empty where the numbers fit no usual reason."""
    name = op_text(deed.op)
    return next(
        (
            culprit.cure
            for culprit in _CULPRITS
            if re.fullmatch(culprit.ops, name) and culprit.fits(deed)
        ),
        "",
    )


@dataclass(frozen=True, slots=True)
class _Culprit:
    ops: str
    """A pattern for the names of ops, without `Backward0`."""
    fits: Callable[[Deed], bool]
    cure: str


_HALF = 65504.0
"""The largest number in float16."""


_ELEMENTWISE = r"(?!.*([mM]m|Norm|Softmax|Attention|Convolution|Linalg)).*"


def _overflows(deed: Deed) -> bool:
    return deed.is_forward and deed.has_infinite


def _squares_overflow(deed: Deed) -> bool:
    return any(max(map(abs, deed.ranges.get(name, (0.0,)))) > 1e18 for name in ("input", "self"))


_CULPRITS: Sequence[_Culprit] = (
    _Culprit(
        r".*",
        lambda d: d.is_forward and d.numel == 0,
        "The mean of nothing is 0 / 0: skip such a batch, or divide the sum by max(count, 1).",
    ),
    _Culprit(
        r"NllLoss\w*",
        lambda d: d.ends_at("total_weight", 0),
        "Every target is ignore_index, or has weight 0, and the mean of nothing is 0 / 0: skip "
        "such a batch, or divide the sum by max(count, 1).",
    ),
    _Culprit(
        r"CtcLoss\w*",
        lambda d: d.has_infinite,
        "The targets are longer than what was predicted can spell: leave these out, or "
        "zero_infinity=True.",
    ),
    _Culprit(
        _ELEMENTWISE,
        lambda d: d.is_masked and d.below_where,
        "torch.where differentiates both branches: the one that is not chosen gets a gradient of "
        "0, and 0 times an infinite derivative is NaN. Make the input safe before the op: "
        "torch.where(ok, f(torch.where(ok, x, 1.0)), 0.0).",
    ),
    _Culprit(
        r"Exp|Exp2|Expm1|Sinh|Cosh",
        lambda d: _overflows(d) or d.ends_at("result", math.inf),
        "exp overflows above 88.7 (in float16 above 11, in float64 above 709): subtract the "
        "largest first, as softmax and logsumexp do, or clamp.",
    ),
    _Culprit(
        r"Sqrt|Rsqrt",
        lambda d: not d.is_forward and (d.ends_at("result", 0) or d.ends_at("result", math.inf)),
        "The slope of the root is infinite at 0, and even a gradient of 0 becomes NaN there: take "
        "it of x + eps, or of x.clamp(min=eps).",
    ),
    _Culprit(
        r"Sqrt|Rsqrt",
        lambda d: d.is_negative("self"),
        "The root of a negative number is NaN: x.clamp(min=0), where rounding made it negative.",
    ),
    _Culprit(
        r"Rsqrt",
        lambda d: d.ends_at("self", 0),
        "1 / sqrt(0) is infinite: take it of x + eps.",
    ),
    _Culprit(
        r"Log(2|10)?",
        lambda d: d.is_negative("self"),
        "The logarithm of a negative number is NaN.",
    ),
    _Culprit(
        r"Log(2|10)?",
        lambda d: d.ends_at("self", 0),
        "The logarithm of 0 is -inf, and its slope there infinite: log(x + eps), or for "
        "log(softmax(x)) and log(sigmoid(x)) log_softmax and logsigmoid.",
    ),
    _Culprit(
        r"Log1p",
        lambda d: d.reaches("self", -1),
        "log1p(x) is -inf at x = -1, and NaN below.",
    ),
    _Culprit(
        r"Div|Reciprocal",
        lambda d: d.reaches("other", 0) or (d.is_forward and d.ends_at("self", 0)),
        "It divides by 0, and 0 / 0 is NaN: add a small number to the divisor, or clamp it.",
    ),
    _Culprit(
        r"Reciprocal",
        lambda d: d.ends_at("result", math.inf) or d.ends_at("result", -math.inf),
        "It divides by 0: add a small number to the divisor, or clamp it.",
    ),
    _Culprit(
        r"Div|Reciprocal",
        lambda d: not d.is_forward and d.has_infinite,
        "It divides by a number so small that the slope, 1 / x², leaves the range of its type: add "
        "a small number to the divisor, or compute with logarithms (logsumexp).",
    ),
    _Culprit(
        r"Pow",
        lambda d: d.has_nan and d.is_negative("self"),
        "A negative number to a power that is not whole is NaN.",
    ),
    _Culprit(
        r"Pow",
        lambda d: d.ends_at("self", 0),
        "At 0 a power is infinite if its exponent is below 0, and its slope if that is below 1: "
        "take it of x + eps, or of x.clamp(min=eps).",
    ),
    _Culprit(
        r"(Log)?Softmax|Logsumexp|ScaledDotProduct\w*",
        lambda d: d.has_nan,
        "A softmax over nothing but -inf is NaN: leave something unmasked in every row, or mask "
        "with a large negative number.",
    ),
    _Culprit(
        r"Acos|Asin|Atanh",
        lambda d: d.reaches("self", 1) or d.reaches("self", -1),
        "Its slope is infinite at -1 and 1, and outside its value is NaN: clamp to a little less.",
    ),
    _Culprit(
        r"Acosh",
        lambda d: d.reaches("self", 1),
        "Its slope is infinite at 1, and below its value is NaN: clamp to a little more.",
    ),
    _Culprit(
        r"Atan2",
        lambda d: d.reaches("self", 0) and d.reaches("other", 0),
        "atan2(0, 0) has no derivative: keep one of the two away from 0.",
    ),
    _Culprit(
        r"(Std|Var)(Mean)?",
        lambda d: d.numel == 1,
        "One element has no standard deviation: torch divides by n - 1 unless correction=0.",
    ),
    _Culprit(
        r".*Norm|Std|Var",
        _squares_overflow,
        "Its inputs are so large that their squares leave the range of float32: look at what feeds "
        "it, and at the learning rate.",
    ),
    _Culprit(
        r".*Norm|Dist|Cdist",
        lambda d: d.ends_at("result", 0),
        "A norm has no derivative at 0: add a small number under the root.",
    ),
    _Culprit(
        _ELEMENTWISE,
        lambda d: d.is_masked,
        "The gradient is 0 there, and 0 times an infinite derivative is NaN: a mask that comes "
        "after an op does not protect it. Make its input safe before the op.",
    ),
    _Culprit(
        r".*",
        lambda d: d.dtype == "float16" and d.has_infinite,
        f"float16 ends at {_HALF:,.0f}: compute this in bfloat16 or float32, or scale it down (a "
        "GradScaler halves its scale when a gradient overflows).",
    ),
    _Culprit(
        r"LinalgEigh?|LinalgSvd|LinalgEigvals\w*",
        lambda d: not d.is_forward,
        "Its derivative divides by the differences between eigenvalues, or singular values, and "
        "two of them are equal: add something that tells them apart.",
    ),
    _Culprit(
        r"\w*[mM]m|Mv|Mul|Add|Sub|Sum|Prod|Cumsum|Cumprod|Pow|Dot|\w*Convolution\w*",
        _overflows,
        "It grows beyond the largest number of its type: look for a factor above 1 that is applied "
        "over and over, or for a missing normalisation.",
    ),
)
"""The first that fits counts."""
