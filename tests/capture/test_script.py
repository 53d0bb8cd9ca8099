"""Programs run as Python would run them, and are stopped where their graph is taken."""

from __future__ import annotations

import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from graphviz_cli.errors import NoGraphError, TargetError

from .targets import captured, captured_apart, leaves, ops, roots, write

TRAINING = """
    import torch
    from torch import nn

    def main():
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(5):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 4)).pow(2).mean()
            loss.backward()
            optimizer.step()
            with open("log", "a") as log:
                log.write(f"{epoch}\\n")

    if __name__ == "__main__":
        main()
"""


def told_by(failure: TargetError | None) -> str:
    assert failure is not None and failure.__cause__ is not None
    return "".join(traceback.format_exception(failure.__cause__))


def test_a_training_script_is_stopped_at_its_first_backward_call(tmp_path: Path) -> None:
    write(tmp_path, "train.py", TRAINING)
    done = captured(tmp_path, "train.py")
    assert done.failure is None
    assert done.graph.provenance.step == 1
    assert roots(done.graph) == {"loss": "MeanBackward0"}
    assert leaves(done.graph) == {f"model.{n}.{p}" for n in (0, 2) for p in ("weight", "bias")}
    assert not (tmp_path / "log").exists()


def test_a_later_step_is_taken_after_the_earlier_ones_have_run(tmp_path: Path) -> None:
    write(tmp_path, "train.py", TRAINING)
    done = captured(tmp_path, "train.py", step=3)
    assert (done.failure, done.graph.provenance.step) == (None, 3)
    assert (tmp_path / "log").read_text() == "0\n1\n"


def test_a_step_that_never_comes_is_told_with_how_many_there_were(tmp_path: Path) -> None:
    write(tmp_path, "train.py", TRAINING)
    with pytest.raises(
        NoGraphError, match="only 5 backward calls, so there is no step 6"
    ) as raised:
        captured(tmp_path, "train.py", step=6)
    assert raised.value.hint == "--step 5 takes the last."
    write(tmp_path, "forward.py", "import torch\ny = torch.ones(1, requires_grad=True) * 2\n")
    with pytest.raises(NoGraphError, match="no backward call"):
        captured(tmp_path, "forward.py", step=1)


def test_nothing_has_been_freed_when_the_graph_is_taken(tmp_path: Path) -> None:
    write(
        tmp_path,
        "twice.py",
        """
        import torch
        w = torch.ones(3, requires_grad=True)
        for _ in range(2):
            loss = (w * w).sum()
            loss.backward()
        """,
    )
    for step in (1, 2):
        saved = captured(tmp_path, "twice.py", step=step).graph.nodes.saved
        assert list(map(str, saved.states)) == ["held", "held"]


@pytest.mark.parametrize(
    "call",
    [
        "loss.backward()",
        "torch.autograd.backward(loss)",
        "torch.autograd.backward([loss])",
        "torch.autograd.grad(loss, w)",
        "torch.autograd.grad(outputs=(loss,), inputs=[w])",
        "from torch.autograd import grad; grad(loss, [w])",
        "scaled = loss * 3; torch.amp.GradScaler('cpu', enabled=False).scale(loss).backward()",
        "edge = torch.autograd.graph.get_gradient_edge(loss); torch.autograd.backward(edge)",
    ],
)
def test_every_way_into_the_engine_is_seen(tmp_path: Path, call: str) -> None:
    write(
        tmp_path,
        "train.py",
        f"import torch\nw = torch.ones(3, requires_grad=True)\nloss = (w * 2).sum()\n{call}\n",
    )
    graph = captured(tmp_path, "train.py").graph
    assert ops(graph) == ["MulBackward0", "SumBackward0"]
    assert graph.provenance.step == 1
    assert graph.provenance.device == "cpu"
    if "edge" not in call:
        assert list(roots(graph)) == ["loss"]


@pytest.mark.parametrize(
    ("call", "names"),
    [
        ("(w * 2).sum().backward()", ["(w * 2).sum()"]),
        ("state['loss'].backward()", ["state['loss']"]),
        ("torch.autograd.backward([a, b])", ["a", "b"]),
        ("torch.autograd.backward([a, a, a.detach()], [None, None, None])", ["a"]),
        ("torch.autograd.grad(\n    [a, w.prod()],\n    w\n)", ["a", "w.prod()"]),
        ("helper(a * 1)", ["x"]),
        ("(" + " + ".join(["a"] * 30) + ").backward()", [("a + " * 10)[:39] + "…"]),
    ],
)
def test_roots_are_called_as_the_program_calls_them(
    tmp_path: Path, call: str, names: list[str]
) -> None:
    write(
        tmp_path,
        "train.py",
        "import torch\n"
        "def helper(x):\n    x.backward()\n"
        "w = torch.ones(3, requires_grad=True)\n"
        "a, b, state = w.sum(), w.prod(), {'loss': w.max()}\n" + call + "\n",
    )
    assert list(roots(captured(tmp_path, "train.py").graph)) == names


