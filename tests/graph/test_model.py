"""The columns hold what their views show."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphviz_cli.graph.model import (
    Annotation,
    Column,
    Edge,
    EdgeTable,
    Graph,
    Node,
    NodeKind,
    NodeTable,
    Role,
    SavedState,
    SavedTable,
    SavedTensor,
    Storage,
    TensorSpec,
    held_bytes,
)
from tests.graphs import graphs, mlp, square


@given(st.lists(st.text(max_size=2)))
def test_a_column_gives_back_its_rows(rows: list[str]) -> None:
    column = Column.of(rows)
    assert list(column) == rows
    assert [column[k] for k in range(len(rows))] == rows
    assert len(set(column.values)) == len(column.values)
    assert list(column[1:]) == rows[1:]


@given(st.lists(st.integers(0, 3), min_size=1), st.data())
def test_taking_rows_of_a_column_keeps_their_order(rows: list[int], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    assert list(Column.of(rows).taken(wanted)) == [rows[k] for k in wanted]


def test_columns_are_equal_if_their_rows_are_however_they_are_encoded() -> None:
    straight = Column(("a", "b"), array("i", [0, 1, 0]))
    turned = Column(("b", "a", "unused"), array("i", [1, 0, 1]))
    assert straight == turned
    assert straight != Column.of(["a", "b", "b"])
    assert straight != Column.of(["a", "b"])


@given(graphs())
def test_a_table_made_of_its_own_nodes_is_equal(graph: Graph) -> None:
    assert NodeTable.of(graph.nodes) == graph.nodes
    assert EdgeTable.of(graph.edges) == graph.edges
    assert SavedTable.of(node.saved for node in graph.nodes) == graph.nodes.saved
    assert [node.id for node in graph.nodes] == list(range(len(graph.nodes)))


def test_a_change_in_any_column_makes_graphs_unequal() -> None:
    graph = mlp()
    for change in (
        {"name": "X"},
        {"names": ("q",)},
        {"role": Role.BUFFER},
        {"outputs": ()},
        {"module": 3},
        {"sequence_nr": 77},
        {"saved": (SavedTensor("s", None, None, SavedState.FREED),)},
        {"size": 5},
        {"parameters": 5},
        {"kind": NodeKind.CUT},
    ):
        nodes = list(graph.nodes)
        nodes[1] = replace(nodes[1], **change)
        assert replace(graph, nodes=NodeTable.of(nodes)) != graph, change


def test_nodes_are_found_from_both_ends_and_by_kind() -> None:
    nodes = mlp().nodes
    assert nodes[-1] == nodes[len(nodes) - 1]
    with pytest.raises(IndexError):
        nodes[len(nodes)]
    with pytest.raises(IndexError):
        nodes[-len(nodes) - 1]
    leaves = [node.id for node in nodes if node.kind is NodeKind.LEAF]
    assert nodes.ids(NodeKind.LEAF) == leaves
    assert nodes.ids(NodeKind.MODULE) == []
    assert [node.id for node in nodes[2:5]] == [2, 3, 4]


def test_edges_come_by_source_and_keep_the_order_of_one_source() -> None:
    edges = EdgeTable.of([Edge(1, 5, 1), Edge(0, 3, 1), Edge(1, 4, 0), Edge(0, 3, 0)])
    assert list(edges) == [Edge(0, 3, 1), Edge(0, 3, 0), Edge(1, 5, 1), Edge(1, 4, 0)]
    assert edges[2] == Edge(1, 5, 1)
    assert len([e for e in square().edges if e.source == 1]) == 2


def test_a_tensor_has_a_size_only_where_all_dimensions_are_known() -> None:
    assert TensorSpec((2, 3), "float32", "cpu").numel == 6
    assert TensorSpec((), "bfloat16", "cpu").nbytes == 2
    assert TensorSpec((0, 9), "int64", "cpu").nbytes == 0
    assert TensorSpec((2, "j1"), "float32", "cpu").numel is None
    assert TensorSpec(None, "float32", "cpu").nbytes is None
    assert TensorSpec((4,), "quint4x2", "cpu").nbytes is None


def test_what_the_graph_holds_counts_every_storage_once_and_only_its_own() -> None:
    def saving(*storages: int | None) -> Node:
        saved = tuple(SavedTensor("s", None, s, SavedState.HELD) for s in storages)
        return Node(0, NodeKind.FUNCTION, "F", saved=saved)

    nodes = NodeTable.of([saving(0, 1, None), saving(0, 2), saving()])
    graph = Graph(nodes, storages=(Storage(10, True), Storage(1000, False), Storage(7, True)))
    assert held_bytes(graph) == 17
    assert held_bytes(graph, [0]) == 10
    assert held_bytes(graph, [1]) == 17
    assert held_bytes(graph, [2]) == 0


def test_an_annotation_of_the_same_name_is_replaced() -> None:
    graph = mlp().annotated(Annotation("norm", {0: 1.0}), Annotation("time", {1: 2.0}))
    again = graph.annotated(Annotation("norm", {0: 3.0}))
    assert again.annotations["norm"].values == {0: 3.0}
    assert set(again.annotations) == {"norm", "time"}
    assert graph.annotations["norm"].values == {0: 1.0}


def test_a_node_is_called_by_its_user_name_unless_it_is_an_op() -> None:
    assert Node(0, NodeKind.LEAF, "AccumulateGrad", ("fc.weight", "tied")).label == "fc.weight"
    assert Node(0, NodeKind.LEAF, "AccumulateGrad").label == "AccumulateGrad"
    assert Node(0, NodeKind.FUNCTION, "AddBackward0", ("h",)).label == "AddBackward0"
    assert Node(0, NodeKind.MODULE, "Linear", ("fc",)).label == "fc"
