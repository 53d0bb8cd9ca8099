"""The recorder of cuts changes no graph, and a model without cuts has none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graphviz_cli.capture import Request, capture, parse_target
from graphviz_cli.graph.model import Edge, Graph, NodeKind
from graphviz_cli.graph.traversal import Adjacency, descendants
from graphviz_cli.graph.verdict import Status, verdicts
from tests.capture.severed import graph_of, shown

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import models

QUICK = 12
"""Every how many entries of op_db and module_db the short form takes one."""


def bare(graph: Graph) -> tuple[Any, ...]:
    """What the roots reach without going through a cut or to a constant."""
    skipped = {*graph.nodes.ids(NodeKind.CUT), *graph.nodes.ids(NodeKind.CONSTANT)}
    edges = [e for e in graph.edges if not {e.source, e.target} & skipped]
    adjacency = Adjacency.of(len(graph.nodes), [e.source for e in edges], [e.target for e in edges])
    reached = sorted(descendants(adjacency, [root.node for root in graph.roots]))
    assert reached == list(range(len(reached))), "what the roots reach comes first"
    nodes = [graph.nodes[node] for node in reached]
    order = sorted((n.sequence_nr, n.id) for n in nodes if n.sequence_nr is not None)
    facts = [
        (
            *(n.kind, n.name, n.names, n.role, n.outputs, n.source, n.size, n.parameters),
            tuple((s.name, s.spec, s.state) for s in n.saved),
            None if n.module is None else graph.modules[n.module].path,
        )
        for n in nodes
    ]
    flow: list[Edge] = [e for e in edges if e.source in set(reached)]
    return facts, flow, [node for _, node in order], graph.roots


def assert_undisturbed(program: Callable[[], Any]) -> Graph:
    torch.manual_seed(0)
    without = graph_of(program, cuts=False)
    torch.manual_seed(0)
    graph = graph_of(program)
    assert bare(graph) == bare(without)
    return graph


MODELS = [
    (models.gpt2, (2, 24)),
    (models.llama, (2,)),
    (models.bert, (2,)),
    (models.t5, (2,)),
    (models.vit, (2,)),
    (models.unet, ()),
    (models.rnn, (20,)),
    (models.lstm, (20,)),
]


@pytest.mark.parametrize(("factory", "sizes"), MODELS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_model_without_cuts_has_the_same_graph_and_no_cut(factory, sizes):
    graph = assert_undisturbed(lambda: factory(*sizes))
    assert shown(graph) == []
    assert {verdict.status for verdict in verdicts(graph).values()} == {Status.REACHED}


def test_a_residual_network_with_batch_norm_has_no_cut():
    def resnet() -> Tensor:
        return models.ResNet((1, 1), width=8)(torch.randn(2, 3, 32, 32)).mean()

    assert shown(assert_undisturbed(resnet)) == []


@pytest.mark.parametrize(
    "factory", [models.experts, lambda: models.moe(1)], ids=["loop", "mixtral"]
)
def test_a_mixture_of_experts_is_cut_only_where_it_chooses(factory):
    graph = assert_undisturbed(factory)
    assert {cut.kind for cut in shown(graph)} <= {"integer output"}
    assert not any(v.status is Status.CUT for v in verdicts(graph).values())


SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize(
    "sample", sorted(path.stem for path in SAMPLES.glob("*.py") if path.stem != "hf")
)
def test_a_sample_has_the_same_graph_without_the_recorder(sample):
    target = parse_target(str(SAMPLES / f"{sample}.py"))
    with_cuts, without = (capture(target, Request(cuts=cuts)).graph for cuts in (True, False))
    assert bare(with_cuts) == bare(without)
    kinds = [with_cuts.nodes.names[cut] for cut in with_cuts.nodes.ids(NodeKind.CUT)]
    assert kinds == CUT_SAMPLES.get(sample, [])


CUT_SAMPLES = {
    "detach": ["detach"],
    "no_grad": ["no_grad"],
    "data_bypass": [".data"],
    "unused_parameter": ["detach"],
}


def tracked(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.requires_grad:
            yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tracked(item)


def checked_op(op: Any) -> int:
    """How many samples of an op were compared."""
    compared = 0
    for dtype in (torch.float32, torch.complex64):
        if not op.supports_dtype(dtype, "cpu") or not op.supports_autograd:
            continue
        for number in range(4):
            torch.manual_seed(0)
            try:
                samples = op.sample_inputs("cpu", dtype, requires_grad=True)
                sample = next(islice(samples, number, None))
                results = tuple(tracked(op(sample.input, *sample.args, **sample.kwargs)))
            except Exception:  # the sample itself is not for this build of torch
                continue
            if not results:
                continue

            def program(sample: Any = sample) -> tuple[Tensor, ...]:
                return tuple(tracked(op(sample.input, *sample.args, **sample.kwargs)))

            assert_undisturbed(program)
            compared += 1
    return compared


def checked_module(info: Any) -> int:
    """How many samples of a module were compared."""
    compared = 0
    samples = info.module_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=True, training=True
    )
    for sample in list(samples)[:3]:
        torch.manual_seed(0)
        given = sample.constructor_input
        try:
            module = info.module_cls(*given.args, **given.kwargs)
            call = sample.forward_input
            results = tuple(tracked(module(*call.args, **call.kwargs)))
        except Exception:  # the sample itself is not for this build of torch
            continue
        if results:
            assert_undisturbed(lambda m=module, c=call: tuple(tracked(m(*c.args, **c.kwargs))))
            compared += 1
    return compared


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", [QUICK, pytest.param(1, marks=pytest.mark.slow)])
def test_no_op_is_disturbed(every):
    pytest.importorskip("expecttest", reason="torch's op database needs expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    assert sum(map(checked_op, op_db[::every])) > len(op_db[::every])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", [QUICK, pytest.param(1, marks=pytest.mark.slow)])
def test_no_module_is_disturbed(every):
    pytest.importorskip("expecttest", reason="torch's module database needs expecttest")
    from torch.testing._internal.common_modules import module_db

    assert sum(map(checked_module, module_db[::every])) > len(module_db[::every]) / 2
