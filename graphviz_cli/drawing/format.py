"""Numbers, shapes and names as short text, the same in every format."""

from __future__ import annotations

import math
import re
import unicodedata
from functools import lru_cache

from graphviz_cli.graph.model import TensorSpec

_DTYPES = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
    "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8",
    "complex128": "c128", "complex64": "c64", "complex32": "c32",
}  # fmt: skip

_BACKWARD = re.compile(r"Backward\d*$")

_JOINERS = "\u200c\u200d"
"""Invisible, but several scripts and emoji cannot be written without them."""


def shape_text(spec: TensorSpec, *, brackets: bool = False) -> str:
    """`4×8×16` and `scalar`, or with `brackets` `[4,8,16]` and `[]`; `?` where it is unknown."""
    if spec.shape is None:
        return "?"
    sizes = [visible(size) if isinstance(size, str) else str(size) for size in spec.shape]
    if brackets:
        return f"[{','.join(sizes)}]"
    return "×".join(sizes) or "scalar"


def dtype_text(spec: TensorSpec) -> str:
    """`f32`, `bf16`, `i64`; torch's own name where there is no usual short one."""
    return _DTYPES.get(spec.dtype) or visible(spec.dtype)


def bytes_text(count: int) -> str:
    """`512 B`, `3.1 kB`, `7.3 MB`: powers of 1000, one decimal."""
    value, unit = _scaled(float(count), ("B", "kB", "MB", "GB", "TB", "PB"), decimals=1)
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def count_text(count: int) -> str:
    """`1290`, `235.1k`, `124.44M`, `7.24B`: exact below 10,000."""
    if abs(count) < 10_000:
        return str(count)
    if abs(count) < 999_950:
        return f"{count / 1e3:.1f}k"
    value, unit = _scaled(count / 1e6, ("M", "B", "T"), decimals=2)
    return f"{value:.2f}{unit}"


def number_text(value: float) -> str:
    """A measured value to three significant digits: `33.9`, `0.0716`, `12`, `1.2e+05`."""
    return f"{value:.3g}"


def measure_text(value: float, unit: str) -> str:
    """A measured value with its unit: `7.3 MB` for bytes, `3.21 ms` for seconds."""
    if unit in ("B", "bytes") and math.isfinite(value):
        return bytes_text(round(value))
    if unit == "s" and math.isfinite(value):
        for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
            if abs(value) >= size:
                return f"{number_text(value / size)} {name}"
        return f"{number_text(value / 1e-6)} µs"
    return f"{number_text(value)} {unit}".rstrip()


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 node`, `50,000 nodes`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def op_text(name: str) -> str:
    """`Addmm` for autograd's `AddmmBackward0`.

    The number tells overloads apart (`mul` by a tensor or by a number): a picture can do without
    it, a name that must be found again cannot.
    """
    return visible(_BACKWARD.sub("", name) or name)


def visible(text: str) -> str:
    r"""The text on one line, every character that would not be seen as its escape (`\n`, `\u202e`).

    What is left can be encoded as UTF-8 and is legal in XML.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def shortened(text: str, limit: int) -> str:
    """The text in at most `limit` characters; what is missing in the middle becomes `…`."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def display_width(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def cut_text(text: str, room: int, more: str) -> str:
    """The text in at most `room` columns of a terminal, ending in an ellipsis if it was cut."""
    if display_width(text) <= room:
        return text
    kept, used = [], display_width(more)
    for character in text:
        used += _character_width(character)
        if used > room:
            break
        kept.append(character)
    return "".join(kept) + more if room >= display_width(more) else ""


@lru_cache(4096)
def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def begun(text: str, limit: int) -> str:
    """A sentence in at most `limit` characters; what is missing at its end becomes `…`."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _scaled(value: float, units: tuple[str, ...], *, decimals: int) -> tuple[float, str]:
    for unit in units[:-1]:
        # Rounding comes first: 999,990 B is 1.0 MB and not 1000.0 kB.
        if abs(round(value, decimals)) < 1000:
            return value, unit
        value /= 1000
    return value, units[-1]
