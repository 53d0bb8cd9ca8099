"""Times, bytes, and where the backward pass starts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from graphviz_cli import registry
from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import held_bytes
from graphviz_cli.graph.operations import quotient

from .programs import leaf, measure, op, probes, received


def test_the_time_of_an_op_is_that_of_its_backward_alone() -> None:
    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05)
            return gradient

    x = torch.ones(2, requires_grad=True)
    graph = measure(
        {"x": x, "z": Slow.apply(x * 2).sum()}, "z", names=("gradient", "backward-time")
    )
    times = graph.annotations["backward-time"]
    assert times.unit == "s" and len(times.values) == 4
    slow = op(graph, "SlowBackward")
    assert 0.05 <= float(times.values[slow]) < 0.5
    assert sum(float(t) for node, t in times.values.items() if node != slow) < 0.05


def test_saved_bytes_add_up_to_what_the_graph_keeps() -> None:
    x = torch.ones(100, requires_grad=True)
    y = x.exp()
    z = (y.sin() + y * y).sum()
    graph = measure({"x": x, "y": y, "z": z}, "z", names=("saved-bytes",))
    values = graph.annotations["saved-bytes"].values
    assert sum(int(value) for value in values.values()) == held_bytes(graph) == 400
    assert values == {op(graph, "ExpBackward0"): 400}, "the op that made it, not the later ones"
    assert graph.provenance.vectors == (), "no backward pass was needed"


def test_only_few_values_are_written_out() -> None:
    x, y = torch.ones(8, requires_grad=True), torch.ones(9, requires_grad=True)
    graph = measure({"x": x, "y": y, "z": x.sum() + y.sum()}, "z", names=("gradient-values",))
    values = graph.annotations["gradient-values"].values
    assert leaf(graph, "x") in values and leaf(graph, "y") not in values
    one = measure({"x": x, "z": x.sum()}, "z", names=("gradient-values:most=1",))
    assert leaf(one, "x") not in one.annotations["gradient-values"].values


def test_merged_nodes_keep_the_edges_of_the_one_that_represents_them() -> None:
    x = torch.ones(2, requires_grad=True)
    graph = measure({"x": x, "z": (x * x).sum()}, "z")
    merged = quotient(graph, [1 if node == 0 else node for node in range(len(graph.nodes))])
    before, after = (g.annotations["gradient-values"].inputs for g in (graph, merged))
    assert after == {0: before[1]}


def start(*asked_for: str, shape: tuple[int, ...] = (2, 2), **plan: Any) -> tuple[str, str]:
    """The vector as it is told, and the gradient at a leaf of that shape."""
    x = torch.zeros(shape, requires_grad=True)
    graph = measure({"x": x, "z": x * 2}, "z", asked_for=asked_for, **plan)
    return graph.provenance.vectors[0].removeprefix("z: "), received(graph, leaf(graph, "x"))


def test_the_backward_pass_starts_where_the_user_says(tmp_path: Path) -> None:
    assert start() == ("ones", "[[2, 2], [2, 2]]")
    assert start("ones")[0] == "ones"
    assert start("sum") == ("ones (its sum)", "[[2, 2], [2, 2]]")
    assert start("mean") == ("1/4 each (its mean)", "[[0.5, 0.5], [0.5, 0.5]]")
    assert start("1,0.1,0,-1") == ("[[1, 0.1], [0, -1]]", "[[2, 0.2], [0, -2]]")
    assert start("z=5", shape=()) == ("5", "10")
    torch.save(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), tmp_path / "v.pt")
    assert start(str(tmp_path / "v.pt"))[1] == "[[2, 4], [6, 8]]"
    (tmp_path / "v.txt").write_text("1 2\n3 4\n")
    assert start(str(tmp_path / "v.txt"))[1] == "[[2, 4], [6, 8]]"


def test_a_long_vector_is_told_by_its_shape_and_norm() -> None:
    x = torch.zeros(3, 3, requires_grad=True)
    graph = measure({"x": x, "z": x * 2}, "z", asked_for=[",".join(["2"] * 9)])
    assert graph.provenance.vectors == ("z: given, 3×3, norm 6",)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("1,2,3", "3 numbers of shape"),
        ("q=1", "no root named 'q'"),
        ("nothing.pt", "no such file"),
        ("nonsense", "no such file"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        start(asked)


def test_a_file_without_a_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "v.pt")
    with pytest.raises(UsageError, match="holds a dict"):
        start(str(tmp_path / "v.pt"))
    (tmp_path / "w.pt").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"w\.pt"):
        start(str(tmp_path / "w.pt"))


PROGRAM = """\
import torch
x = torch.tensor([1.0, 2.0], requires_grad=True)
w = torch.tensor([5.0, 7.0], requires_grad=True)
w.grad = torch.tensor([1.0, 1.0])
y = w * x
{call}
print("after")
"""


@pytest.mark.parametrize(
    ("call", "vector", "gradient"),
    [
        ("y.backward(torch.tensor([1.0, 10.0]))", "y: [1, 10]", "[5, 70]"),
        ("torch.autograd.grad(y.sum(), inputs=[x])", "y.sum(): 1", "[5, 7]"),
        ("torch.autograd.grad([y], x, torch.tensor([3.0, 0.0]))", "y: [3, 0]", "[15, 0]"),
    ],
)
def test_a_programs_own_vector_is_what_its_backward_pass_starts_from(
    call: str, vector: str, gradient: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.py"
    file.write_text(PROGRAM.format(call=call))
    request = Request(probes=tuple(probes("gradient", "gradient-values")))
    graph = capture(parse_target(str(file)), request).graph
    assert graph.provenance.vectors[0].endswith(vector.partition(": ")[2])
    assert received(graph, leaf(graph, "x")) == gradient
    assert "after" not in capsys.readouterr().out, "the program is stopped all the same"


def test_asking_for_ones_overrides_the_programs_own_vector(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(PROGRAM.format(call="y.backward(torch.tensor([1.0, 10.0]))"))
    request = Request(probes=tuple(probes("gradient-values")), grad_outputs=("ones",))
    graph = capture(parse_target(str(file)), request).graph
    assert received(graph, leaf(graph, "x")) == "[5, 7]"


def test_every_probe_can_be_listed_without_torch() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from graphviz_cli.cli.list import listing; text = listing(['probes']); "
        "assert 'gradient' in text; print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout.split() == [b"False"]
    assert list(registry.BUILT_IN["probes"])


MODULES = """\
import time
import torch
class Slow(torch.nn.Linear):
    def forward(self, x):
        time.sleep(0.05)
        return super().forward(x)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.quick, self.slow = torch.nn.Linear(3, 3), torch.nn.Sequential(Slow(3, 3))
    def forward(self, x):
        with torch.no_grad():
            self.quick(x)
        time.sleep(0.02)
        return self.slow(self.quick(x)).relu()
