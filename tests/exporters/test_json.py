"""The JSON exporter writes the graph as it was captured."""

from __future__ import annotations

from graphviz_cli import registry
from graphviz_cli.drawing.style import Style
from graphviz_cli.exporters.json import Json
from graphviz_cli.exporters.tree import Tree
from graphviz_cli.graph.serial import dumps, loads
from tests.graphs import folded, mlp


def test_what_is_written_can_be_read_again() -> None:
    for graph in (mlp(), folded()):
        assert loads(Json().export(graph, Style())) == graph


def test_no_style_changes_the_data() -> None:
    style = Style(ascii=True, color=True, width=20, title="other")
    assert Json().export(mlp(), style) == dumps(mlp())


def test_the_registry_finds_both_text_formats_by_their_suffix() -> None:
    for suffix, plugin in ((".json", Json), (".txt", Tree)):
        name = registry.name_for_suffix("exporters", suffix)
        exporter = registry.create("exporters", name)
        assert type(exporter) is plugin
        assert (exporter.suffix, exporter.binary) == (suffix, False)


def test_only_data_wants_the_graph_unfolded() -> None:
    assert Json.whole
    assert not Tree.whole
