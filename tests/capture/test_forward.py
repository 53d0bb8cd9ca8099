"""The forward of a module is run once, where and how the user asks for."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

from graphviz_cli.capture.device import place, requested
from graphviz_cli.errors import NoGraphError, TargetError, UsageError
from graphviz_cli.graph.model import NodeKind, Role

from .targets import captured, leaves, ops, roots, write

NETS = """
    import dataclasses, torch
    from collections import namedtuple
    from typing import Any
    from torch import nn

    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

    class Eval(Base):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout()
            self.eval()
        def forward(self, x):
            return self.dropout(self.linear(x))

    class NoGrad(Base):
        @torch.no_grad()
        def forward(self, x):
            return self.linear(x)

    class Inference(Base):
        def forward(self, x):
            with torch.inference_mode():
                return self.linear(x)

    class Detached(Base):
        def forward(self, x):
            return {"scores": self.linear(x).detach(), "best": self.linear(x).argmax(1)}

    class Integer(Base):
        def forward(self, x):
            return self.linear(x).argmax(1)

    class Frozen(Base):
        def __init__(self):
            super().__init__()
            self.requires_grad_(False)
        def forward(self, x):
            return self.linear(x)

    class Nothing(Base):
        def forward(self, x):
            return "text"

    class Half(Base):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(1, 1)
            self.fixed = nn.Linear(3, 2).requires_grad_(False)
        def forward(self, x):
            return self.linear(x) + self.fixed(x)

    class Fails(Base):
        def forward(self, x):
            hidden = self.linear(x).exp()
            return hidden @ hidden

    class Physics(Base):
        def forward(self, x):
            x = x.requires_grad_()
            energy = self.linear(x).pow(2).sum()
            (force,) = torch.autograd.grad(energy, x, create_graph=True)
            return {"energy": energy, "force": force}

    @dataclasses.dataclass
    class Output:
        logits: Any
        states: Any = None
        text: str = "no tensor"

    Pair = namedtuple("Pair", "mean spread")

    class Nested(Base):
        def forward(self, x):
            y = self.linear(x)
            return Output(logits=y.exp(), states=[{"key": y * 2}, (y * 3, None)])

    class Tuple(Base):
        def forward(self, x):
            y = self.linear(x)
            return y * 2, [y * 3, x]

    class Named(Base):
        def forward(self, x):
            y = self.linear(x)
            return Pair(y.mean(), y.std())

    class WithLoss(Base):
        def forward(self, x):
            y = self.linear(x)
            return {"logits": y, "loss": y.sum(), "aux": (y * 2).sum()}

    class Hidden(Base):
        def forward(self, x):
            states = [self.linear(x)]
            for _ in range(3):
                states.append(states[-1].tanh())
            return {"last": states[-1], "states": states}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "nets.py", NETS)
    return tmp_path


@pytest.mark.parametrize(
    ("net", "root", "expected"),
    [
        ("Nested", None, ["logits", "states.0.key", "states.1.0"]),
        ("Nested", "logits", ["logits"]),
        ("Nested", "states.1", ["states.1.0"]),
        ("Nested", "output.states[0]['key']", ["output.states[0]['key']"]),
        ("Tuple", None, ["output.0", "output.1.0"]),
        ("Tuple", "output[1][0]", ["output[1][0]"]),
        ("Named", None, ["mean", "spread"]),
        ("WithLoss", None, ["loss"]),
        ("WithLoss", "all", ["logits", "loss", "aux"]),
        ("WithLoss", "aux", ["aux"]),
        ("Hidden", None, ["last"]),
        ("Hidden", "states", [f"states.{i}" for i in range(4)]),
        ("Hidden", "all", ["last", "states.0", "states.1", "states.2"]),
        ("Physics", "force", ["force"]),
    ],
)
def test_outputs_of_any_shape_are_roots_by_their_paths(
    folder: Path, net: str, root: str | None, expected: list[str]
) -> None:
    assert list(roots(captured(folder, f"nets.py:{net}", root=root).graph)) == expected


def test_the_paths_of_a_module_start_at_the_module(folder: Path) -> None:
    graph = captured(folder, "nets.py:WithLoss").graph
    assert [call.path for call in graph.modules] == ["", "linear"]
    assert graph.provenance.title == "WithLoss"
    assert leaves(graph) == {"linear.weight", "linear.bias"}


