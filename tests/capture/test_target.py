"""Reading a target, importing what it names, and what is said of a target that is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graphviz_cli.capture import Target, parse_target
from graphviz_cli.errors import NoGraphError, TargetError, UsageError

from .targets import captured, leaves, roots, write

NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, width=3, name="net"):
            super().__init__()
            self.first = nn.Linear(4, width)
            self.name = name

        def forward(self, x):
            return self.first(x)

    net = Net()
    nets = {"small": Net(2), "deep": [Net(5)]}
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()

    def build(width: int, *, bias=True):
        return nn.Linear(4, width, bias=bias)

    def compute(x, scale=1.0):
        return {"y": x * w * scale, "loss": (x * w).sum()}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "nets.py", NET)
    return tmp_path


def test_an_existing_file_is_a_program_whatever_its_name_holds(folder: Path) -> None:
    for name in ("odd:name.py", "no_suffix", "with space.py", "a.b.py"):
        path = write(folder, name, "x = 1")
        assert parse_target(name) == Target(name, path=Path(path.name))


def test_a_file_in_a_folder_whose_name_holds_a_colon_has_attributes(folder: Path) -> None:
    write(folder, "odd:folder/net.py", NET)
    target = parse_target("odd:folder/net.py:nets.deep.0")
    assert (target.path, target.attribute) == (Path("odd:folder/net.py"), "nets.deep.0")
    assert leaves(captured(folder, target.text).graph) == {"first.weight", "first.bias"}


def test_dotted_names_are_modules(folder: Path) -> None:
    assert parse_target("pkg.mod") == Target("pkg.mod", module="pkg.mod")
    assert parse_target("pkg.mod:a.b") == Target("pkg.mod:a.b", module="pkg.mod", attribute="a.b")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("net.py", "no file net.py", "nets.py"),
        ("nosuch/net.py", "no file nosuch/net.py", "no folder nosuch"),
        ("nets.py:", "No name follows the colon", "nets.py:NAME"),
        (":net", "names no file", "FILE.py:NAME"),
        (".", "is a folder", "nets.py"),
        ("", "is empty", ""),
        ("what is this?", "no file what is this?", ""),
        (".:net", "no file .", ""),
    ],
)
def test_a_target_that_is_none_is_told_in_one_line(
    folder: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as raised:
        parse_target(text)
    assert message in raised.value.message
    assert "\n" not in raised.value.message
    assert hint in (raised.value.hint or "")


def test_a_mistake_in_the_target_is_told_without_importing_torch(folder: Path) -> None:
    code = (
        "import sys\n"
        "from graphviz_cli.capture import Request, parse_target\n"
        "from graphviz_cli.errors import UsageError\n"
        "Request()\n"
        "try: parse_target('net.py')\n"
        "except UsageError: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("net", {"first.weight", "first.bias"}),
        ("Net", {"first.weight", "first.bias"}),
        ("nets.small", {"first.weight", "first.bias"}),
        ("nets['deep'][-1]", {"first.weight", "first.bias"}),
        ("net.first", {"weight", "bias"}),
        ("loss", {"w"}),
    ],
)
def test_an_attribute_may_be_dotted_and_indexed(
    folder: Path, attribute: str, expected: set[str]
) -> None:
    assert leaves(captured(folder, f"nets.py:{attribute}").graph) == expected
    assert leaves(captured(folder, f"nets:{attribute}").graph) == expected


def test_a_missing_attribute_is_told_with_the_closest_name(folder: Path) -> None:
    with pytest.raises(UsageError, match="has no 'Nett'") as raised:
        captured(folder, "nets.py:Nett")
    assert raised.value.hint == "Did you mean 'Net'?"
    with pytest.raises(UsageError) as raised:
        captured(folder, "nets.py:zzz")
    assert "Net" in (raised.value.hint or "")
    assert "nn" not in (raised.value.hint or "").replace(",", "").split()
    with pytest.raises(UsageError) as raised:
        captured(folder, "nets.py:net.second")
    assert "'net'" in (raised.value.hint or "")
    with pytest.raises(UsageError, match="is no name"):
        captured(folder, "nets.py:net()")


def test_a_class_and_a_factory_take_arguments_as_literals(folder: Path) -> None:
    graph = captured(folder, "nets.py:Net", arguments=("width=7", "name=some text")).graph
    assert graph.nodes[0].outputs[0].shape == (2, 7)
    graph = captured(folder, "nets.py:build", arguments=("width=5", "bias=False")).graph
    assert graph.nodes[0].outputs[0].shape == (2, 5)
    assert leaves(graph) == {"weight"}


def test_arguments_that_do_not_fit_are_told_with_the_signature(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"build\(width, bias=True\)") as raised:
        captured(folder, "nets.py:build")
    assert "-a width=" in (raised.value.hint or "")
    with pytest.raises(UsageError, match=r"Net\(width=3, name='net'\)"):
        captured(folder, "nets.py:Net", arguments=("depth=3",))
    with pytest.raises(UsageError, match="cannot be understood"):
        captured(folder, "nets.py:Net", arguments=("depth",))
    with pytest.raises(UsageError, match="neither"):
        captured(folder, "nets.py:net", arguments=("width=3",))


def test_a_function_is_given_the_inputs_that_it_needs(folder: Path) -> None:
    graph = captured(folder, "nets.py:compute", inputs=("3",), arguments=("scale=2.0",)).graph
    assert roots(graph) == {"loss": "SumBackward0"}
    assert graph.provenance.inputs == ("x=float32:3",)
    graph = captured(folder, "nets.py:compute", inputs=("x=grad:3",), root="all").graph
    assert set(roots(graph)) == {"y", "loss"}
    assert leaves(graph) == {"w", "x"}


def test_a_file_of_a_package_is_imported_as_a_part_of_it(folder: Path) -> None:
    write(folder, "outer/inner/__init__.py", "")
    write(folder, "outer/inner/base.py", NET)
    write(folder, "outer/inner/net.py", "from .base import Net as Base\nmodel = Base(6)\n")
    for target in ("outer/inner/net.py:model",):
        graph = captured(folder, target).graph
        assert graph.nodes[0].outputs[0].shape == (2, 6)


def test_a_file_may_have_the_name_of_a_module_that_is_in_use(folder: Path) -> None:
    import random

    write(folder, "random.py", "import torch\ny = torch.ones(2, requires_grad=True) * 2\n")
    assert roots(captured(folder, "random.py:y").graph) == {"y": "MulBackward0"}
    assert sys.modules["random"] is random


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nosuchmodule", "no module nosuchmodule"),
        ("nosuchmodule:net", "no module nosuchmodule"),
        ("json.nosuch:net", "no module json.nosuch"),
        ("email", "without a __main__"),
    ],
)
def test_a_module_that_is_not_there_is_told(folder: Path, target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        captured(folder, target)


def test_a_file_named_like_a_module_is_suggested(folder: Path) -> None:
    write(folder, "deep/two-nets.py", NET)
    with pytest.raises(UsageError) as raised:
        parse_target("deep/two-nest:net")
    assert "deep/two-nets.py" in (raised.value.hint or "")
    write(folder, "deep/down/nets.py", "import nosuchmodule")
    with pytest.raises(TargetError, match="ModuleNotFoundError"):
        captured(folder, "deep.down.nets:net")


@pytest.mark.parametrize(
    ("source", "error", "message", "hint"),
    [
        (b"", NoGraphError, "is empty", ""),
        (b" \n\n", NoGraphError, "is empty", ""),
        (b"\x7fELF\x02\0\0\0", TargetError, "binary", ""),
        (b"def f(:\n", TargetError, "line 1 is not Python", ""),
        (b"x = 1\nname = 'caf\xe9'\n", TargetError, "is not Python", "latin-1"),
        (b"# coding: nonsense\n", TargetError, "is not Python", ""),
    ],
)
@pytest.mark.parametrize("attribute", ["", ":net"])
def test_a_file_that_is_no_program_is_told_in_one_line(
    folder: Path, source: bytes, error: type[Exception], message: str, hint: str, attribute: str
) -> None:
    write(folder, "broken.py", source)
    with pytest.raises(error) as raised:
        captured(folder, f"broken.py{attribute}")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert hint in (raised.value.hint or "")  # type: ignore[attr-defined]


def test_weights_are_told_from_programs(folder: Path) -> None:
    write(folder, "weights.pt", b"PK\x03\x04\0\0")
    with pytest.raises(TargetError) as raised:
        captured(folder, "weights.pt")
    assert "weights" in (raised.value.hint or "")
    write(folder, "notes.ipynb", "{}")
    with pytest.raises(UsageError, match="notebook"):
        parse_target("notes.ipynb")


def test_a_folder_with_a_main_file_is_a_program(folder: Path) -> None:
    write(folder, "app/helper.py", "import torch\nw = torch.ones(2, requires_grad=True)\n")
    write(folder, "app/__main__.py", "from helper import w\ny = w * 3\n")
    assert roots(captured(folder, "app").graph) == {"y": "MulBackward0"}
    (folder / "app/__init__.py").touch()
    write(folder, "app/__main__.py", "from .helper import w\ny = w * 3\n")
    assert roots(captured(folder, "app").graph) == {"y": "MulBackward0"}


def test_options_that_a_target_cannot_use_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="-i is for a module"):
        captured(folder, "nets.py", inputs=("2x3",))
    with pytest.raises(UsageError, match="-a is for a module"):
        captured(folder, "nets.py", arguments=("x=3",))
    with pytest.raises(UsageError, match="--train and --eval"):
        captured(folder, "nets.py", train=True)
    with pytest.raises(UsageError, match="--step counts"):
        captured(folder, "nets.py:net", step=2)
    with pytest.raises(UsageError, match="no step 0"):
        captured(folder, "nets.py", step=0)
    with pytest.raises(UsageError, match="seed -1"):
        captured(folder, "nets.py", seed=-1)


def test_a_mistake_in_an_input_is_told_before_anything_is_run(folder: Path) -> None:
    write(folder, "slow.py", "open('ran', 'w').close()")
    for text in ("2x", "x=nosuch.pt"):
        with pytest.raises(UsageError):
            captured(folder, "slow.py:net", inputs=(text,))
    assert not (folder / "ran").exists()


def test_the_provenance_holds_no_absolute_path(folder: Path) -> None:
    provenance = captured(folder, str(folder / "nets.py:net")).graph.provenance
    assert provenance.target == "nets.py:net"
    elsewhere = folder / "sub"
    elsewhere.mkdir()
    provenance = captured(elsewhere, str(folder / "nets.py")).graph.provenance
    assert provenance.target == "nets.py"
    assert provenance.title == "nets.py"
    assert captured(elsewhere, "../nets.py:net").graph.provenance.target == "../nets.py:net"
