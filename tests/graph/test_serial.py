"""A saved graph comes back as it was, and a damaged one never gets further than one sentence."""

from __future__ import annotations

import copy
import json
import math
import re
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.errors import SavedGraphError
from graphviz_cli.graph.model import (
    Annotation,
    Column,
    Combine,
    EdgeTable,
    Graph,
    Node,
    NodeKind,
    NodeTable,
    Operator,
    Provenance,
    SavedState,
    SavedTensor,
    SourceLocation,
    TensorSpec,
)
from graphviz_cli.graph.serial import SCHEMA_VERSION, dumps, loads
from tests.graphs import ADDMM, cut, folded, graphs, hostile, hostile_text, mlp, unreached, views

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "docs/graph.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

values = st.one_of(
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    hostile_text,
)


@st.composite
def saved_graphs(draw: st.DrawFn) -> Graph:
    """A random graph with everything that a capture or a transform may add to it."""
    graph = draw(graphs())
    ids = st.integers(0, len(graph.nodes) - 1)
    annotations = [
        Annotation(
            name,
            draw(st.dictionaries(ids, values, max_size=4)),
            draw(hostile_text),
            draw(st.sampled_from(Combine)),
            draw(
                st.dictionaries(
                    ids, st.lists(st.none() | values, max_size=3).map(tuple), max_size=2
                )
            ),
        )
        for name in draw(st.lists(hostile_text, unique=True, max_size=3))
    ]
    provenance = Provenance(
        target=draw(hostile_text),
        title=draw(hostile_text),
        inputs=tuple(draw(st.lists(hostile_text, max_size=2))),
        step=draw(st.none() | st.integers(1, 100)),
        estimated=draw(st.booleans()),
        partial=draw(st.booleans()),
        vectors=tuple(draw(st.lists(hostile_text, max_size=2))),
        notes=tuple(draw(st.lists(hostile_text, max_size=2))),
    )
    operators = draw(st.dictionaries(hostile_text, st.just(ADDMM), max_size=2))
    return replace(graph, provenance=provenance, operators=operators).annotated(*annotations)


@given(saved_graphs())
def test_what_was_saved_comes_back_equal(graph: Graph) -> None:
    data = dumps(graph)
    again = loads(data)
    assert again == graph
    assert list(again.nodes) == list(graph.nodes)
    assert dumps(again) == data


@given(saved_graphs())
def test_what_is_saved_fits_the_published_schema(graph: Graph) -> None:
    VALIDATOR.validate(json.loads(dumps(graph)))


@pytest.mark.parametrize("make", [mlp, cut, folded, views, unreached, hostile])
def test_every_kind_of_graph_survives(make: Any) -> None:
    graph = make()
    assert loads(dumps(graph)) == graph


def test_the_published_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == SCHEMA_VERSION


def test_one_node_is_one_line() -> None:
    lines = dumps(mlp()).decode().splitlines()
    first = lines.index('"nodes": [') + 1
    for node in mlp().nodes:
        line = lines[first + node.id].removesuffix(",")
        assert json.loads(line)["id"] == node.id


def test_what_has_its_default_value_is_not_written() -> None:
    relu = next(n for n in json.loads(dumps(mlp()))["nodes"] if n["name"] == "ReluBackward0")
    assert relu == {
        "id": relu["id"],
        "kind": "function",
        "name": "ReluBackward0",
        "names": ["h"],
        "outputs": [{"shape": [64, 256], "dtype": "float32", "device": "cpu"}],
        "module": 2,
        "sequence_nr": 2,
        "saved": [
            {
                "name": "result",
                "shape": [64, 256],
                "dtype": "float32",
                "device": "cpu",
                "storage": 5,
            }
        ],
    }


