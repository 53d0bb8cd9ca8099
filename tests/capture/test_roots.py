"""Which tensors of a program are roots, and why there may be none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from graphviz_cli.capture import capture_tensors
from graphviz_cli.capture.contents import contents, is_path, lookup
from graphviz_cli.capture.frontier import Frontier
from graphviz_cli.capture.private import next_sequence_nr
from graphviz_cli.capture.roots import candidates, preferred, sinks
from graphviz_cli.capture.walk import RootTensor
from graphviz_cli.errors import NoGraphError, UsageError
from graphviz_cli.graph.model import NodeKind

from .targets import captured, leaves, ops, roots, write

GLOBALS = """
    import dataclasses, torch
    from collections import namedtuple, OrderedDict
    Pair = namedtuple("Pair", "left right")

    @dataclasses.dataclass
    class State:
        value: object
        count: int = 0

    class Plain:
        def __init__(self, value):
            self.value = value

    class Slots:
        __slots__ = ("value",)

    w = torch.ones(3, requires_grad=True)
    x = w * 2
"""


def test_the_roots_are_what_no_other_tensor_is_computed_from(tmp_path: Path) -> None:
    write(tmp_path, "net.py", GLOBALS + "    y = x.exp()\n    z = x.sin()\n    same = z\n")
    graph = captured(tmp_path, "net.py").graph
    assert roots(graph) == {"y": "ExpBackward0", "z": "SinBackward0"}
    assert (graph.provenance.step, graph.provenance.partial) == (None, False)


@pytest.mark.parametrize(
    ("assignment", "name"),
    [
        ("out = [1, x]", "out.1"),
        ("out = {'a': {'b': (None, x)}}", "out.a.b.1"),
        ("out = Pair(1, x)", "out.right"),
        ("out = State(x)", "out.value"),
        ("out = Plain([x])", "out.value.0"),
        ("out = OrderedDict(logits=x)", "out.logits"),
        ("out = {3: x}", "out.3"),
        ("out = []\n    out.append(out)\n    out.append(x)", "out.1"),
    ],
)
def test_tensors_are_found_inside_of_things(tmp_path: Path, assignment: str, name: str) -> None:
    write(tmp_path, "net.py", f"{GLOBALS}\n    {assignment}\n    del x\n")
    assert list(roots(captured(tmp_path, "net.py").graph)) == [name]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("x", ["x"]),
        ("out.loss", ["out.loss"]),
        ("outs[0]", ["outs[0]"]),
        ("outs.1", ["outs.1"]),
        ("outs[-1]", ["outs[-1]"]),
        ("outs", ["outs.0", "outs.1"]),
        ("out['loss']", ["out['loss']"]),
        ("all", ["x", "out.loss", "outs.0", "outs.1"]),
    ],
)
def test_a_root_can_be_chosen_by_its_path(tmp_path: Path, wanted: str, expected: list[str]) -> None:
    source = "    out = {'loss': x.sum()}\n    outs = [x.exp(), x.sin()]\n"
    write(tmp_path, "net.py", GLOBALS + source)
    assert list(roots(captured(tmp_path, "net.py", root=wanted).graph)) == expected


def test_a_root_can_be_chosen_at_a_backward_call(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import torch
        w = torch.ones(3, requires_grad=True)
        def train():
            hidden = w * 2
            loss = hidden.exp().sum()
            loss.backward()
        train()
        """,
    )
    graph = captured(tmp_path, "train.py", root="hidden").graph
    assert (roots(graph), graph.provenance.step) == ({"hidden": "MulBackward0"}, 1)
    assert list(roots(captured(tmp_path, "train.py", root="all").graph)) == ["loss", "hidden"]
    with pytest.raises(UsageError, match="no tensor named 'los'"):
        captured(tmp_path, "train.py", root="los")


def test_a_root_that_carries_no_graph_is_told(tmp_path: Path) -> None:
    write(tmp_path, "net.py", GLOBALS + "    d = x.detach()\n    n = 3\n")
    with pytest.raises(NoGraphError, match="d carries no graph"):
        captured(tmp_path, "net.py", root="d")
    with pytest.raises(UsageError, match="it is a int"):
        captured(tmp_path, "net.py", root="n")


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("x = 1", "left no tensor", "backward()"),
        ("def build():\n    pass", "left no tensor", "net.py:build"),
        ("model = torch.nn.Linear(1, 1)\nclass A: pass", "left no tensor", "net.py:model"),
        ("y = torch.ones(3) * 2", "nothing in net.py requires a gradient", "requires_grad"),
        ("w = torch.ones(3, requires_grad=True)", "w requires a gradient, but no", "no_grad"),
        (
            "w = torch.ones(3, requires_grad=True)\nwith torch.no_grad():\n    y = w * 2",
            "y carries no graph",
            "no_grad",
        ),
        (
            "w = torch.ones(3, requires_grad=True)\nwith torch.inference_mode():\n    y = w * 2",
            "y was computed in torch.inference_mode",
            "",
        ),
        ("y = torch.ones(3).argmax()", "y is int64", "argmax"),
        ("torch.set_grad_enabled(False)\ny = torch.ones(3)", "switched off", "set_grad_enabled"),
    ],
)
def test_why_a_program_has_no_graph_is_told(
    tmp_path: Path, source: str, message: str, hint: str
) -> None:
    write(tmp_path, "net.py", f"import torch\n{source}\n")
    with pytest.raises(NoGraphError) as raised:
        captured(tmp_path, "net.py")
    assert message in raised.value.message
    assert hint in (raised.value.hint or "")


