"""Tiny programs, each with something that is easy to get wrong about autograd's graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

Program = Callable[[], Sequence[torch.Tensor]]


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


@contextmanager
def quiet_checkpoint_debugging() -> Iterator[None]:
    """A checkpoint with `debug=True` logs in a way that pytest's own handler cannot format."""
    logger = logging.getLogger("LoggingTensor")
    propagate, logger.propagate = logger.propagate, False
    yield
    logger.propagate = propagate


class Scaled(torch.autograd.Function):
    """Saves a tensor the proper way."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, factor = ctx.saved_tensors
        return gradients[0] * factor, gradients[0] * x


class Split(torch.autograd.Function):
    """Has four outputs, of which two are no differentiable tensors."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> Any:
        signs = x.sign()
        ctx.mark_non_differentiable(signs)
        return x * 2, "no tensor", signs, x * 3

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0] * 2 + gradients[3] * 3


def square() -> Sequence[torch.Tensor]:
    x = leaf(3)
    return [x * x]


def same_input_three_times() -> Sequence[torch.Tensor]:
    x = leaf(2, 2)
    return [torch.addmm(x, x, x)]


def diamond() -> Sequence[torch.Tensor]:
    x = leaf(4)
    left = x.sin()
    return [(left * left.exp() + left).sum()]


def split() -> Sequence[torch.Tensor]:
    first, _, last = leaf(6, 2).split(2)
    return [first * last]


def unbind_all() -> Sequence[torch.Tensor]:
    return list(leaf(3, 2).unbind())


def svd() -> Sequence[torch.Tensor]:
    left, values, right = torch.linalg.svd(leaf(3, 3, dtype=torch.float64), full_matrices=False)
    return [(left @ right).sum() + values[0]]


def maximum_with_indices() -> Sequence[torch.Tensor]:
    values, indices = leaf(3, 4).max(dim=1)
    return [values * indices]


def lu() -> Sequence[torch.Tensor]:
    _, lower, upper = torch.linalg.lu(leaf(3, 3, dtype=torch.float64))
    return [lower + upper]


def in_place() -> Sequence[torch.Tensor]:
    x = leaf(3)
    y = x * 2
    y.mul_(x).add_(1)
    return [y]


def write_into_view() -> Sequence[torch.Tensor]:
    x, y = leaf(4, 3), leaf(3)
    buffer = x * 1
    buffer[1] = y * y
    buffer[:, 0] *= 2
    return [buffer.sum()]


def view_of_written() -> Sequence[torch.Tensor]:
    x = leaf(4, 3)
    base = x * 1
    view = base[0]
    base.mul_(2)
    return [view * view, base]


def views() -> Sequence[torch.Tensor]:
    x = leaf(2, 3, 4)
    return [x.transpose(0, 1).reshape(3, 8)[1:].T.expand(2, 8, 2).permute(2, 0, 1).flatten()]


def index() -> Sequence[torch.Tensor]:
    x = leaf(5, 4)
    return [x[:, torch.tensor([0, 2])] + x[torch.tensor([1, 1, 1, 1, 1])][:, :2]]


def concatenate() -> Sequence[torch.Tensor]:
    x = leaf(2)
    return [torch.cat([x, torch.ones(1), x * 2, x])]


def constants() -> Sequence[torch.Tensor]:
    frozen = torch.ones(3)
    return [frozen * leaf(3) + leaf(3).detach() * leaf(3)]


def custom_function() -> Sequence[torch.Tensor]:
    return [Scaled.apply(leaf(3), leaf(3)).sum()]


def custom_function_with_odd_outputs() -> Sequence[torch.Tensor]:
    first, _, signs, last = Split.apply(leaf(3) * 1)
    return [first * signs + last]


def complex_numbers() -> Sequence[torch.Tensor]:
    z = leaf(3, dtype=torch.complex64)
    return [(z * z.conj() + torch.fft.fft(z)).abs().sum()]


def complex_of_real() -> Sequence[torch.Tensor]:
    x = leaf(3)
    return [x * torch.ones(3, dtype=torch.complex64)]


def sparse_embedding() -> Sequence[torch.Tensor]:
    embedding = nn.Embedding(10, 3, sparse=True)
    return [embedding(torch.tensor([1, 1, 7])).sum()]


def shared_weight() -> Sequence[torch.Tensor]:
    embedding = nn.Embedding(7, 4)
    head = nn.Linear(4, 7, bias=False)
    head.weight = embedding.weight
    return [head(embedding(torch.tensor([1, 2]))).logsumexp(1).sum()]


def recurrent() -> Sequence[torch.Tensor]:
    cell, state = nn.GRUCell(3, 3), torch.zeros(2, 3)
    for _ in range(4):
        state = cell(torch.ones(2, 3), state)
    return [state]


def fused_recurrent() -> Sequence[torch.Tensor]:
    output, (hidden, _) = nn.LSTM(3, 4, num_layers=2)(torch.randn(5, 2, 3))
    return [output, hidden]


def convolution() -> Sequence[torch.Tensor]:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5)
    )
    return [net(torch.randn(2, 3, 8, 8))]


def attention() -> Sequence[torch.Tensor]:
    query = torch.randn(2, 5, 8)
    output, weights = nn.MultiheadAttention(8, 2, batch_first=True)(query, query, query)
    return [output, weights]


def norm_and_loss() -> Sequence[torch.Tensor]:
    layer = nn.Sequential(nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 3))
    return [nn.functional.cross_entropy(layer(torch.randn(5, 4)), torch.tensor([0, 1, 2, 0, 1]))]


def mixed_precision() -> Sequence[torch.Tensor]:
    layer = nn.Linear(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        return [layer(layer(torch.randn(2, 4))).float()]


def checkpointed() -> Sequence[torch.Tensor]:
    layer = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    return [checkpoint(layer, leaf(2, 4), use_reentrant=False).sum()]


def saved_elsewhere() -> Sequence[torch.Tensor]:
    x = leaf(3)
    with torch.autograd.graph.save_on_cpu():
        return [(x.exp() * x).sum()]


def packed_as_something_else() -> Sequence[torch.Tensor]:
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> int:
        kept.append(tensor)
        return len(kept) - 1

    x = leaf(3)
    with saved_tensors_hooks(pack, kept.__getitem__):
        return [(x.exp() * x).sum()]


def double_backward() -> Sequence[torch.Tensor]:
    x = leaf(3)
    (gradient,) = torch.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
    return [gradient.pow(2).sum()]


def several_roots() -> Sequence[torch.Tensor]:
    x = leaf(3)
    middle = x.sin()
    return [middle, middle.exp(), x * 2, middle.sum()]


def root_is_leaf() -> Sequence[torch.Tensor]:
    x = leaf(3)
    return [x, x * 2]


def scalar() -> Sequence[torch.Tensor]:
    return [leaf() ** 2]


def empty() -> Sequence[torch.Tensor]:
    return [leaf(0, 3).sum()]


PROGRAMS: dict[str, Program] = {
    program.__name__: program
    for program in (
        square, same_input_three_times, diamond, split, unbind_all, svd, maximum_with_indices, lu,
        in_place, write_into_view, view_of_written, views, index, concatenate, constants,
        custom_function, custom_function_with_odd_outputs, complex_numbers, complex_of_real,
        sparse_embedding, shared_weight, recurrent, fused_recurrent, convolution, attention,
        norm_and_loss, mixed_precision, checkpointed, saved_elsewhere, packed_as_something_else,
        double_backward, several_roots, root_is_leaf, scalar, empty,
    )
}  # fmt: skip
