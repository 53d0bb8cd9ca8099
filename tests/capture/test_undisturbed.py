"""The observer does not disturb: what a program computes is the same with and without it."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules import module as torch_module

from graphviz_cli.errors import GraphvizCliError

from .targets import captured, write

TRAINING = """
    import random, numpy, torch
    from torch import nn
    from torch.utils.checkpoint import checkpoint
    torch.manual_seed(7), random.seed(7), numpy.random.seed(7)

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2
        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2

    class Net(nn.Module):
        calls = 0
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout())
            self.second = nn.LSTM(8, 8, batch_first=True)
            self.last = nn.Linear(8, 2)
        def forward(self, x):
            Net.calls += 1
            h = checkpoint(self.first, x, use_reentrant=False)
            h, _ = self.second(h[:, None])
            h = checkpoint(torch.tanh, h, use_reentrant=True)
            return Double.apply(self.last(h[:, 0]))

    packed = []
    def pack(tensor):
        packed.append("pack")
        return tensor
    def unpack(tensor):
        packed.append("unpack")
        return tensor

    net = Net()
    fired = []
    net.last.register_forward_hook(lambda *_: fired.append("forward"))
    net.last.register_full_backward_hook(lambda *_: fired.append("backward"))
    optimizer = torch.optim.Adam(net.parameters())
    seen = []
    for step in range(4):
        x = torch.randn(4, 6)
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            loss = net(x).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append({
            "loss": loss.detach(), "gradients": [p.grad.clone() for p in net.parameters()],
            "state": {name: t.clone() for name, t in net.state_dict().items()},
            "torch": torch.get_rng_state(), "python": random.random(), "numpy": numpy.random.rand(),
            "calls": Net.calls, "training": net.training,
            "packed": len(packed), "unpacked": packed.count("unpack"), "fired": list(fired),
            "grad mode": torch.is_grad_enabled(),
        })
        torch.save(seen, FILE)
"""


def assert_equal(one: Any, other: Any) -> None:
    """Equal bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


def test_training_under_observation_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    for name in ("plain", "observed"):
        write(tmp_path, f"{name}.py", TRAINING.replace("FILE", repr(str(tmp_path / name))))
    runpy.run_path(str(tmp_path / "plain.py"), run_name="__main__")
    done = captured(tmp_path, "observed.py", step=4)
    assert done.failure is None
    plain = torch.load(tmp_path / "plain", weights_only=True)
    observed = torch.load(tmp_path / "observed", weights_only=True)
    assert (len(plain), len(observed)) == (4, 3)
    assert_equal(plain[:3], observed)


def state_of_the_process() -> dict[str, Any]:
    return {
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "module hooks": [
            list(hooks.values())
            for hooks in (
                torch_module._global_forward_hooks,
                torch_module._global_forward_pre_hooks,
                torch_module._global_backward_hooks,
                torch_module._global_backward_pre_hooks,
                torch_module._global_forward_hooks_always_called,
            )
        ],
        "engine": (
            torch.autograd._engine_run_backward,
            torch.autograd.graph._engine_run_backward,
        ),
        "apply": vars(torch.autograd.Function)["apply"],
        "compile": torch.compile,
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "default": (torch.get_default_device(), torch.get_default_dtype()),
        "main": sys.modules["__main__"],
        "argv": (sys.argv, list(sys.argv)),
        "path": list(sys.path),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "trace": (sys.gettrace(), sys.getprofile()),
        "limit": sys.getrecursionlimit(),
        "folder": os.getcwd(),  # noqa: PTH109
        "threads": (
            threading.excepthook,
            threading.active_count(),
            vars(threading.Thread)["_bootstrap_inner"],
            vars(threading.Condition)["notify"],
        ),
        "warnings": [str(entry) for entry in warnings.filters],
        "exception": sys.exception(),
        "anomaly": torch.is_anomaly_enabled(),
    }