def test_equal_graphs_give_equal_bytes_however_their_columns_were_built() -> None:
    graph = replace(mlp(), operators={"ZBackward0": ADDMM, "AddmmBackward0": ADDMM})
    sources = graph.nodes.sources
    turned = Column(
        sources.values[::-1],
        array("i", [len(sources.values) - 1 - code for code in sources.codes]),
    )
    same = replace(
        graph,
        nodes=replace(graph.nodes, sources=turned),
        operators=dict(reversed(graph.operators.items())),
    )
    assert same == graph
    assert dumps(same) == dumps(graph)


def test_the_order_of_annotations_is_kept() -> None:
    graph = mlp().annotated(Annotation("z", {2: 1, 0: 2}), Annotation("a", {1: 1.5}))
    assert list(loads(dumps(graph)).annotations) == ["z", "a"]


def test_what_a_terminal_would_obey_is_escaped() -> None:
    title = "\x1b[31m \x9b31m \udc80 \u202e naïve 変数"
    graph = replace(mlp(), provenance=Provenance(title=title))
    text = dumps(graph).decode()
    assert text.replace("\n", "").isprintable()
    assert loads(dumps(graph)).provenance.title == title
    readable = replace(mlp(), provenance=Provenance(title="naïve 変数"))
    assert "naïve 変数" in dumps(readable).decode()


def test_a_file_that_another_program_formatted_is_read() -> None:
    document = json.loads(dumps(mlp()))
    document["edges"].reverse()
    for encoding in ("utf-8-sig", "utf-16"):
        again = loads(json.dumps(document, indent=4).encode(encoding))
        assert list(again.edges.sources) == sorted(again.edges.sources)
        assert again.nodes == mlp().nodes
        assert {(e.source, e.target) for e in again.edges} == {
            (e.source, e.target) for e in mlp().edges
        }


def test_the_least_file_is_an_empty_graph() -> None:
    assert loads(b'{"schema": 1}') == Graph(NodeTable.of([]))


def test_a_state_a_storage_and_a_spec_may_be_missing() -> None:
    saved = (
        SavedTensor("a", None, None, SavedState.UNDEFINED),
        SavedTensor("b", TensorSpec(None, "float32", "cpu"), None, SavedState.PACKED),
        SavedTensor("c", TensorSpec((2, "j1"), "float32", "cpu"), None, SavedState.FREED),
    )
    node = Node(0, NodeKind.FUNCTION, "F", saved=saved, source=SourceLocation("f.py", 1))
    graph = Graph(NodeTable.of([node]))
    assert loads(dumps(graph)).nodes[0] == node


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_json_cannot_carry_is_written_as_a_word(value: float) -> None:
    graph = mlp().annotated(Annotation("norm", {2: value}, inputs={2: (value, None, 1.5)}))
    data = dumps(graph)
    json.loads(data, parse_constant=pytest.fail)
    read = loads(data).annotations["norm"]
    assert str(read.values[2]) == str(read.inputs[2][0]) == str(value)
    assert isinstance(read.values[2], float) and read.inputs[2][1:] == (None, 1.5)


def _refusal(data: bytes) -> str:
    with pytest.raises(SavedGraphError) as raised:
        loads(data)
    error = raised.value
    assert error.exit_code == 2
    assert error.hint
    assert "\n" not in error.message
    assert len(error.message) < 200
    assert error.message.endswith(".")
    return error.message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n ", "is empty"),
        (b"hello", "This is no JSON: .* line 1, column 1"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "This is no JSON: byte 0"),
        (b"[" * 100_000, "damaged|ends too early"),
        (b"9" * 10_000, "damaged"),
        (b"null", "no saved graph"),
        (b"[1, 2]", "no saved graph"),
        (b'{"nodes": []}', "no saved graph"),
        (b'{"schema": 2}', "version 2, and only 1 is known"),
        (b'{"schema": "1"}', 'version "1", and only'),
        (b'{"schema": true}', "version true, and only"),
        (b'{"schema": 1, "nodes": NaN}', "NaN"),
        (b'{"schema": 1} {}', "Extra data"),
    ],
)
def test_what_is_no_saved_graph_is_told_in_one_sentence(data: bytes, message: str) -> None:
    assert re.search(message, _refusal(data))


