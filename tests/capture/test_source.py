from __future__ import annotations

import linecache
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from graphviz_cli.capture.attribution import Attribution
from graphviz_cli.capture.callers import begin
from graphviz_cli.graph.model import SourceLocation
from tests.capture.observed import ObservedOp, explain, observe

w = torch.rand(3, 3, requires_grad=True)
b = torch.rand(3, requires_grad=True)


def names(program: Callable[[], Any]) -> dict[str, tuple[str, ...]]:
    """Variables by expression, of the ops that have any."""
    return {op.text or "": op.names for op in observe(program) if op.names}


def texts(program: Callable[[], Any]) -> list[str | None]:
    return [op.text for op in observe(program)]


def run(source: str, file: str = "<string>") -> list[ObservedOp]:
    """Run a program's text; `y` is what it computes."""
    space: dict[str, Any] = {"torch": torch, "w": w, "b": b}
    code = compile(textwrap.dedent(source), file, "exec")
    with Attribution() as attribution:
        begin(exec, code, space)
    return explain(attribution, space["y"])


def run_file(path: Path, source: str | bytes) -> list[ObservedOp]:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = textwrap.dedent(source).encode() if isinstance(source, str) else source
    path.write_bytes(text)
    linecache.checkcache()
    space: dict[str, Any] = {"torch": torch, "w": w, "b": b}
    with Attribution() as attribution:
        begin(exec, compile(text, str(path), "exec"), space)
    return explain(attribution, space["y"])


