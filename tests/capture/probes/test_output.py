"""What every op computed, held against numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.capture.probes.call_values import CallValues
from graphviz_cli.capture.torch_calls import listening
from graphviz_cli.graph.model import Graph

from .programs import leaf, op, probes


def graph_of(folder: Path, program: str, *, attribute: str = "", **request: Any) -> Graph:
    """The graph of a program that was measured by the probe."""
    file = folder / "net.py"
    file.write_text(
        "import math\nimport torch\nfrom torch import nn\n" + dedent(program).lstrip("\n")
    )
    target = parse_target(f"{file}:{attribute}" if attribute else str(file))
    return capture(target, Request(probes=tuple(probes("output")), **request)).graph


def fact(graph: Graph, name: str, node: int) -> Any:
    """What an annotation says of a node; None where it says nothing, or there is none."""
    annotation = graph.annotations.get(name)
    return None if annotation is None else annotation.values.get(node)


def numbers(graph: Graph, node: int) -> tuple[float, ...]:
    """Least, largest and mean element, and the share of zeros."""
    return tuple(
        round(fact(graph, f"output-{name}", node), 6) for name in ("min", "max", "mean", "zeros")
    )


def inputs(graph: Graph) -> dict[str, str]:
    """What ops took from outside that was not finite, by the names of the ops."""
    annotation = graph.annotations.get("non-finite-input")
    values = {} if annotation is None else annotation.values
    return {graph.nodes.names[node]: str(text) for node, text in values.items()}


def order(graph: Graph) -> list[str]:
    """The names of the ops with non-finite results, the first first."""
    annotation = graph.annotations.get("output-order")
    values = {} if annotation is None else annotation.values
    return [graph.nodes.names[node] for node, _ in sorted(values.items(), key=lambda pair: pair[1])]


def test_ops_and_leaves_have_the_numbers_of_their_values(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        x = torch.tensor([3.0, 0.0, -4.0], requires_grad=True)
        y = (x * 2).relu()
        z = y.sum()
        """,
    )
    assert fact(graph, "output", leaf(graph, "x")) == 5
    assert numbers(graph, leaf(graph, "x")) == (-4, 3, round(-1 / 3, 6), round(1 / 3, 6))
    assert fact(graph, "output", op(graph, "MulBackward0")) == 10
    assert numbers(graph, op(graph, "MulBackward0")) == (-8, 6, round(-2 / 3, 6), round(1 / 3, 6))
    assert numbers(graph, op(graph, "ReluBackward0")) == (0, 6, 2, round(2 / 3, 6))
    assert numbers(graph, op(graph, "SumBackward0")) == (6, 6, 6, 0)
    rare = {"output-nan", "output-inf", "output-order", "non-finite-input"}
    assert not rare & set(graph.annotations), "nothing is said where all is finite"


def test_all_outputs_of_an_op_count_together_and_indices_do_not(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        x = torch.tensor([[1.0, 5.0], [7.0, 3.0]], requires_grad=True)
        largest, places = x.max(1)
        first, second = x.split(1)
        z = largest.sum() + (first * second).sum()
        """,
    )
    assert numbers(graph, op(graph, "MaxBackward0")) == (5, 7, 6, 0)
    assert numbers(graph, op(graph, "SplitBackward0")) == (1, 7, 4, 0)


def test_a_value_counts_as_it_was_when_its_op_gave_it(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = x + 1
        y.mul_(10)
        y[0] = 5
        z = y.sum()
        """,
    )
    assert numbers(graph, op(graph, "AddBackward0")) == (2, 3, 2.5, 0)
    assert numbers(graph, op(graph, "MulBackward0")) == (20, 30, 25, 0)
    assert numbers(graph, op(graph, "CopySlices")) == (5, 30, 17.5, 0)


def test_a_write_to_a_view_counts_for_what_it_is_a_view_of(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        y[1].mul_(10)
        z = y.sum()
        """,
    )
    assert numbers(graph, op(graph, "CopySlices")) == (2, 40, 21, 0)


def test_a_leaf_counts_as_it_was_when_it_entered_the_graph_that_is_drawn(tmp_path: Path) -> None:
    program = """
        w = torch.tensor([1.0], requires_grad=True)
        for step in range(3):
            z = (w * w).sum()
            z.backward()
            with torch.no_grad():
                {write}
            w.grad = None
        z = (w * 1).sum()
        with torch.no_grad():
            w.fill_(-1)
        z.backward()
    """
    for write in ("w += 1", "w.data += 1", "w.data = w.data + 1"):
        for step in (1, 2, 3, 4):
            graph = graph_of(tmp_path, program.format(write=write), step=step)
            assert fact(graph, "output-max", leaf(graph, "w")) == step, write


def test_a_leaf_that_no_call_was_seen_to_take_counts_as_it_is(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        import threading
        results = []
        w = torch.tensor([3.0], requires_grad=True)
        thread = threading.Thread(target=lambda: results.append(w * 2))
        thread.start(), thread.join()
        z = results[0]
        """,
    )
    assert fact(graph, "output-max", leaf(graph, "w")) == 3