def test_a_root_that_is_not_there_is_told_with_those_that_are(folder: Path) -> None:
    with pytest.raises(UsageError, match="no tensor named 'logit'") as raised:
        captured(folder, "nets.py:WithLoss", root="logit")
    assert raised.value.hint == "Did you mean 'logits'?"
    with pytest.raises(UsageError) as raised:
        captured(folder, "nets.py:WithLoss", root="zzz")
    assert raised.value.hint == "Known: logits, loss, aux."


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("NoGrad", "NoGrad.forward is decorated with torch.no_grad"),
        ("Inference", "inference_mode"),
        ("Detached", "scores carries no graph"),
        ("Integer", "output is int64"),
        ("Frozen", "None of the 2 parameters of Frozen requires a gradient"),
        ("Nothing", "Nothing left no tensor"),
    ],
)
def test_why_there_is_no_graph_is_told(folder: Path, net: str, message: str) -> None:
    with pytest.raises(NoGraphError, match=message):
        captured(folder, f"nets.py:{net}", inputs=("2x3",))


def test_gradients_that_the_file_switched_off_are_told_and_switched_on_again(folder: Path) -> None:
    write(folder, "off.py", NETS + "\n    torch.set_grad_enabled(False)\n")
    with pytest.raises(NoGraphError, match="switched off"):
        captured(folder, "off.py:WithLoss", inputs=("2x3",))
    assert torch.is_grad_enabled()


def test_a_module_without_parameters_is_drawn_from_its_input(folder: Path) -> None:
    write(folder, "relu.py", "from torch import nn\nrelu = nn.ReLU()\n")
    with pytest.raises(NoGraphError, match="ReLU has no parameters") as raised:
        captured(folder, "relu.py:relu", inputs=("2x3",))
    assert "-i grad:" in (raised.value.hint or "")
    graph = captured(folder, "relu.py:relu", inputs=("grad:2x3",)).graph
    assert leaves(graph) == {"input"}
    assert graph.provenance.inputs == ("input=grad:float32:2x3",)


def test_parameters_that_no_gradient_reaches_are_in_the_graph(folder: Path) -> None:
    graph = captured(folder, "nets.py:Half", inputs=("2x3",)).graph
    touched = {*graph.edges.targets}
    edgeless = [node for node in graph.nodes if node.id not in touched and not node.size]
    assert [(node.names[0], node.kind, node.role) for node in edgeless] == [
        ("fixed.bias", NodeKind.CONSTANT, Role.PARAMETER),
        ("fixed.weight", NodeKind.CONSTANT, Role.PARAMETER),
        ("unused.bias", NodeKind.LEAF, Role.PARAMETER),
        ("unused.weight", NodeKind.LEAF, Role.PARAMETER),
    ]


def test_the_graph_until_a_failure_is_kept(folder: Path) -> None:
    done = captured(folder, "nets.py:Fails", inputs=("x=4x3",))
    assert done.failure is not None and done.failure.message == "Fails raised RuntimeError."
    assert done.failure.hint is None
    assert roots(done.graph) == {"hidden": "ExpBackward0"}
    assert done.graph.provenance.partial
    shown = "".join(traceback.format_exception(done.failure.__cause__))
    assert "hidden @ hidden" in shown
    assert "graphviz_cli" not in shown


def test_inputs_of_the_wrong_shape_show_what_torch_says(folder: Path) -> None:
    with pytest.raises(TargetError, match="WithLoss raised RuntimeError") as raised:
        captured(folder, "nets.py:WithLoss", inputs=("2x7",))
    assert "mat1 and mat2" in str(raised.value.__cause__)


def test_the_mode_is_left_as_the_target_has_it_unless_asked(folder: Path) -> None:
    dropped = "MulBackward0"
    assert dropped not in ops(captured(folder, "nets.py:Eval").graph)
    assert dropped in ops(captured(folder, "nets.py:Eval", train=True).graph)
    write(folder, "trains.py", "from torch import nn\nnet = nn.Sequential(nn.Dropout())\n")
    graph = captured(folder, "trains.py:net", inputs=("grad:3",)).graph
    assert ops(graph) == [dropped]
    with pytest.raises(NoGraphError):
        captured(folder, "trains.py:net", inputs=("grad:3",), train=False)


