"""The captured graph before judges that know nothing of the walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from graphviz_cli.capture.walk import RootTensor, walk
from graphviz_cli.graph.model import Graph
from tests.capture.programs import PROGRAMS, Program
from tests.oracles import assert_runs_like_autograd, assert_same_as_bare_walk


def captured(tensors: Sequence[torch.Tensor]) -> Graph:
    return walk([RootTensor(str(i), tensor) for i, tensor in enumerate(tensors)])


@pytest.fixture(params=PROGRAMS.values(), ids=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Program:
    torch.manual_seed(0)
    return request.param


def test_nodes_edges_and_leaves_are_those_of_a_bare_walk(program: Program) -> None:
    tensors = program()
    assert_same_as_bare_walk(captured(tensors), tensors)


def test_running_the_captured_graph_gives_the_gradients_of_autograd(program: Program) -> None:
    tensors = program()
    assert assert_runs_like_autograd(captured(tensors), tensors) > 0


SHORT = (
    "addmm", "cat", "chunk", "cumsum", "div", "einsum", "expand", "fft.rfft", "gather",
    "index_put", "linalg.eigh", "linalg.lu", "linalg.qr", "logsumexp", "masked_fill", "max",
    "nn.functional.batch_norm", "nn.functional.conv2d", "nn.functional.cross_entropy",
    "nn.functional.embedding", "nn.functional.gelu", "nn.functional.layer_norm",
    "nn.functional.scaled_dot_product_attention", "pow", "prod", "scatter_add", "softmax", "sort",
    "split", "stack", "sum", "svd", "topk", "unbind", "where",
)  # fmt: skip

ILL_DEFINED = ("linalg.eig", "linalg.eigh", "pca_lowrank", "svd_lowrank", "to_sparse")
"""Backward refuses the gradients that the judge puts in: only some are well-defined."""


@pytest.fixture(scope="module")
def ops() -> Mapping[str, list[Any]]:
    """torch's own list of its ops, by name, each able to make sample inputs."""
    pytest.importorskip("expecttest", reason="torch's samples of its ops need expecttest")
    from torch.testing._internal.common_methods_invocations import op_db

    by_name: dict[str, list[Any]] = {}
    for op in op_db:
        by_name.setdefault(op.name, []).append(op)
    return by_name


def results(op: Any, most: int) -> Iterator[list[torch.Tensor]]:
    """What an op makes of its samples, and its in-place form of theirs, where it has a graph."""
    for dtype in (torch.float32, torch.complex64):
        if not op.supports_autograd or dtype not in op.supported_backward_dtypes("cpu"):
            continue
        in_place = op.get_inplace() if op.supports_inplace_autograd else None
        for sample in islice(op.sample_inputs("cpu", dtype, requires_grad=True), most):
            made = [op(sample.input, *sample.args, **sample.kwargs)]
            if in_place is not None and not sample.broadcasts_input:
                with suppress(RuntimeError):  # not every sample can be written to
                    made.append(in_place(sample.input.clone(), *sample.args, **sample.kwargs))
            for result in made:
                tensors = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
                rooted = [t for t in tensors if t.requires_grad]
                if rooted:
                    yield rooted


def check(op: Any, most: int) -> int:
    count = 0
    for tensors in results(op, most):
        count += 1
        graph = captured(tensors)
        assert_same_as_bare_walk(graph, tensors)
        if op.name not in ILL_DEFINED:
            assert_runs_like_autograd(graph, tensors)
    return count


@pytest.mark.parametrize("name", SHORT)
def test_some_of_all_ops_pass_before_both_judges(name: str, ops: Mapping[str, list[Any]]) -> None:
    torch.manual_seed(0)
    assert sum(check(op, 2) for op in ops[name]) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_ops_pass_before_both_judges(ops: Mapping[str, list[Any]]) -> None:
    torch.manual_seed(0)
    assert sum(check(op, 8) for same_name in ops.values() for op in same_name) > 4_000
