"""The measured backward pass is the user's: gradients at the leaves equal `.grad` bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import transformers

from graphviz_cli.capture.engine_run import BackwardPlan, measured
from graphviz_cli.capture.forward import observe_attribute
from graphviz_cli.capture.loading import import_folder
from graphviz_cli.capture.probes.live import LiveBackward
from graphviz_cli.capture.probes.statistics import Statistics
from graphviz_cli.capture.programs import observe_program
from graphviz_cli.capture.script import python_state
from graphviz_cli.capture.target import Request, parse_target
from graphviz_cli.capture.vectors import vectors
from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.errors import GraphvizCliError
from graphviz_cli.graph.model import Graph, NodeKind

from .programs import probes

SAMPLES = sorted((Path(__file__).parents[3] / "samples").glob("*.py"))


@dataclass
class Recorder:
    """A probe that keeps a copy of what every leaf receives."""

    needs_backward: ClassVar[bool] = True
    received: dict[int, torch.Tensor] = field(default_factory=dict)
    leaves: dict[int, torch.Tensor] = field(default_factory=dict)

    def forward(self) -> AbstractContextManager[object]:
        return nullcontext()

    @contextmanager
    def backward(self, live: LiveBackward) -> Iterator[None]:
        kinds = live.graph.nodes.kinds
        self.leaves = {n: x.variable for n, x in enumerate(live.nodes) if kinds[n] == "leaf"}
        live.observe(self.note)
        yield

    def note(self, node: int, gradients: Any) -> None:
        if node in self.leaves and gradients[0] is not None:
            self.received[node] = gradients[0].detach().clone()

    def annotations(self, live: LiveBackward) -> Iterator[Any]:
        return iter(())


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor: of NaN too it can be told whether it is the same."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def compare(graph: Graph, roots: list[RootTensor], run: Callable[[], object], **plan: Any) -> int:
    """Hold what is measured against what `run` leaves in `.grad`; the number of leaves."""
    recorder = Recorder()
    observers = [recorder, *probes("gradient", "gradient-values", "backward-time")]
    graph, failure = measured(graph, roots, observers, BackwardPlan(**plan))
    assert failure is None and "gradient-changed" not in graph.annotations
    for leaf in recorder.leaves.values():
        leaf.grad = None
    run()
    exact = Statistics()
    rows = {}
    for node, leaf in recorder.leaves.items():
        if leaf.grad is None:
            assert node not in recorder.received
            continue
        measured_here = recorder.received[node]
        if leaf.grad.layout is not torch.strided:
            assert torch.equal(bits(leaf.grad.to_dense()), bits(measured_here.to_dense()))
        else:
            assert torch.equal(bits(leaf.grad), bits(measured_here))
        rows[node] = exact.add(measured_here)
    summaries = exact.fetch()
    for node, row in rows.items():
        assert row is not None
        # As text, for which NaN is equal to itself.
        assert str(graph.annotations["gradient"].values[node]) == str(summaries[row].norm)
        assert str(graph.annotations["gradient-max"].values[node]) == str(summaries[row].largest)
    ops = graph.nodes.ids(NodeKind.FUNCTION)
    assert len(graph.annotations["backward-time"].values) >= len(rows) > 0 and ops
    return len(rows)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_gradients_of_a_sample_are_those_of_its_own_backward_call(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sample.parent)
    target = parse_target(sample.name)
    torch.manual_seed(0)
    with python_state([sample.name], import_folder(target)):
        observe = observe_program if target.is_program else observe_attribute
        try:
            seen = observe(target, Request())
        except GraphvizCliError as error:
            pytest.skip(str(error))
        graph = walk(seen.roots, names=seen.names)
        roots = [
            r for r in seen.roots if not isinstance(r.tensor, torch.Tensor) or r.tensor.grad_fn
        ]
        outputs: list[Any] = [root.tensor for root in roots]
        starts = [(root, o, graph.nodes.outputs[root.node][root.output_nr])
                  for root, o in zip(graph.roots, outputs)]  # fmt: skip
        chosen = [vector.tensor for vector in vectors(starts, (), seen.vectors)]
        compare(
            graph,
            roots,
            lambda: torch.autograd.backward(outputs, chosen, retain_graph=True),
            given=seen.vectors,
        )


_TEXT = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_FEWER_KEYS = {**_TEXT, "num_key_value_heads": 1}

FAMILIES: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": {"vocab_size": 50, "n_layer": 2, "n_embd": 24, "n_head": 2},
    "LlamaForCausalLM": _FEWER_KEYS,
    "MistralForCausalLM": _FEWER_KEYS,
    "MixtralForCausalLM": {**_FEWER_KEYS, "num_local_experts": 4},
    "Qwen2ForCausalLM": _FEWER_KEYS,
    "GemmaForCausalLM": {**_FEWER_KEYS, "head_dim": 8},
    "GPTNeoXForCausalLM": _TEXT,
    "OPTForCausalLM": {**_TEXT, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "BertForMaskedLM": _TEXT,
    "ElectraForMaskedLM": {**_TEXT, "embedding_size": 16},
    "AlbertForMaskedLM": {**_TEXT, "embedding_size": 16},
    "T5ForConditionalGeneration": {
        "vocab_size": 50, "d_model": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2, "d_kv": 8,
        "decoder_start_token_id": 0, "pad_token_id": 0,
    },
    "ViTForImageClassification": {
        "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
    },
}  # fmt: skip


def _loss(family: str) -> torch.Tensor:
    model_type = getattr(transformers, family)
    model = model_type(model_type.config_class(**FAMILIES[family]))
    if family.startswith("ViT"):
        logits: torch.Tensor = model(pixel_values=torch.randn(2, 3, 32, 32)).logits
        return logits.logsumexp(-1).sum()
    ids = torch.randint(3, 50, (2, 8))
    loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
    return loss


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradients_of_a_transformer_are_those_of_its_own_backward_call(family: str) -> None:
    torch.manual_seed(0)
    loss = _loss(family)
    roots = [RootTensor("loss", loss)]
    assert compare(walk(roots), roots, lambda: loss.backward(retain_graph=True)) > 10
