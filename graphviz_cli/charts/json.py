"""What was measured in a run, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

from graphviz_cli.charts.findings import findings
from graphviz_cli.charts.leaves import leaf_norms
from graphviz_cli.charts.style import ChartStyle
from graphviz_cli.graph.history import ABSENT, History

SCHEMA_VERSION: Final = 1
_RUN = ("target", "title", "torch", "device", "every", "calls", "ending", "notes")
_COLUMNS = (
    "number",
    "root",
    "structure",
    "loss",
    "gradient",
    "clipped",
    "held",
    "kept",
    "seconds",
    "own_seconds",
)
_STRUCTURE = ("digest", "form", "first", "count", "ops", "edges", "leaves", "other", "difference")


@dataclass(frozen=True, slots=True)
class Json:
    """All that was measured as data, for other programs: a list over the steps for each number.

    What is not finite is the word `nan`, `inf` or `-inf`, and what cannot be told is null. Graphs
    are told by their digests and differences.
    """

    suffix: ClassVar[str] = ".json"
    binary: ClassVar[bool] = False

    def chart(self, history: History, style: ChartStyle) -> bytes:
        """`{"kind": "history", "schema", ..., "steps", "leaves", "structures", "findings"}`.

        `steps` has a list a name, one entry a step; so has `leaves` for each leaf, by its `norms`.
        One list is one line.
        """
        steps = {name: [_value(getattr(step, name)) for step in history.steps] for name in _COLUMNS}
        sections = [
            ("kind", _text("history")),
            ("schema", _text(SCHEMA_VERSION)),
            ("generator", _text("graphviz-cli")),
            *((name, _text(getattr(history, name))) for name in _RUN),
            ("steps", _block("{}", (f"{_text(k)}: {_text(v)}" for k, v in steps.items()))),
            ("leaves", _block("[]", map(_text, _leaves(history)))),
            ("structures", _block("[]", map(_text, _structures(history)))),
            ("findings", _block("[]", map(_text, _findings(history)))),
        ]
        members = ",\n".join(f'"{name}": {text}' for name, text in sections)
        return f"{{\n{members}\n}}\n".encode()


def _leaves(history: History) -> Iterable[dict[str, Any]]:
    """A leaf's norms over all steps; null where its gradient or the leaf itself was missing."""
    for leaf in leaf_norms(history):
        norms: list[object] = [None] * len(history.steps)
        for position, norm in zip(leaf.positions, leaf.norms):
            norms[position] = None if norm == ABSENT else _value(norm)
        yield {"name": leaf.name, "norms": norms}


def _structures(history: History) -> Iterable[dict[str, Any]]:
    for row in history.structures:
        yield {name: getattr(row, name) for name in _STRUCTURE}


def _findings(history: History) -> Iterable[dict[str, Any]]:
    for finding in findings(history):
        row = asdict(finding)
        yield {name: row[name] for name in ("check", "severity", "message", "hint") if row[name]}


def _value(value: object) -> object:
    """A value as JSON can carry it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: object) -> str:
    """JSON on one line, in ASCII: a name may hold half a surrogate pair."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _block(brackets: str, lines: Iterable[str]) -> str:
    body = ",\n".join(lines)
    return f"{brackets[0]}\n{body}\n{brackets[1]}" if body else brackets