def test_calls_within_a_backward_pass_or_a_transform_do_not_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import torch
        from torch.utils.checkpoint import checkpoint
        w = torch.ones(3, requires_grad=True)
        torch.func.grad(lambda x: (x * x).sum())(torch.ones(3))
        for name in ("first", "second"):
            h = checkpoint(lambda x: x.sin(), w, use_reentrant=True)
            loss = h.exp().sum() if name == "first" else h.cos().sum()
            loss.backward()
        """,
    )
    assert "ExpBackward0" in ops(captured(tmp_path, "train.py").graph)
    assert "CosBackward0" in ops(captured(tmp_path, "train.py", step=2).graph)


@pytest.mark.parametrize("handler", ["except Exception:", "except BaseException:", "except:"])
@pytest.mark.parametrize("line", ["\n                ", " "], ids=["own line", "same line"])
def test_a_program_that_catches_everything_is_stopped_all_the_same(
    tmp_path: Path, handler: str, line: str
) -> None:
    write(
        tmp_path,
        "train.py",
        f"""
        import torch
        w = torch.ones(3, requires_grad=True)
        rounds = 0
        while True:
            rounds += 1
            assert rounds < 4, "it goes on"
            try:{line}(w * 2).sum().backward()
            {handler}{line}pass
        """,
    )
    done = captured(tmp_path, "train.py")
    assert (done.failure, ops(done.graph)) == (None, ["MulBackward0", "SumBackward0"])
    assert sys.gettrace() is None


def test_the_clean_up_of_a_stopped_program_runs(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import contextlib, torch
        @contextlib.contextmanager
        def scratch():
            try:
                yield
            finally:
                steps = ["one"]
                steps.append("two")
                open("cleaned", "w").write(" ".join(steps))
        w = torch.ones(3, requires_grad=True)
        with scratch():
            try:
                w.sum().backward()
            finally:
                rest = "finally"
                open("finally", "w").write(rest)
        """,
    )
    assert captured(tmp_path, "train.py").failure is None
    assert (tmp_path / "cleaned").read_text() == "one two"
    assert (tmp_path / "finally").read_text() == "finally"
    assert sys.exception() is None


def test_a_program_finds_itself_as_python_would_have_it(tmp_path: Path) -> None:
    write(tmp_path, "deep/beside.py", "value = 1")
    write(
        tmp_path,
        "deep/look.py",
        """
        '''A docstring.'''
        import json, sys, beside
        main = sys.modules["__main__"]
        seen = [sys.argv, sys.path[0], __file__, __name__, __doc__, __package__, str(__spec__),
                main.__dict__ is globals(), type(__loader__).__name__, __builtins__.__name__,
                beside.value, sorted(k for k in globals() if k.startswith("__"))]
        json.dump(seen, open(sys.argv[1], "w"))
        """,
    )
    script, path = "deep/look.py", tmp_path
    subprocess.run([sys.executable, script, "python.json", "--x"], cwd=path, check=True)
    with pytest.raises(NoGraphError):
        captured(path, script, script_args=("ours.json", "--x"))
    ours, python = ((path / name).read_text() for name in ("ours.json", "python.json"))
    assert ours.replace("ours.json", "python.json") == python


def test_a_module_is_run_as_python_dash_m_would(tmp_path: Path) -> None:
    look = """
        import json, sys
        from . import value
        json.dump([sys.argv, sys.path[0], __file__, __name__, __package__, __spec__.name,
                   __spec__.origin, sys.modules["__main__"].__dict__ is globals()],
                  open(sys.argv[1], "w"))
    """
    write(tmp_path, "runme/__init__.py", "value = 1")
    write(tmp_path, "runme/__main__.py", look)
    write(tmp_path, "runme/part.py", look)
    for target in ("runme", "runme.part"):
        subprocess.run([sys.executable, "-m", target, "python.json"], cwd=tmp_path, check=True)
        with pytest.raises(NoGraphError):
            captured(tmp_path, target, script_args=("ours.json",))
        ours, python = ((tmp_path / name).read_text() for name in ("ours.json", "python.json"))
        assert ours.replace("ours.json", "python.json") == python


@pytest.mark.parametrize(
    "source",
    [
        "# -*- coding: latin-1 -*-\nimport torch\ncaf\xe9 = torch.ones(1, requires_grad=True) * 2\n"
        "assert len('\xe9') == 1\n".encode("latin-1"),
        "import torch\ncafé = torch.ones(1, requires_grad=True) * 2\n".encode(),
        "import torch\r\ncafé = torch.ones(1, requires_grad=True) * 2\r\n".encode("utf-8-sig"),
    ],
    ids=["latin-1", "utf-8", "utf-8 with a mark and DOS lines"],
)
def test_a_program_is_read_in_the_encoding_that_it_declares(tmp_path: Path, source: bytes) -> None:
    write(tmp_path, "cafe.py", source.replace(b"assert", b"\nassert"))
    assert list(roots(captured(tmp_path, "cafe.py").graph)) == ["café"]


