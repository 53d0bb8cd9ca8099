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
            assert torch.equal(leaf.grad.to_dense(), measured_here.to_dense())
        else:
            assert torch.equal(leaf.grad, measured_here)
        rows[node] = exact.add(measured_here)
    summaries = exact.fetch()
    for node, row in rows.items():
        assert row is not None
        assert graph.annotations["gradient"].values[node] == summaries[row].norm
        assert graph.annotations["gradient-max"].values[node] == summaries[row].largest
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


def _gpt2() -> torch.Tensor:
    config = transformers.GPT2Config(n_layer=2, n_embd=24, n_head=2, vocab_size=50)
    ids = torch.randint(0, 50, (2, 8))
    loss: torch.Tensor = transformers.GPT2LMHeadModel(config)(input_ids=ids, labels=ids).loss
    return loss


def _llama() -> torch.Tensor:
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    loss: torch.Tensor = transformers.LlamaForCausalLM(config)(input_ids=ids, labels=ids).loss
    return loss


def _bert() -> torch.Tensor:
    config = transformers.BertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        vocab_size=50,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    loss: torch.Tensor = transformers.BertForMaskedLM(config)(input_ids=ids, labels=ids).loss
    return loss


def _t5() -> torch.Tensor:
    config = transformers.T5Config(
        d_model=16, d_ff=32, num_layers=2, num_heads=2, d_kv=8, vocab_size=50,
        decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    model = transformers.T5ForConditionalGeneration(config)
    loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
    return loss


def _vit() -> torch.Tensor:
    config = transformers.ViTConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    logits: torch.Tensor = model(pixel_values=torch.randn(2, 3, 32, 32)).logits
    return logits.logsumexp(-1).sum()


def _mixtral() -> torch.Tensor:
    config = transformers.MixtralConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, vocab_size=50,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    loss: torch.Tensor = transformers.MixtralForCausalLM(config)(input_ids=ids, labels=ids).loss
    return loss


@pytest.mark.parametrize("make", [_gpt2, _llama, _bert, _t5, _vit, _mixtral])
def test_the_gradients_of_a_transformer_are_those_of_its_own_backward_call(
    make: Callable[[], torch.Tensor],
) -> None:
    torch.manual_seed(0)
    loss = make()
    roots = [RootTensor("loss", loss)]
    assert compare(walk(roots), roots, lambda: loss.backward(retain_graph=True)) > 10
