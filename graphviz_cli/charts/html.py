"""The curves of a run as one page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, ClassVar

from graphviz_cli.charts.findings import findings
from graphviz_cli.charts.heading import facts_of, root_text, title_of
from graphviz_cli.charts.leaves import LeafRow, leaf_norms, leaf_rows
from graphviz_cli.charts.series import value_text
from graphviz_cli.charts.style import ChartStyle, picture_rules
from graphviz_cli.charts.svg import across_of, draw_picture
from graphviz_cli.drawing.format import visible
from graphviz_cli.graph.history import History, Step

_MOST_READ = 2_000
"""Of so many steps the page holds the numbers; of longer runs at equal distances."""
_MOST_DIFFERENCES = 50


@dataclass(frozen=True, slots=True)
class Html:
    """The picture as a page that shows the numbers of the step under the pointer.

    With what there is to tell, how the graph changed, and a table of the leaves. It needs
    no network and sends nothing. Without scripts the picture still shows.
    """

    suffix: ClassVar[str] = ".html"
    binary: ClassVar[bool] = False

    def chart(self, history: History, style: ChartStyle) -> bytes:
        """UTF-8; what is no ASCII as character references if the style asks for it."""
        page = "\n".join(_page(history))
        return f"{page}\n".encode("ascii" if style.ascii else "utf-8", "xmlcharrefreplace")


def _page(history: History) -> Iterator[str]:
    rules = _file("page.css") + picture_rules()
    script = _file("page.js")
    policy = f"default-src 'none'; style-src {_hash(rules)}; script-src {_hash(script)}; "
    policy += "base-uri 'none'; form-action 'none'"
    title = escape(title_of(history))
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{title}</title><style>{rules}</style></head><body>"
    facts = escape(" · ".join(facts_of(history)))
    yield f'<h1>{title}</h1><p class="facts">{facts}</p>'
    yield '<ul class="findings">'
    for finding in findings(history):
        hint = "".join(
            f'<div class="hint">{_shown(line)}</div>' for line in finding.hint.splitlines()
        )
        severity = finding.severity
        yield f'<li class="{severity}"><b>{severity}</b> {_shown(finding.message)}{hint}</li>'
    yield "</ul>"
    yield '<div id="reading" hidden></div>'
    yield draw_picture(history)
    yield from _leaves(history)
    yield from _differences(history)
    yield from (f'<p class="hint">note: {_shown(note)}</p>' for note in history.notes)
    # No `<` can end the element or open a comment in it.
    data = json.dumps(_data(history), separators=(",", ":")).replace("<", "\\u003c")
    yield f'<script type="application/json" id="data">{data}</script>'
    yield f"<script>{script}</script></body></html>"


def _file(name: str) -> str:
    return files("graphviz_cli.charts").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls a style or a script (W3C, CSP Level 3)."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _shown(text: str) -> str:
    return escape(visible(text))


def _leaves(history: History) -> Iterator[str]:
    rows = list(leaf_rows(leaf_norms(history)))
    if not rows:
        return
    heads = (
        "leaf",
        "median norm",
        "least",
        "largest",
        "last",
        "steps with a gradient",
        "NaN or inf",
    )
    yield "<h2>Gradient norms of the leaves</h2><table><thead><tr>"
    yield "".join(f"<th>{head}</th>" for head in heads) + "</tr></thead><tbody>"
    yield from map(_leaf, rows)
    yield "</tbody></table>"


def _leaf(row: LeafRow) -> str:
    values = (row.median, row.low, row.high, row.last, row.steps, row.not_finite)
    cells = "".join(
        f'<td data-value="{-1 if value is None or not math.isfinite(value) else value}">'
        f"{_cell(value)}</td>"
        for value in values
    )
    return f"<tr><td>{_shown(row.name) or '(no name)'}</td>{cells}</tr>"


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else value_text(value)


def _differences(history: History) -> Iterator[str]:
    """How each graph differs from the one before."""
    told = [structure for structure in history.structures if structure.difference]
    if told:
        yield "<h2>How the graph changed</h2>"
    for structure in told[:_MOST_DIFFERENCES]:
        lines = "\n".join(map(_shown, structure.difference))
        compared = f"step {structure.first:,}, compared with step {structure.other or 0:,}"
        yield f"<details open><summary>{compared}</summary><pre>{lines}</pre></details>"
    if len(told) > _MOST_DIFFERENCES:
        yield f"<p>{len(told) - _MOST_DIFFERENCES:,} more are in the JSON.</p>"


def _data(history: History) -> dict[str, Any]:
    """What the script needs: the axis, and the numbers of the steps."""
    if not history.steps:
        return {"columns": {"step": []}}
    across = across_of(history)
    steps = history.steps[:: -(-len(history.steps) // _MOST_READ)]
    if steps[-1] is not history.steps[-1]:
        steps = [*steps, history.steps[-1]]
    columns: dict[str, list[object]] = {"step": [step.number for step in steps]}
    if len(history.roots) > 1:
        columns["root"] = [root_text(step.root) for step in steps]
    columns |= {
        "loss": [_rounded(step.loss) for step in steps],
        "gradient norm": [_rounded(step.gradient) for step in steps],
        "at the optimizer's step": [_rounded(step.clipped) for step in steps],
        "bytes held": [step.held for step in steps],
        "ops": [_ops(history, step) for step in steps],
        "ms": [None if s.seconds is None else _rounded(s.seconds * 1000) for s in steps],
        "ms measuring": [_rounded(step.own_seconds * 1000) for step in steps],
    }
    return {
        "first": across.first,
        "every": across.every,
        "span": across.slots * across.every,
        "left": across.left,
        "width": across.width,
        "columns": columns,
    }


def _ops(history: History, step: Step) -> int:
    return history.structures[step.structure].ops


def _rounded(value: float | None) -> str | None:
    """As text: a number of JavaScript would not show `1e-07` as it is written elsewhere."""
    return None if value is None else "NaN" if math.isnan(value) else f"{value:.4g}"
