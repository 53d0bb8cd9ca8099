"""Inputs of a module: specifications, what modules offer, and what is made up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from graphviz_cli.capture.inputs import (
    Call,
    Draw,
    TensorInput,
    asked_for,
    described,
    offered,
    parse_input,
    signature_of,
)
from graphviz_cli.capture.synthesis import synthesised
from graphviz_cli.errors import UsageError

from .targets import captured, leaves, write

CPU = torch.device("cpu")
DRAW = Draw.of(CPU, torch.float32, 0)


def made(text: str) -> Any:
    return parse_input(text)[1].made(Draw.of(CPU, torch.float32, 0))


@pytest.mark.parametrize(
    ("text", "name", "dtype", "shape"),
    [
        ("1x3x224x224", None, torch.float32, (1, 3, 224, 224)),
        ("1,3,224,224", None, torch.float32, (1, 3, 224, 224)),
        ("1 x 3", None, torch.float32, (1, 3)),
        ("5", None, torch.float32, (5,)),
        ("()", None, torch.float32, ()),
        ("x=0x3", "x", torch.float32, (0, 3)),
        ("int64:2x32<50257", None, torch.int64, (2, 32)),
        ("ids=int64:2x32<50257", "ids", torch.int64, (2, 32)),
        ("ids=2x32<7", "ids", torch.int64, (2, 32)),
        ("mask=bool:2x2", "mask", torch.bool, (2, 2)),
        ("float16:3", None, torch.float16, (3,)),
        ("bfloat16:3", None, torch.bfloat16, (3,)),
        ("z=complex64:3", "z", torch.complex64, (3,)),
        ("uint8:2x2<256", None, torch.uint8, (2, 2)),
        ("float64:()", None, torch.float64, ()),
        (" größe = 2x3 ".replace(" = ", "="), "größe", torch.float32, (2, 3)),
    ],
)
def test_a_specification_gives_name_type_and_shape(
    text: str, name: str | None, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    read_name, wanted = parse_input(text)
    tensor = wanted.made(DRAW)
    assert read_name == name
    assert (tensor.dtype, tuple(tensor.shape), tensor.requires_grad) == (dtype, shape, False)


def test_whole_numbers_stay_below_their_bound() -> None:
    assert set(made("int64:1000<3").tolist()) == {0, 1, 2}
    assert set(made("int64:1000").tolist()) == {0, 1}
    uniform = made("float32:1000<1")
    assert uniform.min() >= 0 and uniform.max() < 1


def test_an_input_can_be_asked_to_require_a_gradient() -> None:
    tensor = made("x=grad:float64:2x3")
    assert (tensor.requires_grad, tensor.is_leaf, tensor.dtype) == (True, True, torch.float64)
    with pytest.raises(UsageError, match="cannot require a gradient"):
        parse_input("grad:int64:3")


def test_values_and_files_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_input("flag=True")[1].made(DRAW) is True
    assert made("n=value:3") == 3
    assert made("mode=value:'fast'") == "fast"
    assert made("mode=value:fast") == "fast"
    torch.save({"x": torch.arange(3.0)}, "batch.pt")
    assert torch.equal(made("batch=batch.pt")["x"], torch.arange(3.0))
    numpy.save("x.npy", numpy.arange(4))
    assert made("x.npy").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be understood"),
        ("x=", "cannot be understood"),
        ("2x-3", "cannot be understood"),
        ("2x", "cannot be understood"),
        ("two", "cannot be understood"),
        ("int64:2x3<", "cannot be understood"),
        ("int64:2x3<many", "cannot be understood"),
        ("int64:2x3<0", "makes no sense"),
        ("int64:float32:2", "makes no sense"),
        ("999999x999999", "makes no sense"),
        ("integer:2x3", "no element type 'integer'"),
        ("nn:2x3", "no element type 'nn'"),
        ("x=nosuch.pt", "no file nosuch.pt"),
    ],
)
def test_a_specification_that_is_none_is_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse_input(text)
    assert "\n" not in raised.value.message


def test_a_file_that_is_no_tensor_is_told(tmp_path: Path) -> None:
    text = tmp_path / "x.pt"
    text.write_text("no tensor")
    with pytest.raises(UsageError, match=r"x\.pt"):
        made(str(text))
    torch.save(nn.Linear(2, 2), text)
    with pytest.raises(UsageError, match="more than tensors"):
        made(str(text))


def test_inputs_are_the_same_each_time_and_leave_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert torch.equal(made("4x4"), made("4x4"))
    assert torch.equal(torch.get_rng_state(), before)


def test_floating_point_inputs_are_of_the_type_of_the_parameters() -> None:
    half = nn.Linear(2, 2).to(torch.bfloat16)
    assert TensorInput((2,)).made(Draw.for_module(half, CPU, 0)).dtype == torch.bfloat16
    assert TensorInput((2,)).made(Draw.for_module(nn.ReLU(), CPU, 0)).dtype == torch.float32


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.linear = nn.Linear(4, 8)

    def forward(self, ids: Any, features: Any, scale: float = 1.0) -> Any:
        return (self.embedding(ids).mean(1) + self.linear(features)) * scale


def test_inputs_are_named_after_the_parameters_of_the_forward() -> None:
    module = Two()
    call = asked_for(["int64:2x5<50", "features=2x4"], module.forward, DRAW)
    assert list(call.named(module.forward)) == ["ids", "features"]
    assert call.described(module.forward) == ("ids=int64:2x5", "features=float32:2x4")
    sequential = nn.Sequential(nn.Linear(2, 2))
    assert Call((torch.ones(1, 2),)).described(sequential.forward) == ("input=float32:1x2",)
    assert described(torch.ones((), requires_grad=True)) == "grad:float32:()"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["2x4"], r"do not fit Two.forward\(ids, features, scale=1.0\): .*'features'"),
        (["2x4", "2x4", "2x4", "2x4"], "too many positional"),
        (["feature=2x4", "ids=2x4"], "no input 'feature'"),
        (["zzz=2x4"], "do not fit"),
        (["ids=2x4", "ids=2x4"], "given twice"),
    ],
)
def test_inputs_that_do_not_fit_are_told_with_the_signature(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asked_for(texts, Two().forward, DRAW)


def test_a_long_signature_is_shortened() -> None:
    class Long(nn.Module):
        def forward(self, x: Any, table: Any = {"a": "long default" * 9}, *args: Any) -> Any:  # noqa: B006
            return x

    assert signature_of(Long().forward) == "Long.forward(x, table=..., *args)"


def test_what_a_module_offers_is_taken_in_order() -> None:
    class Offers(nn.Linear):
        example_input_array: Any = None
        dummy_inputs: Any = None

    module = Offers(3, 2)
    assert offered(module, CPU) is None
    module.dummy_inputs = {"input": torch.ones(1, 3)}
    call, source = offered(module, CPU) or (None, None)
    assert call is not None and source == "dummy_inputs" and list(call.kwargs) == ["input"]
    module.dummy_inputs = {"input_ids": torch.ones(1, 3)}
    assert offered(module, CPU) is None
    module.example_input_array = torch.ones(1, 3)
    call, source = offered(module, CPU) or (None, None)
    assert call is not None and source == "example_input_array" and len(call.args) == 1


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2)
        )
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).flatten(1))


class HeadFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 4)
        self.body = nn.Linear(7, 32)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).relu())


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(13, 5))

    def forward(self, x: Any) -> Any:
        return x @ self.weight


class Typed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x: Any, steps: int) -> Any:
        h = None
        for _ in range(steps):
            h = self.cell(x, h)
        return h


class LooksAtValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 1)

    def forward(self, x: Any) -> Any:
        y = self.linear(x)
        return y * 2 if y.sum().item() > 0 else y


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 1)),
        LeNet(),
        Two(),
        HeadFirst(),
        Raw(),
        Typed(),
        LooksAtValues(),
        nn.LSTM(6, 7),
        nn.Transformer(16, 2, 1, 1, 32),
        nn.TransformerEncoderLayer(16, 2),
        nn.MultiheadAttention(8, 2),
        nn.Sequential(nn.Conv1d(2, 4, 9, stride=4), nn.BatchNorm1d(4)),
        nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2)),
        nn.Sequential(nn.BatchNorm2d(5), nn.ReLU()),
        nn.Bilinear(3, 4, 5),
        nn.EmbeddingBag(9, 3),
        nn.Linear(3, 3).to(torch.float64),
    ],
    ids=lambda module: type(module).__name__,
)
def test_inputs_are_made_up_that_the_module_accepts(module: nn.Module) -> None:
    call = synthesised(module, Draw.for_module(module, CPU, 0))
    assert call is not None
    module(*call.args, **call.kwargs)


def test_making_inputs_up_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    calls = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
            self.register_buffer("seen", torch.zeros(()))
            self.kept: Any = None

        def forward(self, x: Any) -> Any:
            print("forward")  # noqa: T201 - must not be seen
            random.random(), numpy.random.rand()
            self.seen += 1
            self.kept = self.body(x)
            return self.kept

    module = Watched()
    module.body.register_forward_hook(lambda *_: calls.append("hook"))
    states = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    versions = [tensor._version for tensor in module.state_dict().values()]
    rng = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    assert synthesised(module, Draw.for_module(module, CPU, 0)) is not None
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, states[name])
    assert [tensor._version for tensor in module.state_dict().values()] == versions
    assert torch.equal(torch.get_rng_state(), rng[0])
    assert (random.getstate(), numpy.random.get_state()[1].tolist()) == rng[1:]
    assert (module.kept, calls, module.training) == (None, [], True)
    assert capfd.readouterr().out == ""


def test_a_module_that_takes_no_guess_is_told_with_a_line_to_start_from(tmp_path: Path) -> None:
    write(
        tmp_path,
        "net.py",
        """
        import torch
        from torch import nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(3, 3)
            def forward(self, batch, weights=None):
                return self.linear(batch["x"]).sum()
        """,
    )
    with pytest.raises(UsageError, match=r"Net.forward\(batch, weights=None\)") as raised:
        captured(tmp_path, "net.py:Net")
    assert "-i batch=" in (raised.value.hint or "")
    torch.save({"x": torch.ones(2, 3)}, tmp_path / "batch.pt")
    graph = captured(tmp_path, "net.py:Net", inputs=("batch.pt",)).graph
    assert leaves(graph) == {"linear.weight", "linear.bias"}
    assert graph.provenance.inputs == ("batch.x=float32:2x3",)


def test_what_was_guessed_is_said(tmp_path: Path) -> None:
    write(tmp_path, "net.py", "from torch import nn\nnet = nn.Linear(5, 2)\n")
    guessed = captured(tmp_path, "net.py:net").graph.provenance
    assert guessed.inputs == ("input=float32:2x5",)
    assert any("guessed" in note for note in guessed.notes)
    given = captured(tmp_path, "net.py:net", inputs=("4x5",)).graph.provenance
    assert (given.inputs, given.notes) == (("input=float32:4x5",), ())
