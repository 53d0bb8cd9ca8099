"""Saved graphs: a friendly JSON, one node a line; docs/graph.schema.json describes it.

What is not written has its default value. Equal graphs give equal bytes.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

from graphviz_cli.errors import SavedGraphError
from graphviz_cli.graph.checked import DamageError
from graphviz_cli.graph.model import NONE, Annotation, Graph, SourceLocation, TensorSpec
from graphviz_cli.graph.parsing import parse_graph

SCHEMA_VERSION: Final = 1

_GENERATOR = "graphviz-cli"


def dumps(graph: Graph) -> bytes:
    """Write a graph as UTF-8 JSON: `loads(dumps(graph)) == graph`.

    An annotation's value that JSON cannot carry (NaN, an infinity) is written as a word.
    """
    edges = graph.edges
    # Numbered as the nodes come: the order within a column says only how it was built.
    used = dict.fromkeys(graph.nodes.sources.codes)
    locations = dict.fromkeys(graph.nodes.sources.values[code] for code in used)
    numbers = {location: k for k, location in enumerate(filter(None, locations))}
    sections: list[tuple[str, str]] = [
        ("schema", str(SCHEMA_VERSION)),
        ("generator", _text(_GENERATOR)),
        ("provenance", _record(graph.provenance)),
        ("roots", _lines(map(_record, graph.roots))),
        ("modules", _lines(map(_record, graph.modules))),
        ("sources", _lines(map(_record, numbers))),
        ("storages", _lines(map(_record, graph.storages))),
        ("operators", _members({name: _record(o) for name, o in sorted(graph.operators.items())})),
        ("nodes", _lines(_nodes(graph, numbers))),
        (
            "edges",
            _lines(
                map(
                    "[{},{},{},{}]".format,
                    edges.sources,
                    edges.targets,
                    edges.input_nrs,
                    edges.output_nrs,
                )
            ),
        ),
        ("annotations", _members({a.name: _annotation(a) for a in graph.annotations.values()})),
    ]
    members = ",\n".join(f'"{name}": {text}' for name, text in sections)
    return f"{{\n{members}\n}}\n".encode()


def loads(data: bytes) -> Graph:
    """Read a graph that `dumps` wrote, or that another program wrote in the same format.

    Raises SavedGraphError for what is no saved graph, is of another version or damaged: wrong
    types, unknown names, numbers of nodes that are not there, values that are not finite.
    """
    if not data.strip():
        raise SavedGraphError("The saved graph is empty.", hint=_HINT)
    with _collection_paused():
        return _parsed(data)


def _parsed(data: bytes) -> Graph:
    try:
        document = json.loads(data, parse_constant=_refuse)
    except DamageError as damage:
        raise SavedGraphError(f"The saved graph is damaged: {damage}.", hint=_HINT) from None
    except json.JSONDecodeError as error:
        # A string without an end is reported where it begins.
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
            message = "The saved graph ends too early: it was cut off."
        else:
            message = f"This is no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        raise SavedGraphError(message, hint=_HINT) from error
    except UnicodeDecodeError as error:
        message = f"This is no JSON: byte {error.start} belongs to no text."
        raise SavedGraphError(message, hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets within brackets without end.
        message = "The saved graph is damaged: it holds what no graph holds."
        raise SavedGraphError(message, hint=_HINT) from error
    if isinstance(document, dict) and document.get("kind") == "history":
        raise SavedGraphError(
            "This JSON is a run that `watch` has measured, and no graph.",
            hint="Charts of a run are made with it: graphviz-cli watch SCRIPT -o run.html",
        )
    if not isinstance(document, dict) or "schema" not in document:
        raise SavedGraphError('This JSON is no saved graph: it has no "schema".', hint=_HINT)
    version = document["schema"]
    if type(version) is not int or version != SCHEMA_VERSION:
        is_newer = type(version) is int and version > SCHEMA_VERSION
        raise SavedGraphError(
            f"The saved graph is of version {_shown(version)}, and only {SCHEMA_VERSION} is known.",
            hint="A newer graphviz-cli wrote it: update this one." if is_newer else _HINT,
        )
    try:
        return parse_graph(document)
    except DamageError as damage:
        raise SavedGraphError(f"The saved graph is damaged: {damage}.", hint=_HINT) from None


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Keep the collector from looking through the parsed JSON again and again: two thirds of it."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()


_HINT = "A saved graph is what `-o FILE.json` writes; docs/graph.schema.json describes it."


def _refuse(name: str) -> float:
    raise DamageError(f"it holds {name}, which is no number of JSON")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _text(value: object) -> str:
    """A value as JSON on one line, readable where it can be.

    What a terminal would not show as it stands (control characters, half a surrogate pair) is
    escaped, so that the bytes are valid UTF-8 and harmless.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text if text.isprintable() else json.dumps(value, separators=(",", ":"))


