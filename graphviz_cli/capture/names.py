"""What the user calls tensors and modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from graphviz_cli.capture.contents import contents
from graphviz_cli.capture.engine import uncompiled
from graphviz_cli.graph.model import Role

Namespace = Mapping[str, object]

_COMPILED = "_orig_mod"
"""How `torch.compile` calls the module that it was given within the one that it gives."""
_MOST_PATHS = 200_000


@dataclass(frozen=True, slots=True)
class LeafName:
    """All names of a tensor, what it is, and the path of the module that owns it."""

    names: tuple[str, ...]
    role: Role
    owner: str | None = None


class TensorNames:
    """Names of the tensors and modules that can be reached from some variables.

    `namespaces` are the variables of a program, outermost function first; a module named by an
    outer one keeps that name. A parameter is named by its modules alone, with all its paths; any
    other tensor by the variables of the outermost function that knows it.
    """

    def __init__(self, namespaces: Sequence[Namespace] = ()) -> None:
        self.module_paths: dict[int, str] = {}
        """Path of every known module by its address; empty for the top of a module target."""
        self._modules: list[nn.Module] = []
        self._names: dict[int, LeafName] = {}
        self._held: list[torch.Tensor] = []
        self._optimized: dict[int, tuple[torch.Tensor, str]] = {}
        found: dict[int, tuple[nn.Module, str]] = {}
        wrappers: list[tuple[nn.Module, nn.Module]] = []
        for variables in namespaces:
            for path, wrapped in contents(variables, nn.Module):
                module = uncompiled(wrapped)
                wrappers.append((wrapped, module))
                name = type(module).__name__ if path == "self" else path
                found.setdefault(id(module), (module, name))
            for _, optimizer in contents(variables, Optimizer):
                for tensor in _optimized(optimizer):
                    self._optimized[id(tensor)] = tensor, type(optimizer).__name__
        inner = {id(p) for module, _ in found.values() for p in module.modules() if p is not module}
        for module, path in found.values():
            if id(module) not in inner:
                self.add_module(module, path)
        for wrapped, module in wrappers:
            self.module_paths.setdefault(id(wrapped), self.module_paths[id(module)])
        for variables in namespaces:
            self.add_variables(variables)

    def add_module(self, module: nn.Module, path: str) -> None:
        """Name a module, all within it, its parameters and buffers after `path`."""
        self._modules.append(module)
        parameters: list[tuple[str, torch.Tensor]] = []
        buffers: list[tuple[str, torch.Tensor]] = []
        for place, part in _parts(module, path):
            self.module_paths.setdefault(id(part), place)
            prefix = f"{place}." if place else ""
            own = part.named_parameters(recurse=False, remove_duplicate=False)
            parameters += ((prefix + name, tensor) for name, tensor in own)
            fixed = part.named_buffers(recurse=False, remove_duplicate=False)
            buffers += ((prefix + name, tensor) for name, tensor in fixed)
        self._add(parameters, Role.PARAMETER)
        self._add(buffers, Role.BUFFER)

    def add_variables(self, variables: Namespace) -> None:
        """Name the tensors in some variables, unless they have a name already."""
        self._add(contents(variables, torch.Tensor), None)

    def of(self, tensor: torch.Tensor) -> LeafName:
        """What a tensor is called; no names where nobody knows it."""
        known = self._names.get(id(tensor))
        return LeafName((), self._role(tensor)) if known is None else known

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All tensors that have a name."""
        return tuple(self._held)

    @property
    def optimized(self) -> tuple[torch.Tensor, ...]:
        """All tensors that an optimizer holds."""
        return tuple(tensor for tensor, _ in self._optimized.values())

    def optimizer_of(self, tensor: torch.Tensor) -> str | None:
        """The class of the optimizer that holds a tensor."""
        known = self._optimized.get(id(tensor))
        return None if known is None else known[1]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The known modules that are within no other one."""
        return tuple(self._modules)

    def _add(self, named: Iterable[tuple[str, torch.Tensor]], role: Role | None) -> None:
        added: dict[int, dict[str, None]] = {}
        for name, tensor in named:
            if id(tensor) in added:
                added[id(tensor)][name] = None
            elif id(tensor) not in self._names:
                added[id(tensor)] = {name: None}
                self._held.append(tensor)
                owner = None if role is None else name.rpartition(".")[0]
                self._names[id(tensor)] = LeafName((), role or self._role(tensor), owner)
        for key, names in added.items():
            known = self._names[key]
            self._names[key] = LeafName(tuple(names), known.role, known.owner)

    def _role(self, tensor: torch.Tensor) -> Role:
        is_trained = isinstance(tensor, nn.Parameter) or id(tensor) in self._optimized
        return Role.PARAMETER if is_trained else Role.INPUT


def _parts(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """A module and all within it, by all of their paths, outer ones first.

    Like `named_modules(remove_duplicate=False)`, which does not end where a module holds one that
    it is in, nor in any useful time where many paths lead to one.
    """
    pending: list[tuple[str, nn.Module, frozenset[int]]] = [(path, module, frozenset())]
    count = 0
    while pending and count < _MOST_PATHS:
        place, part, around = pending.pop()
        count += 1
        yield place, part
        inside = around | {id(part)}
        for name, child in reversed(part._modules.items()):
            if child is not None and id(child) not in inside:
                is_wrapped = name == _COMPILED and uncompiled(part) is child
                below = f"{place}.{name}" if place else name
                pending.append((place if is_wrapped else below, child, inside))


def _optimized(optimizer: Optimizer) -> list[torch.Tensor]:
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]
