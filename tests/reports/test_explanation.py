"""Why a gradient comes or does not, in words."""

import pytest

from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Annotation, Graph, Role, SourceLocation
from graphviz_cli.reports.explanation import explain, named
from tests.graphs import Builder


def line(number: int, text: str) -> SourceLocation:
    return SourceLocation("net.py", number, text=text)


def net() -> Graph:
    """loss = mean(body(x) * gate(x).detach()); spare is never called, aux is dropped."""
    b = Builder()
    top = b.module("net", "Net")
    body, gate = b.module("net.body", "Linear", top), b.module("net.gate", "Linear", top)
    h = b.op(
        "MmBackward0",
        (4, 8),
        b.leaf("net.body.weight", 8, 8, module=body),
        module=body,
        source=line(3, "self.body(x)"),
    )
    g = b.op(
        "MmBackward0",
        (4, 8),
        b.leaf("net.gate.weight", 8, 8, module=gate),
        module=gate,
        names=("g",),
        source=line(4, "self.gate(x)"),
    )
    cut = b.cut("detach", g, module=top, source=line(5, "g.detach()"))
    h = b.op("MulBackward0", (4, 8), h, cut, module=top, names=("h",), source=line(6, "h * g"))
    for name in ("spare.weight", "spare.bias", "body.scale", "aux"):
        b.leaf(f"net.{name}", 8)
    b.constant("net.emb", 8, role=Role.PARAMETER)
    b.constant("mask", 8)
    graph = b.build(b.op("MeanBackward0", (), h, names=("loss",), source=line(9, "h.mean()")))
    ids = {node.label: node.id for node in graph.nodes}
    return graph.annotated(
        Annotation("used", {ids["net.aux"]: "net.py:7"}),
        Annotation("optimizer", {ids["net.emb"]: "Adam"}),
    )


def text(name: str) -> str:
    (explanation,) = explain(net(), named(net(), name))
    return "\n".join(explanation.lines)


def labels(name: str) -> list[str]:
    graph = net()
    return [graph.nodes[node].label for node in named(graph, name)]


def test_a_parameter_is_known_by_the_last_parts_of_its_name() -> None:
    assert labels("gate.weight") == ["net.gate.weight"]
    assert labels("net.spare") == labels("spare") == ["net.spare.bias", "net.spare.weight"]


def test_a_glob_may_begin_inside_a_name() -> None:
    assert sorted(labels("*.weight")) == ["net.body.weight", "net.gate.weight", "net.spare.weight"]
    assert sorted(labels("ga*.w*")) == ["net.gate.weight"]


def test_a_variable_is_the_op_that_made_it() -> None:
    assert labels("h") == ["MulBackward0"]
    assert labels("loss") == ["MeanBackward0"]


def test_an_unknown_name_is_told_with_the_closest_ones() -> None:
    with pytest.raises(UsageError, match="Nothing in the graph is named") as caught:
        named(net(), "gaet.weight")
    assert caught.value.hint is not None and "net.gate.weight" in caught.value.hint


def test_a_gradient_that_comes_is_told_as_its_way() -> None:
    assert text("body.weight").splitlines() == [
        "net.body.weight gets a gradient, 3 steps from the root loss:",
        "  loss = MeanBackward0  []               net.py:9: h.mean()",
        "  h = MulBackward0      [4,8]  net       net.py:6: h * g",
        "  MmBackward0           [4,8]  net.body  net.py:3: self.body(x)",
        "  net.body.weight       [8,8]            leaf",
    ]


def test_a_cut_is_told_with_what_comes_before_and_after() -> None:
    paragraph, *lines = text("gate.weight").splitlines()
    assert paragraph == (
        "net.gate.weight gets no gradient. Its value goes through MmBackward0, and then the "
        "gradient is lost at detach() at net.py:5 (g.detach()). From there the value goes on into "
        "MulBackward0 at net.py:6, and so into the root loss, but no gradient comes back. "
        "Drop detach() if the gradient is wanted; freeze the parameters if it is not."
    )
    assert [row.split()[0] for row in lines] == ["loss", "h", "✂", "g", "net.gate.weight"]


def test_a_variable_behind_a_cut_is_told_like_a_parameter() -> None:
    assert text("g").startswith("g gets no gradient. The gradient is lost at detach() at net.py:5")


def test_a_module_that_was_never_called_is_named() -> None:
    assert text("spare") == (
        "net.spare.* (2 parameters) are never used: no op of the forward pass took them. "
        "The module net.spare was never called."
    )


def test_a_parameter_that_its_own_module_does_not_use_is_told_apart() -> None:
    assert text("scale").endswith("was called, but its forward does not use it.")


def test_a_dropped_parameter_tells_where_it_was_used() -> None:
    told = text("aux")
    assert told.startswith("net.aux was used at net.py:7, but nothing that was computed from it")


def test_a_frozen_parameter_tells_who_holds_it() -> None:
    assert text("emb").endswith("Still, Adam holds it.")


def test_the_root_is_where_it_starts() -> None:
    assert text("loss") == "loss is the root: the gradient starts here."


def test_the_path_goes_from_the_root_across_the_cut_to_the_leaf() -> None:
    graph = net()
    (explanation,) = explain(graph, named(graph, "gate.weight"))
    assert [graph.nodes[node].name for node in explanation.path] == [
        "MeanBackward0",
        "MulBackward0",
        "detach",
        "MmBackward0",
        "AccumulateGrad",
    ]