def test_a_newer_version_asks_for_an_update() -> None:
    with pytest.raises(SavedGraphError) as raised:
        loads(b'{"schema": 7}')
    assert "update" in (raised.value.hint or "")


@pytest.mark.parametrize("end", [10, 300, 1000, 2000, -20, -3])
def test_a_file_that_was_cut_off_says_so(end: int) -> None:
    assert "cut off" in _refusal(dumps(mlp())[:end].rstrip())


def _changed(path: tuple[Any, ...], value: Any) -> bytes:
    document: Any = json.loads(dumps(mlp().annotated(Annotation("norm", {0: 1.5}))))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("nodes",), {}, "nodes must be a list"),
        (("nodes", 3), 7, r"nodes\[3\] must be an object"),
        (("nodes", 3, "id"), 4, r"nodes\[3\].id must be 3"),
        (("nodes", 3, "kind"), "op", r"nodes\[3\].kind must be one of function, leaf"),
        (("nodes", 3, "kind"), ["leaf"], r"nodes\[3\].kind must be one of"),
        (("nodes", 3, "name"), None, r"nodes\[3\].name must be text"),
        (("nodes", 3, "names"), "w", r"nodes\[3\].names must be a list"),
        (("nodes", 3, "names"), [1], r"nodes\[3\].names must be a list of texts"),
        (("nodes", 3, "role"), "weight", r"nodes\[3\].role must be one of"),
        (("nodes", 3, "modul"), 1, r"nodes\[3\] has a member 'modul', which is not known"),
        (("nodes", 3, "x\n" * 99), 1, r"nodes\[3\] has a member 'x\\nx"),
        (("nodes", 3, "module"), 99, r"nodes\[3\].module is module 99, but there are only 4"),
        (("nodes", 3, "module"), -1, r"nodes\[3\].module must be a whole number"),
        (("nodes", 3, "module"), True, r"nodes\[3\].module must be a whole number"),
        (("nodes", 3, "module"), 1.0, r"nodes\[3\].module must be a whole number"),
        (("nodes", 0, "source"), 9, r"nodes\[0\].source is source 9"),
        (("nodes", 0, "size"), 2**31, r"nodes\[0\].size must be a whole number"),
        (("nodes", 0, "parameters"), 2**63, r"nodes\[0\].parameters must be a whole number"),
        (("nodes", 0, "outputs", 0), "f32", r"nodes\[0\].outputs\[0\] must be an object"),
        (("nodes", 0, "outputs", 0, "shape"), [1.5], r"outputs\[0\].shape must be a list of"),
        (("nodes", 0, "outputs", 0, "shape"), [True], r"outputs\[0\].shape must be a list of"),
        (("nodes", 0, "outputs", 0, "dtype"), 32, r"outputs\[0\].dtype must be text"),
        (("nodes", 0, "saved", 1, "storage"), 99, r"nodes\[0\].saved\[1\].storage is storage 99"),
        (("nodes", 0, "saved", 1, "state"), "lost", r"saved\[1\].state must be one of held"),
        (("nodes", 0, "saved", 1, "shape"), "x", r"saved\[1\].shape must be a list of sizes"),
        (("edges", 2), [0, 1], r"edges\[2\] must be a list of source, target"),
        (("edges", 2, 1), 99, r"edges\[2\] names node 99, but there are only 12"),
        (("edges", 2, 3), -1, r"edges\[2\] must hold whole numbers"),
        (("edges", 2, 3), 0.0, r"edges\[2\] must hold whole numbers"),
        (("edges", 2, 3), False, r"edges\[2\] must hold whole numbers"),
        (("roots", 0, "node"), 12, r"roots\[0\].node is node 12, but there are only 12"),
        (("roots", 0, "name"), 1, r"roots\[0\].name must be text"),
        (("modules", 1, "parent"), 4, r"modules\[1\].parent is module 4, but there are only 4"),
        (("modules", 0, "parent"), 1, r"modules\[\d\].parent leads back to itself"),
        (("modules", 2, "repeats"), 0, r"modules\[2\].repeats must be a whole number from 1"),
        (("sources", 0, "line"), 0, r"sources\[0\].line must be a whole number from 1"),
        (("storages", 0, "owned"), 1, r"storages\[0\].owned must be true or false"),
        (("storages", 0, "nbytes"), -8, r"storages\[0\].nbytes must be a whole number"),
        (("operators", "AddmmBackward0", "schema"), 1, r"operators\['AddmmBackward0'\].schema"),
        (("provenance", "step"), 0, r"provenance.step must be a whole number from 1"),
        (("provenance", "partial"), "no", r"provenance.partial must be true or false"),
        (("annotations", "norm", "values", "12"), 1, r"annotations\['norm'\] has a value for '12'"),
        (("annotations", "norm", "values", "01"), 1, r"annotations\['norm'\] has a value for '01'"),
        (("annotations", "norm", "values", "9" * 9000), 1, "which is no node"),
        (("annotations", "norm", "values", "0"), True, r"values\[0\] must be a number or text"),
        (("annotations", "norm", "values", "0"), None, r"values\[0\] must be a number or text"),
        (("annotations", "norm", "values", "0"), 2**63, r"values\[0\] must be a number or text"),
        (("annotations", "norm", "values", "0"), math.nan, "NaN"),
        (("annotations", "norm", "inputs"), 1, r"annotations\['norm'\].inputs must be an object"),
        (("annotations", "norm", "inputs"), {"12": []}, "which is no node"),
        (("annotations", "norm", "inputs"), {"0": 1}, r"inputs\[0\] must be a list"),
        (
            ("annotations", "norm", "combine"),
            "mean",
            r"combine must be one of sum, max, first, own",
        ),
    ],
)
def test_damage_is_told_with_its_place(path: tuple[Any, ...], value: Any, message: str) -> None:
    assert re.search(message, _refusal(_changed(path, value)))