def test_graphs_that_lived_only_inside_functions_are_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        "main.py",
        """
        import torch
        from torch import nn

        class Double(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2
            @staticmethod
            def backward(ctx, gradient):
                return gradient * 2

        def main():
            net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
            for _ in range(4):
                score = Double.apply(net(torch.ones(2, 3)).mean())
            first, second = net(torch.ones(2, 3)).unbind()
            print(score.shape)

        main()
        """,
    )
    graph = captured(tmp_path, "main.py").graph
    assert roots(graph) == {
        "score": "DoubleBackward",
        "first": "UnbindBackward0",
        "first #2": "UnbindBackward0",
    }
    assert ops(graph).count("DoubleBackward") == 1
    assert leaves(graph) == {f"Sequential.{n}.{p}" for n in (0, 2) for p in ("weight", "bias")}


def test_of_results_that_nothing_used_those_of_the_program_itself_are_roots(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    write(
        tmp_path,
        "main.py",
        """
        import torch, transformers
        def main():
            net = transformers.GPT2Model(transformers.GPT2Config(
                n_layer=1, n_embd=8, n_head=2, vocab_size=9))
            score = net(input_ids=torch.zeros(1, 3, dtype=torch.int64)).last_hidden_state.mean()
            print(score.shape)
        main()
        """,
    )
    assert roots(captured(tmp_path, "main.py").graph) == {"score": "MeanBackward0"}


def test_the_frontier_keeps_only_the_newest_result_of_each_place() -> None:
    w = torch.ones(3, requires_grad=True)
    with Frontier() as frontier:
        for number in range(50):
            result = w * number
            kept = result.exp()
        with torch.no_grad():
            w * 3
        kept.add_(1)
        joined = torch.cat([kept, w])
    assert frontier.tensors == [joined]
    functions = [eval(f"lambda w: w * {number}") for number in range(40)]
    with Frontier() as frontier:
        results = [function(w) for function in functions]
    assert frontier.tensors == results[-16:]


def test_the_frontier_asks_no_view_for_its_node() -> None:
    """A view that is written to makes its node when it is looked at, or raises."""
    w = torch.ones(3, requires_grad=True)
    with Frontier():
        with torch.no_grad():
            view = w[0]
            view.fill_(5.0)
        y = w * 2
        part = y[0]
        y.add_(1)
        before = next_sequence_nr()
        assert part.contiguous() is part
        assert next_sequence_nr() == before


def test_of_several_roots_the_loss_comes_first() -> None:
    w = torch.ones(3, requires_grad=True)
    y, loss = w * 2, (w * 3).sum()
    found = candidates([("y", y), ("out.loss", loss), ("again", y), ("w", w), ("n", w.detach())])
    assert [root.name for root in found] == ["y", "out.loss"]
    assert preferred(found) == [RootTensor("out.loss", loss)]
    vector = candidates([("y", y), ("loss", w * 4)])
    assert preferred(vector) == vector


def test_sinks_are_found_across_outputs_of_one_op() -> None:
    w = torch.ones(4, requires_grad=True)
    left, right = w.chunk(2)
    used = left.exp()
    found = candidates([("left", left), ("right", right), ("used", used)])
    assert [root.name for root in sinks(found)] == ["used"]
    other = candidates([("left", left), ("right", right)])
    assert [root.name for root in sinks(other)] == ["left", "right"]


def test_different_tensors_of_one_name_are_numbered() -> None:
    w = torch.ones(4, requires_grad=True)
    found = candidates([("x", w * 1), ("x", w * 2), ("x", w * 3), ("", w * 4), ("", w * 5)])
    assert [root.name for root in found] == ["x", "x #2", "x #3", "", ""]


def test_paths_lead_to_what_they_name() -> None:
    value = {"a": [1, {"b c": 2}], "0": 3}
    assert lookup(value, "a.0") == lookup(value, "a[0]") == 1
    assert lookup(value, "a[-1]['b c']") == 2
    assert lookup(value, "0") == 3
    assert lookup(torch.nn.Sequential(torch.nn.ReLU()), "0.inplace") is False
    for path in ("", "a b", "f()", ".a", "a..b", "a[b]", "a["):
        assert not is_path(path)
    with pytest.raises(LookupError):
        lookup(value, "a.5")
    with pytest.raises(AttributeError):
        lookup(value, "zzz")


def test_the_search_for_tensors_is_bounded() -> None:
    class Endless:
        @property
        def __dict__(self) -> dict[str, object]:  # type: ignore[override]
            return {"next": Endless()}

    x = torch.ones(1)
    assert list(contents({"e": Endless(), "x": x}, torch.Tensor)) == [("x", x)]
    many = {str(number): [x] for number in range(3_000)}
    assert len(list(contents(many, torch.Tensor))) == 1_000


def test_tensors_of_the_caller_are_captured_by_their_names() -> None:
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * 2).sum()
    graph = capture_tensors(loss)
    assert roots(graph) == {"loss": "SumBackward0"}
    assert leaves(graph) == {"weight"}
    assert graph.provenance.torch == torch.__version__
    assert graph.provenance.device == "cpu"
    assert roots(capture_tensors({"a": loss}, names=("out",))) == {"out.a": "SumBackward0"}
    assert graph.operators["MulBackward0"].inputs
    assert graph.nodes.ids(NodeKind.FUNCTION) == [0, 1]
    with pytest.raises(NoGraphError, match="weight requires a gradient"):
        capture_tensors(weight)
    with pytest.raises(NoGraphError):
        capture_tensors(3)