ENDS = {
    "a normal end": ("y = w * 2", {}),
    "a stop": ("(w * 2).sum().backward()", {}),
    "a later stop": ("for _ in range(3): (w * 2).sum().backward()", {"step": 2}),
    "a swallowed stop": ("for _ in range(9):\n    try: w.sum().backward()\n    except: pass", {}),
    "a stop in a mode": ("with torch.no_grad(), torch.device('meta'): w.sum().backward()", {}),
    "an exception": ("y = w * 2\nraise ValueError", {}),
    "an exception in a module": ("y = torch.nn.Linear(2, 2)(w)", {}),
    "leaving": ("y = w * 2\nimport sys; sys.exit(3)", {}),
    "no graph": ("y = 3", {}),
    "no such step": ("y = w * 2", {"step": 5}),
    "no such root": ("y = w * 2", {"root": "z"}),
    "compiled": ("f = torch.compile(lambda x: x * 2)\nf(w).sum().backward()", {}),
    "no Python": ("y = = 3", {}),
    "a changed folder": ("import os; os.chdir('/'); y = w * 2", {}),
    "changed streams": ("import sys; sys.stdout = sys.stderr = None; y = w * 2", {}),
    "a changed mode": ("y = w * 2; torch.set_grad_enabled(False)", {}),
    "a changed path": ("import sys; sys.path.insert(0, 'x'); sys.argv = []; y = w * 2", {}),
    "a changed limit": ("import sys; sys.setrecursionlimit(5000); y = w * 2", {}),
}


@pytest.mark.parametrize("target", ["program", "program:w", "program:call"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_behind(tmp_path: Path, end: str, target: str) -> None:
    body, options = ENDS[end]
    source = "import torch\nw = torch.ones(3, requires_grad=True)\n"
    if target == "program:call":
        body = "def call():\n    " + body.replace("\n", "\n    ")
    write(tmp_path, "program.py", source + body + "\n")
    before = state_of_the_process()
    with contextlib.suppress(GraphvizCliError):
        captured(tmp_path, target.replace("program", "program.py"), **options)
    assert state_of_the_process() == before


def test_nothing_is_left_behind_by_ctrl_c(tmp_path: Path) -> None:
    write(tmp_path, "slow.py", "import torch\nw = torch.ones(3)\nraise KeyboardInterrupt\n")
    before = state_of_the_process()
    with pytest.raises(KeyboardInterrupt):
        captured(tmp_path, "slow.py")
    assert state_of_the_process() == before


NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
            self.frozen = nn.Linear(4, 4).requires_grad_(False).eval()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return self.frozen(self.body(x))

    net = Net()
"""


@pytest.mark.parametrize("inputs", [("2x4",), ()], ids=["given", "guessed"])
def test_the_forward_of_a_module_runs_once_and_changes_what_it_would(
    tmp_path: Path, inputs: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"undisturbed_{len(inputs)}"
    write(tmp_path, f"{name}.py", NET)
    monkeypatch.chdir(tmp_path)
    captured(tmp_path, f"{name}:net", inputs=inputs, device="cpu")
    net = sys.modules.pop(name).net
    after = torch.get_rng_state()
    assert net.calls == 1
    assert net.body[1].num_batches_tracked == 1
    assert [module.training for module in net.modules()] == [True, True, True, True, True, False]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == [True] * 4 + [False] * 2
    assert not net.body[0]._forward_hooks and not net._forward_pre_hooks
    # The same by hand: seed, make the module, run it.
    torch.manual_seed(0)
    other = runpy.run_path(str(tmp_path / f"{name}.py"))["net"]
    other(torch.ones(2, 4))
    assert torch.equal(torch.get_rng_state(), after)
    assert_equal([p.detach() for p in net.parameters()], [p.detach() for p in other.parameters()])


def test_no_more_graphs_are_kept_alive_than_one_for_each_place(tmp_path: Path) -> None:
    write(
        tmp_path,
        "evaluate.py",
        """
        import gc, weakref, torch
        w = torch.ones(3, requires_grad=True)
        alive, most = [], 0
        def evaluate():
            global most
            for _ in range(20):
                hidden = w * 2
                alive.append(weakref.ref(hidden))
                result = hidden.exp()
                most = max(most, sum(reference() is not None for reference in alive))
                del hidden
        evaluate()
        assert most == 1, most
        """,
    )
    assert captured(tmp_path, "evaluate.py").failure is None