def test_an_infinite_number_in_good_json_is_refused() -> None:
    data = _changed(("annotations", "norm", "values", "0"), 0.125).replace(b"0.125", b"1e999")
    assert re.search(r"values\[0\] must be a number or text", _refusal(data))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps: list[Any] = []
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    return [path, *(p for step in steps for p in _places(value[step], (*path, step)))]


DOCUMENT = json.loads(dumps(mlp().annotated(Annotation("norm", {0: 1.5}))))
PLACES = _places(DOCUMENT)[1:]

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**64) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(st.sampled_from(PLACES), junk, st.booleans())
def test_whatever_is_changed_the_file_is_refused_or_good(
    path: tuple[Any, ...], value: Any, is_removed: bool
) -> None:
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if is_removed:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    try:
        graph = loads(json.dumps(document).encode())
    except SavedGraphError:
        return
    # What is accepted is a graph that everything else can rely on, and fits the schema too.
    VALIDATOR.validate(document)
    assert loads(dumps(graph)) == graph


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(SavedGraphError):
        loads(data)


def test_a_hundred_thousand_nodes_fit_tens_of_megabytes() -> None:
    count = 100_000
    spec = (TensorSpec((2, 32, 768), "float32", "cpu"),)
    nodes = NodeTable.of(
        Node(k, NodeKind.FUNCTION, "AddBackward0", outputs=spec, sequence_nr=count - k)
        for k in range(count)
    )
    edges = EdgeTable(
        array("i", range(count - 1)),
        array("i", range(1, count)),
        array("i", bytes(4 * (count - 1))),
        array("i", bytes(4 * (count - 1))),
    )
    graph = Graph(nodes, edges, operators={"AddBackward0": Operator("add", (), (), ())})
    data = dumps(graph)
    assert len(data) < 20_000_000
    assert loads(data) == graph
