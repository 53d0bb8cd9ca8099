"""What observing relies on in torch without torch's promise, one test for each."""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from graphviz_cli.capture import private, private_calls


class Noting(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def test_computed_is_what_has_a_node_and_no_mode_notices_the_question() -> None:
    w = torch.rand(3, requires_grad=True)
    y = w.exp()
    with Noting() as noting:
        assert private.is_computed(y)
        assert not private.is_computed(w)
        assert not private.is_computed(y.detach())
    assert [function.__name__ for function in noting.seen] == ["detach"]


def test_views_are_told_from_other_tensors_unnoticed() -> None:
    y = torch.rand(3, requires_grad=True).exp()
    view, copy = y[1:], y[1:].clone()
    with Noting() as noting:
        assert private.is_view(view)
        assert not private.is_view(copy)
        assert private.viewed(view) is not view and private.viewed(copy) is copy
    assert not noting.seen


def test_module_parts_are_named_and_may_be_missing() -> None:
    block = nn.Sequential(nn.ReLU(), nn.Tanh())
    block.register_module("none", None)
    assert [(name, type(part).__name__) for name, part in private_calls.module_parts(block)] == [
        ("0", "ReLU"),
        ("1", "Tanh"),
        ("none", "NoneType"),
    ]
    scripted = torch.jit.trace(nn.Sequential(nn.ReLU()), torch.rand(2))
    assert [name for name, _ in private_calls.module_parts(scripted)] == ["0"]


def test_a_module_call_with_hooks_has_one_frame_of_its_own() -> None:
    codes: list[CodeType] = []
    running: list[set[int]] = []

    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            frame = sys._getframe()
            running.append(private_calls.running_modules(frame))
            while frame is not None:
                codes.append(frame.f_code)
                frame = frame.f_back  # type: ignore[assignment]
            return x

    inner = Inner()
    outer = nn.Sequential(inner)
    handle = register_module_forward_pre_hook(lambda module, args: None)
    try:
        outer(torch.rand(2))
    finally:
        handle.remove()
    (code,) = private_calls.module_call_code()
    assert codes.count(code) == 2
    assert running == [{id(inner), id(outer)}]


def test_a_mode_is_taken_from_its_place_and_put_back_there() -> None:
    below, mode, above = Noting(), Noting(), Noting()
    with below, mode, above:
        place = private_calls.remove_function_mode(mode)
        assert _get_current_function_mode_stack() == [below, above]
        assert private_calls.remove_function_mode(mode) is None
        assert place == 1
        private_calls.insert_function_mode(mode, place)
        assert _get_current_function_mode_stack() == [below, mode, above]