def run_python(*arguments: str) -> list[str]:
    """The words that a Python of its own prints; the last argument is the program."""
    *options, program = arguments
    return subprocess.run(
        [sys.executable, *options, textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout.split()


# The expression


def test_the_exact_expression_of_each_op_is_found() -> None:
    assert texts(lambda: (w @ w + b).relu()) == ["w @ w", "w @ w + b", "(w @ w + b).relu()"]


def test_lines_and_columns_count_from_one_and_in_characters(tmp_path: Path) -> None:
    (first, second) = run_file(tmp_path / "x.py", 'é = "日本", w.exp(); y = é[1].sin()\n')
    assert first.source == SourceLocation(
        file="x.py",
        line=1,
        column=11,
        end_line=1,
        end_column=18,
        function="<module>",
        text="w.exp()",
    )
    assert second.source is not None
    assert (second.source.column, second.source.end_column) == (24, 34)


def test_an_expression_over_several_lines_is_one_line_without_comments() -> None:
    def program() -> torch.Tensor:
        return (
            w.exp().sum(  # first ) this
                # then this
                dim=0,
            )
            + b
        )

    assert texts(program) == [
        "w.exp()",
        "w.exp().sum(dim=0,)",
        "w.exp().sum(dim=0,) + b",
    ]


def test_a_line_that_goes_on_behind_a_backslash_is_told_without_it() -> None:
    source = ["y = w \\\n", "    .exp() \\\n", "    + b\n"]
    linecache.cache["<continued>"] = (0, None, source, "<continued>")
    assert [op.text for op in run("".join(source), "<continued>")] == ["w.exp()", "w.exp() + b"]


def test_a_long_expression_is_cut() -> None:
    source = "y = torch.cat([" + ", ".join(["w"] * 100) + "])"
    linecache.cache["<long>"] = (len(source), None, [source], "<long>")
    (op,) = run(source, "<long>")
    assert op.text is not None
    assert len(op.text) == 120
    assert op.text.startswith("torch.cat([w, w") and op.text.endswith("…")


def test_a_module_of_torch_is_the_expression_that_calls_it() -> None:
    layers = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    assert set(texts(lambda: functional.softmax(layers(w), dim=-1))) == {
        "layers(w)",
        "functional.softmax(layers(w), dim=-1)",
    }


def test_reflected_operators_are_found() -> None:
    assert texts(lambda: 2 - w) == ["2 - w"]
    assert texts(lambda: 2**w) == ["2**w"]


def test_the_innermost_function_of_the_user_is_shown() -> None:
    def inner(x: torch.Tensor) -> torch.Tensor:
        return x.exp()

    (op,) = observe(lambda: inner(w))
    assert op.source is not None
    assert op.source.text == "x.exp()"
    assert op.source.function.endswith("<locals>.inner")


def test_an_assignment_to_a_part_is_shown_whole() -> None:
    def program() -> torch.Tensor:
        x = w * 1
        x[0] = b
        return x

    assert texts(program) == ["w * 1", "x[0] = b"]


# Where there is no source


def test_code_without_a_file_has_lines_but_no_text() -> None:
    (op,) = run("\ny = w.exp()\n")
    assert op.source == SourceLocation(
        file="<string>", line=2, column=5, end_line=2, end_column=12, function="<module>"
    )
    assert op.names == ()


def test_a_notebooks_cell_is_read_from_where_ipython_puts_it(tmp_path: Path) -> None:
    name = str(tmp_path / "ipykernel_4711" / "123456.py")
    source = "y = w.exp()\n"
    linecache.cache[name] = (len(source), None, [source], name)
    (op,) = run(source, name)
    assert op.source is not None
    assert (op.source.file, op.source.text, op.names) == ("123456.py", "w.exp()", ("y",))


def test_a_program_that_deletes_itself_still_has_its_text(tmp_path: Path) -> None:
    file = tmp_path / "gone.py"
    source = f"y = w.exp()\nimport os; os.remove({str(file)!r})\n"
    (op,) = run_file(file, source)
    assert not file.exists()
    assert (op.text, op.names) == ("w.exp()", ("y",))


def test_a_file_that_is_gone_before_it_runs_has_no_text(tmp_path: Path) -> None:
    (op,) = run("y = w.exp()", str(tmp_path / "missing.py"))
    assert op.source is not None
    assert (op.source.file, op.source.line, op.source.text) == ("missing.py", 1, "")


def test_a_file_that_changed_since_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "changed.py"
    file.write_text("(")
    linecache.checkcache()
    (op,) = run("\n\n\ny = w.exp()", str(file))
    assert op.source is not None
    assert (op.source.line, op.source.text, op.names) == (4, "", ())


def test_other_encodings_are_read(tmp_path: Path) -> None:
    source = '# -*- coding: latin-1 -*-\nname = "äö"; y = w.exp()\n'.encode("latin-1")
    (op,) = run_file(tmp_path / "latin.py", source)
    assert op.source is not None
    assert (op.text, op.source.column, op.names) == ("w.exp()", 18, ("y",))


def test_without_positions_in_the_bytecode_the_line_is_known(tmp_path: Path) -> None:
    program = """
        import torch
        from tests.capture.observed import observe
        w = torch.rand(3, requires_grad=True)
        (op,) = observe(lambda:
            w.exp())
        print(op.source.line, op.source.column, repr(op.text), op.names)
    """
    assert run_python("-X", "no_debug_ranges", "-c", program) == ["6", "None", "''", "()"]


# The name of the file


def test_files_are_named_relative_to_the_folder_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (op,) = run_file(tmp_path / "project" / "train.py", "import os; os.chdir('/'); y = w.exp()")
    assert op.source is not None and op.source.file == "project/train.py"


def test_relative_names_start_at_the_folder_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("y = w.exp()")
    (op,) = run("y = w.exp()", "train.py")
    assert op.source is not None
    assert (op.source.file, op.source.text) == ("train.py", "w.exp()")


def test_other_files_are_named_relative_to_where_they_are_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (op,) = run_file(tmp_path / "package" / "layers.py", "y = w.exp()")
    assert op.source is not None and op.source.file == "package/layers.py"


def test_installed_packages_are_named_alike_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".venv" / "lib" / "python3" / "site-packages" / "package"
    (op,) = run_file(folder / "layers.py", "y = w.exp()")
    assert op.source is not None and op.source.file == "package/layers.py"


def test_a_folder_that_was_deleted_is_no_error(tmp_path: Path) -> None:
    program = f"""
        import os, torch
        from tests.capture.observed import observe
        os.mkdir({str(tmp_path / "gone")!r}); os.chdir({str(tmp_path / "gone")!r})
        os.rmdir(os.getcwd())
        w = torch.rand(3, requires_grad=True)
        (op,) = observe(lambda: w.exp())
        print(op.source.file, op.source.line)
    """
    assert run_python("-c", program) == ["<string>", "7"]


# Variables


def test_the_op_that_gives_the_value_has_the_variables_name() -> None:
    def program() -> torch.Tensor:
        y = w @ w + b
        return y.relu()

    assert names(program) == {"w @ w + b": ("y",)}


def test_all_ways_to_bind_a_variable_are_known() -> None:
    class Holder:
        pass

    def program() -> tuple[torch.Tensor, ...]:
        holder = Holder()
        a = c = w.exp()
        d: torch.Tensor = w.sin()
        d += b
        if (e := w.cos()).sum() < 1000:
            pass
        f = w.tan() if e is not None else w.atan()
        holder.g = w.tanh()
        losses = {}
        losses["h"] = w.sigmoid()
        i, j = w.log(), w.sqrt()
        return a, c, d, e, f, holder.g, losses["h"], i, j

    assert names(program) == {
        "w.exp()": ("a", "c"),
        "w.sin()": ("d",),
        "d += b": ("d",),
        "w.cos()": ("e",),
        "w.tan()": ("f",),
        "w.tanh()": ("holder.g",),
        "w.sigmoid()": ("losses['h']",),
        "w.log()": ("i",),
        "w.sqrt()": ("j",),
    }


def test_the_outputs_of_one_op_have_their_variables_in_order() -> None:
    def program() -> tuple[torch.Tensor, ...]:
        low, middle, high = w.unbind()
        first, *others = w.split(1)
        largest, _ = w.max(1)
        ordered, order = w.sort()
        both = w.chunk(2)
        (u, s, v), t = torch.linalg.svd(w), w.exp()
        return low, middle, high, first, *others, largest, ordered, order.float(), *both, u, s, v, t

    assert names(lambda: tuple(t for t in program() if t.requires_grad)) == {
        "w.unbind()": ("low", "middle", "high"),
        "w.split(1)": ("first", "others"),
        "w.max(1)": ("largest",),
        "w.sort()": ("ordered",),
        "w.chunk(2)": ("both",),
        "torch.linalg.svd(w)": ("u", "s", "v"),
        "w.exp()": ("t",),
    }


def test_what_is_taken_apart_afterwards_is_no_value_of_the_op() -> None:
    def program() -> tuple[torch.Tensor, ...]:
        row, _, _ = w * 2
        part = (w * 3)[0]
        largest = w.max(1).values
        return row, part, largest

    assert names(program) == {"(w * 3)[0]": ("part",)}


def test_a_change_in_place_has_the_name_of_the_tensor() -> None:
    def program() -> torch.Tensor:
        x = w * 1
        x[0] = b
        x[1] += b
        return x

    assert names(program) == {"w * 1": ("x",), "x[0] = b": ("x",), "x[1] += b": ("x",)}


def test_a_view_that_is_changed_in_place_gives_its_name_to_no_other_op() -> None:
    def program() -> torch.Tensor:
        x = w * 1
        changed = x[0].mul_(2)
        return x + changed

    assert names(program) == {"w * 1": ("x",)}


def test_the_last_op_of_a_torch_module_has_the_variables_name() -> None:
    linear, layers = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def program() -> torch.Tensor:
        x = w.view(3, 1, 3)
        h = linear(x)
        h = layers(h)
        return functional.softmax(h, -1)

    ops = observe(program)
    assert [(op.op, op.names) for op in ops if op.names] == [
        ("ViewBackward0", ("x",)),
        ("ViewBackward0", ("h",)),
        ("ReluBackward0", ("h",)),
    ]


def test_a_loop_names_the_last_op_of_every_step() -> None:
    layer = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def program() -> torch.Tensor:
        h = w
        for _ in range(3):
            h = layer(h)
        return h

    ops = [op for op in observe(program) if op.names]
    assert [(op.op, op.names) for op in ops] == [("ReluBackward0", ("h",))] * 3


def test_a_returned_value_has_the_name_that_the_caller_gives_it() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scaled(x) + 1

        def scaled(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    model = Model()

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        error = x.abs()
        return error.sum()

    def program() -> torch.Tensor:
        out = model(w)
        loss = loss_of(out)
        return (loss,)

    assert names(program) == {
        "self.scaled(x) + 1": ("out",),
        "x.abs()": ("error",),
        "error.sum()": ("loss",),
    }


def test_a_module_that_gives_another_value_than_its_last_ops_names_none() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            self.penalty = y.abs().sum()
            return y

    class Detached(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 3).detach().requires_grad_()

    model, detached = Model(), Detached()

    def program() -> tuple[torch.Tensor, ...]:
        out = model(w)
        cut = detached(w)
        return out, model.penalty, cut * 1

    assert names(program) == {"x * 2": ("y",), "y.abs().sum()": ("self.penalty",)}


def test_a_hook_that_changes_a_modules_value_takes_its_name() -> None:
    linear = nn.Linear(3, 3)
    handle = linear.register_forward_hook(lambda module, args, value: value * 2)

    def program() -> torch.Tensor:
        out = linear(w)
        return (out,)

    try:
        assert names(program) == {}
    finally:
        handle.remove()


def test_jacobians_do_not_name_what_they_differentiate() -> None:
    def program() -> torch.Tensor:
        jacobian = torch.autograd.functional.jacobian(lambda x: x.exp(), b, create_graph=True)
        return jacobian.sum()

    assert "jacobian" not in {name for given in names(program).values() for name in given}


def test_packages_of_other_environments_are_no_code_of_the_users(tmp_path: Path) -> None:
    folder = tmp_path / ".local" / "lib" / "python3" / "site-packages"
    (folder / "helper.py").parent.mkdir(parents=True)
    (folder / "helper.py").write_text("def double(x):\n    return x * 2\n")
    space: dict[str, Any] = {}
    exec(compile((folder / "helper.py").read_text(), str(folder / "helper.py"), "exec"), space)
    (op,) = observe(lambda: space["double"](w))
    assert op.text == 'space["double"](w)'