model = Net()
model(torch.ones(1, 3)).sum().backward()
"""


def test_the_time_of_a_module_call_is_its_own_and_adds_up(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(MODULES)
    hooks = torch.nn.modules.module._global_forward_hooks
    before = len(hooks)
    graph = capture(parse_target(str(file)), Request(probes=tuple(probes("forward-time")))).graph
    assert len(hooks) == before
    times = graph.annotations["forward-time"]
    by_path: dict[str, float] = {}
    for node, seconds in times.values.items():
        path = graph.modules[graph.nodes.modules[node]].path
        by_path[path] = by_path.get(path, 0) + float(seconds)
    assert 0.05 <= by_path["model.slow.0"] < 0.2 and 0.02 <= by_path["model"] < 0.05
    assert by_path["model.quick"] < 0.02
    assert sum(by_path.values()) >= 0.07


def test_hooks_after_accumulation_are_found_and_data_is_told_from_none() -> None:
    from graphviz_cli.capture import private
    from graphviz_cli.capture.engine import fake_tensors, has_data

    x = torch.ones(2, requires_grad=True)
    assert private.post_accumulate_hooks(x) is None
    handle = x.register_post_accumulate_grad_hook(lambda tensor: None)
    assert len(private.post_accumulate_hooks(x) or ()) == 1
    handle.remove()
    with fake_tensors():
        fake = torch.ones(2)
    assert has_data(x) and not has_data(fake) and not has_data(torch.ones(2, device="meta"))