def _record(value: object) -> str:
    """The fields of a flat dataclass that differ from their default."""
    members = {}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        held = getattr(value, field.name)
        # A parent that is None is left out too: there is no other way to say it in the schema.
        if held is not None and (field.default is dataclasses.MISSING or held != field.default):
            members[field.name] = held
    return _text(members)


def _lines(rows: Iterable[str]) -> str:
    body = ",\n".join(rows)
    return f"[\n{body}\n]" if body else "[]"


def _members(rows: Mapping[str, str]) -> str:
    body = ",\n".join(f"{_text(name)}:{text}" for name, text in rows.items())
    return f"{{\n{body}\n}}" if body else "{}"


def _annotation(annotation: Annotation) -> str:
    facts: dict[str, object] = {}
    if annotation.unit:
        facts["unit"] = annotation.unit
    facts["combine"] = annotation.combine
    values = annotation.values
    facts["values"] = {str(node): _number(values[node]) for node in sorted(values)}
    if annotation.inputs:
        facts["inputs"] = {
            str(node): [_number(fact) for fact in annotation.inputs[node]]
            for node in sorted(annotation.inputs)
        }
    return _text(facts)


def _number(value: float | int | str | None) -> float | int | str | None:
    """A value as JSON can carry it: what is not finite as the word `nan`, `inf` or `-inf`."""
    is_finite = not isinstance(value, float) or math.isfinite(value)
    return value if is_finite else str(value)


def _specs(specs: Sequence[TensorSpec]) -> str:
    return _text([_spec(spec) for spec in specs])


def _spec(spec: TensorSpec) -> dict[str, object]:
    return {"shape": spec.shape, "dtype": spec.dtype, "device": spec.device}


def _saved(graph: Graph) -> Iterator[str]:
    """What each node saved, as the text of a list; empty for nothing."""
    table = graph.nodes.saved
    texts: dict[tuple[int, int, int], str] = {}
    rows: list[str] = []
    for name, spec, state, storage in zip(
        table.names.codes, table.specs.codes, table.states.codes, table.storages
    ):
        key = name, spec, state
        text = texts.get(key)
        if text is None:
            facts: dict[str, object] = {"name": table.names.values[name]}
            described = table.specs.values[spec]
            facts |= _spec(described) if described else {}
            if table.states.values[state] != "held":
                facts["state"] = table.states.values[state]
            text = texts[key] = _text(facts)[:-1]
        rows.append(f"{text}}}" if storage == NONE else f'{text},"storage":{storage}}}')
    offsets = table.offsets
    for first, last in pairwise(offsets):
        yield f',"saved":[{",".join(rows[first:last])}]' if first < last else ""


def _nodes(graph: Graph, numbers: Mapping[SourceLocation, int]) -> Iterator[str]:
    """A line for each node; a value that many share is turned into text once."""
    nodes = graph.nodes
    kinds = [f',"kind":{_text(kind)}' for kind in nodes.kinds.values]
    names = [f',"name":{_text(name)}' for name in nodes.names.values]
    user_names = [f',"names":{_text(names)}' if names else "" for names in nodes.user_names.values]
    roles = [f',"role":{_text(role)}' if role else "" for role in nodes.roles.values]
    outputs = [f',"outputs":{_specs(specs)}' if specs else "" for specs in nodes.outputs.values]
    sources = [
        "" if location is None else f',"source":{numbers.get(location)}'
        for location in nodes.sources.values
    ]
    columns = zip(
        nodes.kinds.codes,
        nodes.names.codes,
        nodes.user_names.codes,
        nodes.roles.codes,
        nodes.outputs.codes,
        nodes.sources.codes,
        nodes.modules,
        nodes.sequence_nrs,
        nodes.sizes,
        nodes.parameters,
        _saved(graph),
    )
    for node, (kind, name, user, role, output, source, module, nr, size, numel, saved) in enumerate(
        columns
    ):
        yield "".join(
            (
                f'{{"id":{node}',
                kinds[kind],
                names[name],
                user_names[user],
                roles[role],
                outputs[output],
                "" if module == NONE else f',"module":{module}',
                sources[source],
                "" if nr == NONE else f',"sequence_nr":{nr}',
                saved,
                "" if size == 1 else f',"size":{size}',
                f',"parameters":{numel}' if numel else "",
                "}",
            )
        )