def test_a_custom_function_and_what_it_writes_to_are_measured(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        class Root(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.log()
            @staticmethod
            def backward(ctx, gradient):
                return gradient
        class Dirty(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.mark_dirty(x)
                return x.mul_(3)
            @staticmethod
            def backward(ctx, gradient):
                return 3 * gradient
        x = torch.tensor([0.0, 1.0], requires_grad=True)
        y = Root.apply(Dirty.apply(x + 1) - 3)
        """,
    )
    assert numbers(graph, op(graph, "DirtyBackward")) == (3, 6, 4.5, 0)
    assert fact(graph, "output-inf", op(graph, "RootBackward")) == 0.5
    assert fact(graph, "output-max", op(graph, "AddBackward0")) == 2
    assert order(graph) == ["RootBackward"]


def test_ops_that_torch_made_on_the_way_have_no_value(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
        loss = nn.functional.cross_entropy(logits, torch.tensor([1]))
        """,
    )
    assert fact(graph, "output", op(graph, "NllLossBackward0")) == pytest.approx(math.log(2))
    assert fact(graph, "output", op(graph, "LogSoftmaxBackward0")) is None


def test_the_first_op_that_overflows_is_the_first_in_order(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        x = torch.tensor([300.0, 1.0], dtype=torch.float16, requires_grad=True)
        z = ((x * x) - (x * x)).sum()
        """,
    )
    products = [n for n in range(len(graph.nodes)) if graph.nodes.names[n] == "MulBackward0"]
    assert [fact(graph, "output-inf", node) for node in products] == [0.5, 0.5]
    assert fact(graph, "output", products[0]) == math.inf
    assert fact(graph, "output-nan", op(graph, "SubBackward0")) == 0.5
    assert order(graph) == ["MulBackward0", "MulBackward0", "SubBackward0", "SumBackward0"]
    assert sorted(graph.annotations["output-order"].values.values()) == [0, 1, 2, 3]
    assert inputs(graph) == {}


def test_a_call_before_the_graph_that_gave_nan_is_named_with_its_line(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        x = torch.tensor([2.0, 2.0])
        x = x - x.mean()
        x = x / x.std()
        x = (x * 3)[None]
        model = nn.Linear(2, 1)
        loss = model(x).sum()
        """,
    )
    assert inputs(graph) == {"AddmmBackward0": "x / x.std() (net.py:6) gave NaN"}
    rank = fact(graph, "output-order", op(graph, "AddmmBackward0"))
    assert rank == 3, "three calls gave NaN before"


@pytest.mark.parametrize(
    ("write", "told"),
    [
        ("x.div_(0)", "x.div_(0) (net.py:6) gave NaN"),
        ("x[0] = math.inf", "x[0] = math.inf (net.py:6) gave inf"),
        ("x[0].fill_(-math.inf)", "x[0].fill_(-math.inf) (net.py:6) gave -inf"),
        ("torch.log(x, out=x)", "torch.log(x, out=x) (net.py:6) gave -inf"),
        ("x = torch.tensor([math.nan, 1])", "torch.tensor([math.nan, 1]) (net.py:6) gave NaN"),
    ],
)
def test_what_was_written_into_an_input_is_named(write: str, told: str, tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        f"""
        x = torch.zeros(2)
        w = torch.ones(2, requires_grad=True)
        {write}
        z = (w * x).sum()
        """,
    )
    assert inputs(graph) == {"MulBackward0": told}


def test_an_input_that_no_call_made_is_named_by_its_variable(tmp_path: Path) -> None:
    program = """
        import numpy
        data = torch.from_numpy(numpy.array([1, numpy.inf], dtype="float32"))
        w = torch.ones(2, requires_grad=True)
        z = (w * (data + 1)).sum()
        """
    assert inputs(graph_of(tmp_path, program)) == {"MulBackward0": "the input data holds inf"}
    program += "del data\n"
    assert inputs(graph_of(tmp_path, program)) == {
        "MulBackward0": "an input of data + 1 (net.py:7) holds inf"
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_root_that_no_call_was_seen_to_give_has_its_numbers_too(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        log = torch.jit.trace(torch.log, torch.ones(2))
        x = torch.tensor([0.0, 1.0], requires_grad=True)
        z = log(x)
        """,
    )
    assert fact(graph, "output-min", op(graph, "LogBackward0")) == -math.inf


def test_nan_in_a_parameter_stands_at_its_leaf(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        model = nn.Linear(2, 1)
        with torch.no_grad():
            model.weight[0, 1] = math.nan
        loss = model(torch.ones(1, 2)).sum()
        """,
    )
    assert fact(graph, "output-nan", leaf(graph, "model.weight")) == 0.5
    assert fact(graph, "output-nan", leaf(graph, "model.bias")) == 0
    assert order(graph)[0] == "AddmmBackward0" and inputs(graph) == {}


BATCH_NORM = """
    model = nn.BatchNorm1d(2)
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
"""


def test_nan_in_a_buffer_is_named(tmp_path: Path) -> None:
    program = f"""{BATCH_NORM}
    model.running_var.copy_(torch.tensor([math.nan, 1.0]))
    model.eval()
    loss = model(x).sum()
    """
    graph = graph_of(tmp_path, program)
    assert inputs(graph) == {
        "NativeBatchNormBackward0": "torch.tensor([math.nan, 1.0]) (net.py:7) gave NaN"
    }
    program = f"""{BATCH_NORM}
    import numpy
    model.running_var = torch.from_numpy(numpy.array([numpy.nan, 1], dtype="float32"))
    model.eval()
    loss = model(x).sum()
    """
    assert inputs(graph_of(tmp_path, program)) == {
        "NativeBatchNormBackward0": "the buffer model.running_var holds NaN"
    }


def test_statistics_that_an_op_only_writes_to_are_no_input_of_it(tmp_path: Path) -> None:
    program = f"""{BATCH_NORM}
    loss = model(x / 0).sum()
    """
    graph = graph_of(tmp_path, program)
    assert inputs(graph) == {} and order(graph)[0] == "DivBackward0"
    assert inputs(graph_of(tmp_path, f"{program}model.eval()\n    loss = model(x).sum()\n")) == {
        "NativeBatchNormBackward0": "the buffer model.running_mean holds inf"
    }


def test_the_infinities_of_an_attention_mask_are_told_as_what_they_are(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        scores = torch.zeros(2, 2, requires_grad=True)
        mask = torch.full((2, 2), -math.inf).triu(1)
        added = (scores + mask).softmax(-1)
        filled = scores.masked_fill(mask < 0, -math.inf).softmax(-1)
        z = (added + filled).sum()
        """,
    )
    masked = [n for n in range(len(graph.nodes)) if graph.nodes.names[n] == "AddBackward0"][-1]
    assert fact(graph, "non-finite-input", masked) == (
        "torch.full((2, 2), -math.inf) (net.py:5) gave -inf"
    )
    assert inputs(graph)["MaskedFillBackward0"] == "a number is -inf"
    softmaxes = [n for n in range(len(graph.nodes)) if graph.nodes.names[n] == "SoftmaxBackward0"]
    for node in softmaxes:
        assert numbers(graph, node) == (0, 1, 0.5, 0.25)
    assert "output-nan" not in graph.annotations


def test_memory_that_nothing_was_written_to_is_not_looked_at(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        x = torch.empty(2, 3)
        x.view(torch.int32).fill_(0x7FC00000)  # as NaN may lie there by chance
        y = torch.empty_like(x)[0]
        w = torch.ones(3, requires_grad=True)
        for row in range(2):
            x[row] = 1.0
        z = (w * x).sum()
        """,
    )
    assert inputs(graph) == {} and order(graph) == []


def test_what_is_computed_without_gradients_is_outside_of_the_graph(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.teacher, self.student = nn.Linear(2, 2), nn.Linear(2, 2)
            def forward(self, x):
                with torch.no_grad():
                    target = self.teacher(x) / 0
                return ((self.student(x) - target) ** 2).sum()
        net = Net()
        loss = net(torch.ones(1, 2))
        """,
    )
    (told,) = inputs(graph).values()
    assert told.startswith("self.teacher(x) / 0 (net.py:10) gave ") and told.endswith("inf")
    assert order(graph)[0] == "SubBackward0"


def test_a_module_that_is_not_watched_from_inside_is_named_as_a_whole(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        class Broken(nn.Module):
            def forward(self, x):
                return {"features": x / 0}
        teacher, w = Broken(), torch.ones(2, requires_grad=True)
        with torch.no_grad():
            target = teacher(torch.zeros(2))["features"]
        z = (w * target).sum()
        """,
    )
    assert inputs(graph) == {"MulBackward0": "teacher(torch.zeros(2)) (net.py:9) gave NaN"}


def test_of_two_threads_nothing_false_is_told(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        import threading
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        results = []
        def work():
            results.append((x * 100).exp())
        unused = torch.ones(5, requires_grad=True) * 1
        thread = threading.Thread(target=work)
        thread.start(), thread.join()
        y = (x + 1).log()
        z = (results[0] - y).sum()
        z.backward()
        """,
    )
    assert fact(graph, "output", op(graph, "MulBackward0")) is None
    assert fact(graph, "output", op(graph, "ExpBackward0")) is None
    assert fact(graph, "output-max", op(graph, "LogBackward0")) == pytest.approx(math.log(3))
    assert fact(graph, "output-inf", op(graph, "SubBackward0")) == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_a_checkpoint_computes_again_does_not_count(reentrant: bool, tmp_path: Path) -> None:
    program = """
        from torch.utils.checkpoint import checkpoint
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        calls = []
        def block(h):
            calls.append(1)
            return (h * len(calls)).exp()
        for step in range(2):
            z = checkpoint(block, w, use_reentrant=REENTRANT).sum()
            z.backward()
        """
    graph = graph_of(tmp_path, program.replace("REENTRANT", str(reentrant)), step=2)
    assert fact(graph, "output-max", op(graph, "SumBackward0")) == pytest.approx(
        math.exp(3) + math.exp(6)
    )
    name = "CheckpointFunctionBackward" if reentrant else "ExpBackward0"
    assert fact(graph, "output-max", op(graph, name)) == pytest.approx(math.exp(6))


PROGRAM = """
    from torch.utils.checkpoint import checkpoint
    torch.manual_seed(3)
    def net(x, w):
        h = torch.dropout(x @ w, 0.5, True)
        h[0].mul_(2)
        first, second = checkpoint(torch.tanh, h, use_reentrant=False).chunk(2, -1)
        mask = torch.empty(2).bernoulli_()
        return torch.vmap(torch.dot)(first, second * mask).logsumexp(0)
    x = torch.randn(3, 4)
    w = torch.randn(4, 4, requires_grad=True)
    z = net(x, w)
    gradient = torch.autograd.grad(z, w, retain_graph=True)[0]
    state = torch.get_rng_state()
    torch.save((z.detach(), gradient, state), "FILE")
    y = z * 2
    y.backward()
"""


def test_the_program_and_its_graph_are_the_same_with_and_without(tmp_path: Path) -> None:
    results, graphs = [], []
    for names in ((), ("output",)):
        file = tmp_path / f"{len(names)}.pt"
        program = tmp_path / "net.py"
        text = dedent(PROGRAM).replace("FILE", str(file))
        program.write_text("import torch\n" + text)
        request = Request(probes=tuple(probes(*names)), step=2)
        graphs.append(capture(parse_target(str(program)), request).graph)
        results.append(torch.load(file))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    without, observed = graphs
    assert observed.nodes == without.nodes and observed.edges == without.edges
    assert len(observed.annotations["output"].values) > 5


def test_no_value_outlives_the_program(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        import weakref
        dead = []
        def forward(w):
            h = w * 2
            data = torch.ones(3)
            scaled = data / 2
            for tensor in (h, data, scaled):
                weakref.finalize(tensor, dead.append, 1)
            return (h + scaled).sum()
        z = forward(torch.ones(3, requires_grad=True))
        z = z * len(dead)
        """,
    )
    assert fact(graph, "output-max", 0) == 7.5 * 3


def test_values_of_earlier_steps_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphviz_cli.capture.probes.call_values._MOST_KEPT", 20)
    monkeypatch.setattr("graphviz_cli.capture.probes.call_values._MOST_PENDING", 7)
    (probe,) = probes("output")
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nw = torch.ones(2, requires_grad=True)\nx = torch.zeros(2) / 0\n"
        "for step in range(50):\n    z = (w * step * x).sum()\n    z.backward()\n"
    )
    graph = capture(parse_target(str(file)), Request(probes=(probe,), step=50)).graph
    assert len(probe._values.of_ops) <= 23
    assert numbers(graph, leaf(graph, "w")) == (1, 1, 1, 0)
    assert inputs(graph) == {"MulBackward0": "torch.zeros(2) / 0 (net.py:3) gave NaN"}


def test_a_module_target_is_measured(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.tensor([2.0]))
            def forward(self, x):
                return (self.scale * x).sqrt()
        """,
        attribute="Net",
        inputs=("x=float32:1",),
    )
    assert numbers(graph, leaf(graph, "scale")) == (2, 2, 2, 0)
    assert fact(graph, "output", op(graph, "SqrtBackward0")) is not None


def test_listeners_are_told_only_within_their_block() -> None:
    from graphviz_cli.capture.recording import Recording

    values = CallValues()
    x = torch.ones(2, requires_grad=True)
    with Recording(keep_results=False):
        with listening(values):
            _ = x * 2
        _ = x * 3
    assert len(values.of_ops) == 1