def test_a_program_may_change_the_folder_and_delete_itself(tmp_path: Path) -> None:
    write(
        tmp_path,
        "gone.py",
        """
        import os, tempfile, torch
        os.remove(__file__)
        os.chdir(tempfile.gettempdir())
        w = torch.ones(3, requires_grad=True)
        loss = (w * 2).sum()
        (loss + 1).backward()
        """,
    )
    before = Path.cwd()
    graph = captured(tmp_path, "gone.py").graph
    assert list(roots(graph)) == ["loss + 1"]
    assert graph.nodes[0].source is not None and graph.nodes[0].source.text == "loss + 1"
    assert Path.cwd() == before


def test_an_exception_is_shown_without_our_frames(tmp_path: Path) -> None:
    write(
        tmp_path,
        "fails.py",
        """
        import torch
        from torch import nn

        def forward(model, x):
            return model(x)

        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(9, 1))
        try:
            forward(model, torch.ones(2, 4))
        except RuntimeError as error:
            raise ValueError("wrapped") from error
        """,
    )
    done = captured(tmp_path, "fails.py")
    assert done.failure is not None
    assert done.failure.message == "fails.py raised ValueError."
    shown = told_by(done.failure)
    assert "graphviz_cli" not in shown
    assert "overrides.py" not in shown
    python = subprocess.run(
        [sys.executable, "fails.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    # Where there are hooks on modules, torch calls the forward through one function more.
    where = re.compile(r'File "(?!.*nn/modules/module.py)(.*", line .*, in .*)')
    assert where.findall(shown) == where.findall(python.stderr)
    assert done.graph.provenance.partial
    assert ops(done.graph) == ["TBackward0", "AddmmBackward0"]


def test_the_graph_until_a_failure_is_kept_with_the_names_of_the_failing_function(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        "fails.py",
        """
        import torch
        def step(w):
            hidden = (w * 2).exp()
            hidden.backward()
        step(torch.ones(3, requires_grad=True))
        """,
    )
    done = captured(tmp_path, "fails.py")
    assert "only for scalar outputs" in told_by(done.failure)
    assert roots(done.graph) == {"hidden": "ExpBackward0"}
    assert (done.graph.provenance.step, done.graph.provenance.partial) == (None, True)
    # A name that the program never came to is no reason to show nothing.
    assert roots(captured(tmp_path, "fails.py", root="loss").graph) == {"hidden": "ExpBackward0"}


def test_a_second_backward_call_shows_what_torch_says_and_the_graph(tmp_path: Path) -> None:
    write(
        tmp_path,
        "second.py",
        """
        import torch
        w = torch.ones(3, requires_grad=True)
        loss = (w * w).sum()
        loss.backward()
        loss.backward()
        """,
    )
    assert captured(tmp_path, "second.py").failure is None
    done = captured(tmp_path, "second.py", step=2)
    assert "backward through the graph a second time" in told_by(done.failure)
    assert roots(done.graph) == {"loss": "SumBackward0"}
    assert "freed" in map(str, done.graph.nodes.saved.states)


def test_a_failure_without_any_tensor_is_raised(tmp_path: Path) -> None:
    write(tmp_path, "fails.py", "import nosuchmodule\n")
    with pytest.raises(TargetError, match=r"fails.py raised ModuleNotFoundError") as raised:
        captured(tmp_path, "fails.py")
    assert "line 1" in told_by(raised.value)


@pytest.mark.parametrize("end", ["sys.exit()", "sys.exit(0)", "raise SystemExit"])
def test_leaving_with_status_zero_is_a_normal_end(tmp_path: Path, end: str) -> None:
    source = f"import sys, torch\ny = torch.ones(1, requires_grad=True) * 2\n{end}\n"
    write(tmp_path, "leaves.py", source)
    done = captured(tmp_path, "leaves.py")
    assert (done.failure, done.graph.provenance.partial) == (None, False)


@pytest.mark.parametrize(
    ("end", "message"),
    [("sys.exit(3)", "sys.exit(3)"), ("sys.exit('no data')", "no data")],
)
def test_leaving_with_another_status_is_a_failure(tmp_path: Path, end: str, message: str) -> None:
    source = f"import sys, torch\ny = torch.ones(1, requires_grad=True) * 2\n{end}\n"
    write(tmp_path, "leaves.py", source)
    done = captured(tmp_path, "leaves.py")
    assert done.failure is not None and done.failure.__cause__ is None
    assert message in done.failure.message
    assert done.graph.provenance.partial


def test_ctrl_c_is_passed_on(tmp_path: Path) -> None:
    write(tmp_path, "slow.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        captured(tmp_path, "slow.py")


def test_a_program_may_recurse_as_deep_as_in_python(tmp_path: Path) -> None:
    write(
        tmp_path,
        "deep.py",
        """
        import torch
        def down(n, x):
            return x if n == 0 else down(n - 1, x)
        y = down(990, torch.ones(1, requires_grad=True)) * 2
        """,
    )
    subprocess.run([sys.executable, "deep.py"], cwd=tmp_path, check=True)
    assert ops(captured(tmp_path, "deep.py").graph) == ["MulBackward0"]
    write(tmp_path, "endless.py", "def f(): f()\nf()\n")
    with pytest.raises(TargetError, match="RecursionError"):
        captured(tmp_path, "endless.py")


def test_a_backward_call_in_a_thread_is_taken_quietly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path,
        "threads.py",
        """
        import threading, torch
        def work():
            w = torch.ones(3, requires_grad=True)
            loss = (w * 3).sum()
            loss.backward()
        thread = threading.Thread(target=work)
        thread.start()
        """,
    )
    done = captured(tmp_path, "threads.py")
    assert roots(done.graph) == {"loss": "SumBackward0"}
    assert leaves(done.graph) == {"w"}
    assert capsys.readouterr().err == ""


def test_a_forked_child_goes_its_own_way(tmp_path: Path) -> None:
    write(
        tmp_path,
        "forks.py",
        """
        import os, torch
        w = torch.ones(3, requires_grad=True)
        child = os.fork()
        if child == 0:
            (w * 5).sum().backward()
            print("child", w.grad.tolist())
        else:
            os.waitpid(child, 0)
            loss = (w * 7).exp().sum()
            loss.backward()
        print("the end")
        """,
    )
    told, printed = captured_apart(tmp_path, "forks.py")
    assert told["roots"] == ["loss"]
    assert "child [5.0, 5.0, 5.0]" in printed
    assert printed.count("the end") == 1


def test_a_forked_child_that_fails_says_so_and_ends(tmp_path: Path) -> None:
    write(
        tmp_path,
        "forks.py",
        """
        import os, torch
        child = os.fork()
        if child == 0:
            raise ValueError("in the child")
        status = os.waitpid(child, 0)[1]
        w = torch.ones(3, requires_grad=True)
        loss = w.sum() * os.waitstatus_to_exitcode(status)
        """,
    )
    told, printed = captured_apart(tmp_path, "forks.py")
    assert (told["roots"], told["failure"]) == (["loss"], None)
    assert "ValueError: in the child" in printed
    assert "graphviz_cli" not in printed.split("TOLD")[0]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_workers_of_a_data_loader_find_the_program(tmp_path: Path, method: str) -> None:
    write(
        tmp_path,
        "loads.py",
        """
        import sys, torch
        from torch.utils.data import DataLoader, Dataset

        class Numbers(Dataset):
            def __len__(self):
                return 8
            def __getitem__(self, index):
                return torch.full((3,), float(index))

        if __name__ == "__main__":
            model = torch.nn.Linear(3, 1)
            loader = DataLoader(Numbers(), 4, num_workers=1, multiprocessing_context=sys.argv[1])
            for batch in loader:
                loss = model(batch).mean()
                loss.backward()
        """,
    )
    told, printed = captured_apart(tmp_path, "loads.py", script_args=[method])
    assert (told["roots"], told["failure"]) == (["loss"], None)
    assert "Traceback" not in printed


def test_a_compiled_model_is_seen_op_by_op(tmp_path: Path) -> None:
    write(
        tmp_path,
        "compiled.py",
        """
        import torch
        model = torch.nn.Linear(3, 3)
        compiled = torch.compile(model)
        @torch.compile
        def activation(x):
            return (x * 2).sin()
        loss = activation(compiled(torch.ones(2, 3))).sum()
        loss.backward()
        """,
    )
    done = captured(tmp_path, "compiled.py")
    assert ops(done.graph)[-3:] == ["MulBackward0", "SinBackward0", "SumBackward0"]
    assert leaves(done.graph) == {"model.weight", "model.bias"}
    assert {call.path for call in done.graph.modules} == {"model"}
    assert any("torch.compile" in note for note in done.graph.provenance.notes)


def test_the_streams_of_the_program_do_not_outlive_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "closes.py",
        """
        import io, sys, torch
        sys.stdout = io.StringIO()
        sys.stderr = None
        y = torch.ones(1, requires_grad=True) * 2
        """,
    )
    streams = sys.stdout, sys.stderr
    captured(tmp_path, "closes.py")
    assert (sys.stdout, sys.stderr) == streams
