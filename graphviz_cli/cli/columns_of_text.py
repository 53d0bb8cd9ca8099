"""A label and a wrapped text beside it: the lines of what is explained."""

from __future__ import annotations

from textwrap import wrap

_WIDTH = 96
_LABEL = 12


def entry(label: str, text: str, *, indent: int = 0) -> list[str]:
    """A label in the first column and text in the second; `indent` is that of its further lines.

    Words are never cut, so that a name can be copied and an address followed.
    """
    wrapped = wrap(
        text,
        _WIDTH - _LABEL - 2,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
    margin = " " * (_LABEL + 2)
    return [f"  {label.ljust(_LABEL)}{wrapped[0]}".rstrip(), *(margin + w for w in wrapped[1:])]
