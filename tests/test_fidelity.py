"""What is drawn is autograd's own graph: every sample and many transformers before the judges.

The judges (tests/oracles.py) share no code with the capture: a bare walk over `next_functions`
must find the same nodes, edges and leaves, and running the captured graph op by op must give the
gradients of `torch.autograd.grad`. The names of leaves are checked against `named_parameters`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graphviz_cli import capture_tensors
from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.graph.model import Graph, NodeKind
from tests.oracles import assert_runs_like_autograd, assert_same_as_bare_walk, bare_walk

SAMPLES = Path(__file__).parent.parent / "samples"
SCRIPTS = sorted(path.stem for path in SAMPLES.glob("*.py") if path.stem != "hf")


class FirstBackward(BaseException):
    """Ends a script at its first backward call."""

    def __init__(self, root: torch.Tensor) -> None:
        self.root = root


def run_to_backward(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[torch.Tensor, dict[str, Any]]:
    """What a script calls `backward()` on first, and its variables at that time."""

    def stop(tensor: torch.Tensor, *arguments: object) -> None:
        raise FirstBackward(tensor)

    variables: dict[str, Any] = {"__name__": "__main__"}
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", stop)
        patch.setattr(sys, "argv", [str(script)])
        with pytest.raises(FirstBackward) as stopped:
            exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), variables)
    return stopped.value.root, variables


def names_of_tensors(variables: Mapping[str, Any]) -> dict[torch.Tensor, set[str]]:
    """All names of the tensors in a program's variables and in its modules."""
    names: dict[torch.Tensor, set[str]] = {}
    for variable, value in variables.items():
        if isinstance(value, nn.Module):
            for name, parameter in value.named_parameters(variable, remove_duplicate=False):
                names.setdefault(parameter, set()).add(name)
        elif isinstance(value, torch.Tensor):
            names.setdefault(value, set()).add(variable)
    return names


def assert_leaves_are_named(
    graph: Graph, root: torch.Tensor, names: Mapping[torch.Tensor, set[str]]
) -> None:
    """Every leaf has all its names, and every parameter that no gradient reaches is there."""
    leaves = bare_walk([root]).leaves
    for leaf, tensor in leaves.items():
        assert set(graph.nodes[leaf].names) == names[tensor]
    reached = {id(tensor) for tensor in leaves.values()}
    unreached = {
        name
        for tensor, known in names.items()
        if isinstance(tensor, nn.Parameter) and tensor.requires_grad and id(tensor) not in reached
        for name in known
    }
    alone = set(graph.nodes.ids(NodeKind.LEAF)) - set(leaves)
    assert {name for leaf in alone for name in graph.nodes[leaf].names} == unreached


@pytest.mark.parametrize("sample", SCRIPTS)
def test_the_graph_of_a_sample_is_that_of_autograd(sample, monkeypatch):
    script = SAMPLES / f"{sample}.py"
    captured = capture(parse_target(str(script)), Request(cuts=False))
    root, variables = run_to_backward(script, monkeypatch)
    assert_same_as_bare_walk(captured.graph, [root])
    assert_leaves_are_named(captured.graph, root, names_of_tensors(variables))
    assert assert_runs_like_autograd(captured.graph, [root]) > 0


LAYERS = {
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**LAYERS, "num_key_value_heads": 1, "head_dim": 8}
IMAGES = {
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TOKENS = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIDES = dict(
    d_model=16,
    encoder_layers=1,
    decoder_layers=1,
    encoder_ffn_dim=32,
    decoder_ffn_dim=32,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    decoder_start_token_id=1,
    **TOKENS,
)

FAMILIES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "albert": ("MaskedLM", {**LAYERS, "embedding_size": 8}),
    "bart": ("Seq2SeqLM", SIDES),
    "bert": ("MaskedLM", LAYERS),
    "bloom": ("CausalLM", dict(n_layer=2, hidden_size=16, n_head=2, **TOKENS)),
    "convnext": (
        "ImageClassification",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    ),
    "distilbert": (
        "MaskedLM",
        {"n_layers": 2, "dim": 16, "hidden_dim": 32, "n_heads": 2, "vocab_size": 64},
    ),
    "electra": ("MaskedLM", {**LAYERS, "embedding_size": 16}),
    "gemma": ("CausalLM", GROUPED),
    "gpt2": ("CausalLM", dict(n_layer=2, n_embd=16, n_head=2, n_positions=32, **TOKENS)),
    "gpt_neox": ("CausalLM", LAYERS),
    "llama": ("CausalLM", GROUPED),
    "mamba": ("CausalLM", dict(num_hidden_layers=2, hidden_size=16, state_size=4, **TOKENS)),
    "mistral": ("CausalLM", GROUPED),
    "mixtral": ("CausalLM", {**GROUPED, "num_local_experts": 2}),
    "opt": ("CausalLM", {**LAYERS, "word_embed_proj_dim": 16, "ffn_dim": 32}),
    "qwen2": ("CausalLM", GROUPED),
    "resnet": (
        "ImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    ),
    "roberta": ("MaskedLM", LAYERS),
    "swin": (
        "ImageClassification",
        {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32},
    ),
    "t5": ("Seq2SeqLM", dict(num_layers=2, d_model=16, d_kv=8, d_ff=32, num_heads=2, **TOKENS)),
    "vit": ("ImageClassification", IMAGES),
    "whisper": (
        "SpeechSeq2Seq",
        {**SIDES, "max_source_positions": 20, "max_target_positions": 16, "num_mel_bins": 8},
    ),
}

INPUTS: Mapping[str, Callable[[], dict[str, torch.Tensor]]] = {
    "CausalLM": lambda: {"input_ids": tokens()},
    "MaskedLM": lambda: {"input_ids": tokens()},
    "Seq2SeqLM": lambda: {"input_ids": tokens(), "decoder_input_ids": tokens()},
    "ImageClassification": lambda: {"pixel_values": torch.randn(2, 3, 32, 32)},
    "SpeechSeq2Seq": lambda: {
        "input_features": torch.randn(2, 8, 40),
        "decoder_input_ids": tokens(),
    },
}


def tokens() -> torch.Tensor:
    return torch.randint(3, 64, (2, 7))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_of_a_transformer_is_that_of_autograd(family):
    transformers = pytest.importorskip("transformers")
    head, settings = FAMILIES[family]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **settings)
    model = getattr(transformers, f"AutoModelFor{head}").from_config(config).train()
    loss = model(**INPUTS[head]()).logits.square().mean()
    graph = capture_tensors(loss)
    assert_same_as_bare_walk(graph, [loss])
    assert_leaves_are_named(graph, loss, names_of_tensors({"model": model}))
    assert assert_runs_like_autograd(graph, [loss]) > 0