def test_the_seed_makes_runs_equal(folder: Path) -> None:
    write(
        folder,
        "dice.py",
        """
        import random, numpy, torch
        w = torch.ones(1, requires_grad=True)
        names = ["sin", "cos", "exp", "tanh"] * 10
        def draw():
            y = w
            for _ in range(8):
                number = int(torch.rand(()) * 4) + random.randrange(4) + numpy.random.randint(4)
                y = getattr(y, names[number])()
            return y
        """,
    )
    first = ops(captured(folder, "dice.py:draw").graph)
    assert ops(captured(folder, "dice.py:draw").graph) == first
    assert ops(captured(folder, "dice.py:draw", seed=1).graph) != first
    state = torch.get_rng_state()
    with pytest.raises(NoGraphError):
        captured(folder, "dice.py:w", seed=None)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_function_that_calls_backward_is_stopped_there(folder: Path) -> None:
    write(
        folder,
        "train.py",
        """
        import torch
        from torch import nn
        def train(steps=3):
            net = nn.Linear(3, 1)
            for _ in range(steps):
                loss = net(torch.ones(2, 3)).sum()
                loss.backward()
            raise AssertionError("not stopped")
        def evaluate():
            net = nn.Linear(3, 1)
            score = net(torch.ones(2, 3)).exp()
            print(score.shape)
        def leave():
            raise SystemExit
        """,
    )
    done = captured(folder, "train.py:train", arguments=("steps=2",))
    assert (done.failure, list(roots(done.graph))) == (None, ["loss"])
    assert leaves(done.graph) == {"net.weight", "net.bias"}
    assert roots(captured(folder, "train.py:evaluate").graph) == {"score": "ExpBackward0"}
    with pytest.raises(NoGraphError, match="no backward call"):
        captured(folder, "train.py:evaluate", step=1)
    with pytest.raises(NoGraphError, match="no tensor"):
        captured(folder, "train.py:leave")


def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="no device 'gpu'"):
        captured(folder, "nets.py:WithLoss", device="gpu")
    with pytest.raises(UsageError, match="no device 'mps'"):
        captured(folder, "nets.py:WithLoss", device="mps")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="CUDA was asked for") as raised:
            captured(folder, "nets.py:WithLoss", device="cuda")
        assert "--device cpu" in (raised.value.hint or "")
        with pytest.raises(UsageError, match="CUDA was asked for"):
            captured(folder, "nets.py", device="cuda:1")
    assert requested("auto") is None
    assert captured(folder, "nets.py:WithLoss", device="cpu").graph.provenance.device == "cpu"


def test_a_module_that_its_program_has_placed_stays_there() -> None:
    placed = nn.Linear(2, 2, device="meta")
    assert place(placed, None) == torch.device("meta")
    assert placed.weight.device.type == "meta"
    with pytest.raises(TargetError, match="cannot be moved to cpu"):
        place(placed, torch.device("cpu"))


TRANSFORMERS = """
    import transformers as t
    def gpt2():
        return t.GPT2LMHeadModel(t.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=99))
    def bert():
        return t.BertForSequenceClassification(t.BertConfig(hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=32, vocab_size=99))
    def llama():
        return t.LlamaForCausalLM(t.LlamaConfig(hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=32, vocab_size=99))
    def t5():
        return t.T5ForConditionalGeneration(t.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1,
            num_heads=2, vocab_size=99))
    def vit():
        return t.ViTForImageClassification(t.ViTConfig(hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8))
    def clip():
        small = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2)
        return t.CLIPModel(t.CLIPConfig(text_config=dict(small, vocab_size=99),
            vision_config=dict(small, image_size=32, patch_size=8)))
    def whisper():
        return t.WhisperForConditionalGeneration(t.WhisperConfig(d_model=16, encoder_layers=1,
            decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=99, max_source_positions=50,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
@pytest.mark.parametrize(
    ("model", "inputs", "root"),
    [
        ("gpt2", ["input_ids"], "logits"),
        ("bert", ["input_ids"], "logits"),
        ("llama", ["input_ids"], "logits"),
        ("t5", ["input_ids", "decoder_input_ids", "decoder_attention_mask"], "logits"),
        ("vit", ["pixel_values"], "logits"),
        ("clip", ["input_ids", "pixel_values"], "logits_per_image"),
        ("whisper", ["input_features", "decoder_input_ids"], "logits"),
    ],
)
def test_models_of_transformers_need_no_inputs_to_be_named(
    tmp_path: Path, model: str, inputs: list[str], root: str
) -> None:
    write(tmp_path, "hf.py", TRANSFORMERS)
    done = captured(tmp_path, f"hf.py:{model}")
    assert done.failure is None
    assert list(roots(done.graph)) == [root]
    assert [text.partition("=")[0] for text in done.graph.provenance.inputs] == inputs
    assert all(leaves(done.graph))


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
def test_labels_give_a_loss_which_is_the_root(tmp_path: Path) -> None:
    write(tmp_path, "hf.py", TRANSFORMERS)
    given = ("input_ids=int64:2x8<99", "labels=int64:2x8<99")
    assert list(roots(captured(tmp_path, "hf.py:gpt2", inputs=given).graph)) == ["loss"]
    graph = captured(tmp_path, "hf.py:gpt2", inputs=given[:1], root="past_key_values").graph
    assert next(iter(roots(graph))) == "past_key_values.layers.0.keys"
    tied = [node.names for node in graph.nodes if "lm_head.weight" in node.names]
    assert tied == [("transformer.wte.weight", "lm_head.weight")]
