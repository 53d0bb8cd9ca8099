"""Every pattern of losing the gradient in a script: its kind, op, file and line, and `.grad`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.graph.model import Graph, NodeKind
from graphviz_cli.graph.verdict import CUT_OP, Status, verdicts

BEGIN = """
import copy
import numpy as np
import torch
from torch import nn

v = torch.tensor([1.5, 2.5, 3.5], requires_grad=True)
w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
"""
END = """
loss = (w * z).sum()
loss.backward()
"""

JOINED = {
    "detach": """
z = (v * 2).detach()  # cut: detach, detach
""",
    "detach_in_place": """
z = v * 2
z.detach_()  # cut: detach, detach_
""",
    "no_grad": """
with torch.no_grad():
    z = v * 2  # cut: no_grad, mul
""",
    "no_grad_decorator": """
@torch.no_grad()
def twice(t):
    return t * 2  # cut: no_grad, mul

z = twice(v)
""",
    "set_grad_enabled": """
with torch.set_grad_enabled(False):
    z = v.exp()  # cut: set_grad_enabled, exp
""",
    "set_grad_enabled_as_a_call": """
torch.set_grad_enabled(False)
z = v.exp()  # cut: set_grad_enabled, exp
torch.set_grad_enabled(True)
""",
    "inference_mode": """
with torch.inference_mode():
    y = v.exp()  # cut: inference_mode, exp
z = y.clone()
""",
    "data_read": """
z = (v * 2).data  # cut: .data, data
""",
    "data_write": """
z = torch.zeros(3)
z.data = v * 2  # cut: .data, data
""",
    "argmax": """
z = w[v.argmax()]  # cut: integer output, argmax
""",
    "comparison": """
z = torch.where(v > 2, 1.0, 2.0)  # cut: integer output, gt
""",
    "long": """
z = v.long()  # cut: integer output, long
""",
    "indices_of_topk": """
_, i = v.exp().topk(2)  # cut: integer output, topk
z = w[i].sum()
""",
    "tensor_of_a_tensor": """
z = torch.tensor(v * 2)  # cut: torch.tensor, tensor
""",
    "copy_": """
z = torch.zeros(3)
with torch.no_grad():
    z.copy_(v * 2)  # cut: no_grad, mul
""",
    "copy_of_a_value_with_a_history": """
y, z = v * 2, torch.zeros(3)
with torch.no_grad():
    z.copy_(y)  # cut: copy_, copy_
""",
    "fill_": """
y, z = v.sum(), torch.zeros(3)
with torch.no_grad():
    z.fill_(y)  # cut: no_grad, fill_
""",
    "write_of_a_parameter": """
p = nn.Parameter(torch.ones(3))
z = torch.zeros(3)
with torch.no_grad():
    z[:] = p * v  # cut: no_grad, mul
""",
    "deepcopy": """
z = copy.deepcopy(v)  # cut: deepcopy, __deepcopy__
""",
    "a_new_leaf": """
z = (v * 2).detach().requires_grad_()  # cut: detach, detach
""",
    "a_new_parameter": """
z = nn.Parameter(v * 2)  # cut: new leaf, Parameter
""",
    "mark_non_differentiable": """
class Rest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        rest = t.exp()
        ctx.mark_non_differentiable(rest)
        return t * 2, rest

    @staticmethod
    def backward(ctx, grad, _):
        return grad * 2

_, z = Rest.apply(v)  # cut: mark_non_differentiable, Rest
""",
    "without_a_derivative": """
z = torch.histc(v, 3)  # cut: non-differentiable, histc
""",
    "once_differentiable": """
from torch.autograd.function import once_differentiable

class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t):
        ctx.save_for_backward(t)
        return t**3

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (t,) = ctx.saved_tensors
        return grad * 3 * t**2

y = Cube.apply(v).sum()
(z,) = torch.autograd.grad(y, v, create_graph=True)  # cut: once_differentiable, grad
""",
}
"""The value that has lost its gradient goes into the loss as a tensor."""

ESCAPED = {
    "item": """
z = (v * 2).sum().item()  # cut: item, item
""",
    "item_within_a_list": """
z = torch.tensor([part.item() for part in v])  # cut: item, item
""",
    "tolist": """
z = torch.tensor((v * 2).tolist())  # cut: tolist, tolist
""",
    "numpy": """
y = (v * 2).detach()  # cut: detach, detach
z = torch.from_numpy(y.numpy())  # cut: numpy, numpy
""",
    "numpy_by_force": """
z = torch.from_numpy((v * 2).numpy(force=True))  # cut: numpy, numpy
""",
    "array": """
y = (v * 2).detach()  # cut: detach, detach
z = torch.from_numpy(np.asarray(y))  # cut: numpy, __array__
""",
    "float": """
z = float((v * 2).sum())  # cut: float(), __float__
""",
    "int": """
z = int((v * 2).sum())  # cut: int(), __int__
""",
    "complex": """
z = complex((v * 2).sum()).real  # cut: complex(), __complex__
""",
    "bool": """
z = 1.0 if bool(v.sum()) else 2.0  # cut: bool(), __bool__
""",
    "a_branch": """
z, total = 1.0, v.sum()
if total > 3:  # cut: integer output, gt; bool(), __bool__
    z = 2.0
""",
    "an_index": """
z = [4.0, 5.0, 6.0][v.argmax()]  # cut: integer output, argmax; int(), __index__
""",
    "dlpack": """
y = (v * 2).detach()  # cut: detach, detach
z = torch.from_dlpack(y)  # cut: dlpack, __dlpack__
""",
}
"""The value leaves torch, and comes back, if it does, as another one."""


def marked(text: str) -> Iterator[tuple[str, str, str]]:
    """The kind, the op and the place of each cut that the comments of a script tell of."""
    for number, line in enumerate(text.splitlines(), 1):
        told = re.search(r"# cut: (.*)", line)
        for cut in told[1].split("; ") if told else ():
            kind, op = cut.split(", ")
            yield kind, op, f"script.py:{number}"


def found(graph: Graph) -> Iterator[tuple[str, str, str]]:
    for cut in graph.nodes.ids(NodeKind.CUT):
        source = graph.nodes[cut].source
        assert source is not None
        op = str(graph.annotations[CUT_OP].values[cut])
        yield graph.nodes.names[cut], op, f"{source.file}:{source.line}"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def captured(text: str) -> tuple[Graph, dict[str, Any]]:
        (tmp_path / "script.py").write_text(text, encoding="utf-8")
        step = 1 + text.count("torch.autograd.grad(")
        graph = capture(parse_target("script.py"), Request(step=step)).graph
        variables: dict[str, Any] = {}
        exec(compile(text, "script.py", "exec"), variables)
        return graph, variables

    return captured


@pytest.mark.filterwarnings("ignore:To copy construct", "ignore:Converting a tensor")
@pytest.mark.parametrize("pattern", [*JOINED, *ESCAPED])
def test_a_pattern_is_told_with_its_kind_its_op_and_its_line(run, pattern):
    text = BEGIN + (JOINED | ESCAPED)[pattern] + END
    graph, variables = run(text)
    assert list(found(graph)) == list(marked(text))
    of = {graph.nodes[leaf].label: verdict for leaf, verdict in verdicts(graph).items()}
    assert of["v"].status is Status.CUT and variables["v"].grad is None
    assert of["v"].is_severed == (pattern in JOINED)
    assert bool(of["v"].reason) == (pattern in ESCAPED)
    # A cut leaf may itself be what the loss is computed from.
    for name, verdict in of.items():
        assert (variables[name].grad is not None) == (verdict.status is Status.REACHED), name
