"""Parameters of one fate under one name."""

from graphviz_cli.graph.fates import fates, grouped
from graphviz_cli.graph.model import Graph, Role
from graphviz_cli.graph.verdict import Status, verdicts
from tests.graphs import Builder


def graph_of(*reached: str, unused: tuple[str, ...] = (), frozen: tuple[str, ...] = ()) -> Graph:
    b = Builder()
    for name in unused:
        b.leaf(name, 3)
    for name in frozen:
        b.constant(name, 3, role=Role.PARAMETER)
    return b.build(b.op("StackBackward0", (3,), *(b.leaf(name, 3) for name in reached)))


def told(graph: Graph) -> dict[str, tuple[Status, int]]:
    return {fate.pattern: (fate.verdict.status, len(fate.leaves)) for fate in fates(graph)}


def test_parameters_that_all_share_their_fate_are_one_line() -> None:
    graph = graph_of("a.weight", "a.bias", "b")
    assert told(graph) == {"*": (Status.REACHED, 3)}
    assert fates(graph)[0].named == "all 3 parameters"


def test_a_module_around_everything_is_named() -> None:
    assert told(graph_of("net.a.weight", "net.b.weight")) == {"net.*": (Status.REACHED, 2)}


def test_modules_in_a_row_are_one_line_where_something_else_differs() -> None:
    layers = [f"h.{k}.{name}" for k in range(12) for name in ("weight", "bias")]
    graph = graph_of(*layers, "h.norm", unused=("pooler.weight", "pooler.bias"), frozen=("emb",))
    assert told(graph) == {
        "emb": (Status.FROZEN, 1),
        "h.*": (Status.REACHED, 25),
        "pooler.*": (Status.UNUSED, 2),
    }


def test_the_same_parameter_of_every_layer_is_one_line() -> None:
    reached = [f"h.{k}.weight" for k in range(12)]
    unused = tuple(f"h.{k}.bias" for k in range(12) if k != 5)
    assert told(graph_of(*reached, "h.5.bias", unused=unused)) == {
        "h.0..4.bias": (Status.UNUSED, 5),
        "h.0..4.weight": (Status.REACHED, 5),
        "h.5.*": (Status.REACHED, 2),
        "h.6..11.bias": (Status.UNUSED, 6),
        "h.6..11.weight": (Status.REACHED, 6),
    }


def test_numbers_at_two_places_are_rows_of_rows() -> None:
    unused = tuple(f"h.{k}.e.{j}.up" for k in range(3) for j in range(4))
    reached = [name.replace("up", "down") for name in unused]
    assert told(graph_of(*reached, unused=unused)) == {
        "h.0..2.e.0..3.down": (Status.REACHED, 12),
        "h.0..2.e.0..3.up": (Status.UNUSED, 12),
    }


def test_layers_come_in_the_order_of_their_numbers() -> None:
    graph = graph_of("h.10.w", "h.2.w", unused=("h.9.w", "h.1.w"))
    assert [fate.pattern for fate in fates(graph)] == ["h.1.w", "h.2.w", "h.9.w", "h.10.w"]


def test_a_group_claims_no_parameter_outside_of_it() -> None:
    graph = graph_of("a.weight", "a.bias", "b.weight", "b.bias")
    known = verdicts(graph)
    some = {leaf: known[leaf] for leaf in known if graph.nodes[leaf].label != "b.bias"}
    assert [fate.pattern for fate in grouped(graph, some)] == ["a.*", "b.weight"]
