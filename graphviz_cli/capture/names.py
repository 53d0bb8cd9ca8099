"""What the user calls tensors and modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from graphviz_cli.capture.contents import contents
from graphviz_cli.graph.model import Role

Namespace = Mapping[str, object]

_COMPILED = "_orig_mod."


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
        self._optimized: set[int] = set()
        found: dict[int, tuple[nn.Module, str]] = {}
        for variables in namespaces:
            for path, module in contents(variables, nn.Module):
                name = type(module).__name__ if path == "self" else path
                found.setdefault(id(module), (module, name))
            for _, optimizer in contents(variables, Optimizer):
                self._optimized.update(id(p) for p in _optimized(optimizer))
        inner = {id(p) for module, _ in found.values() for p in module.modules() if p is not module}
        for module, path in found.values():
            if id(module) not in inner:
                self.add_module(module, path)
        for variables in namespaces:
            self.add_variables(variables)

    def add_module(self, module: nn.Module, path: str) -> None:
        """Name a module, all within it, its parameters and buffers after `path`."""
        self._modules.append(module)
        prefix = f"{path}." if path else ""
        for name, part in module.named_modules(remove_duplicate=False):
            self.module_paths.setdefault(id(part), _plain(prefix + name if name else path))
        parameters = module.named_parameters(prefix=path, remove_duplicate=False)
        self._add(((_plain(name), tensor) for name, tensor in parameters), Role.PARAMETER)
        buffers = module.named_buffers(prefix=path, remove_duplicate=False)
        self._add(((_plain(name), tensor) for name, tensor in buffers), Role.BUFFER)

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
    def modules(self) -> tuple[nn.Module, ...]:
        """The known modules that are within no other one."""
        return tuple(self._modules)

    def _add(self, named: Iterable[tuple[str, torch.Tensor]], role: Role | None) -> None:
        added: dict[int, list[str]] = {}
        for name, tensor in named:
            if id(tensor) in added:
                if name not in added[id(tensor)]:
                    added[id(tensor)].append(name)
            elif id(tensor) not in self._names:
                added[id(tensor)] = [name]
                self._held.append(tensor)
                owner = None if role is None else name.rpartition(".")[0]
                self._names[id(tensor)] = LeafName((), role or self._role(tensor), owner)
        for key, names in added.items():
            known = self._names[key]
            self._names[key] = LeafName(tuple(names), known.role, known.owner)

    def _role(self, tensor: torch.Tensor) -> Role:
        is_trained = isinstance(tensor, nn.Parameter) or id(tensor) in self._optimized
        return Role.PARAMETER if is_trained else Role.INPUT


def _plain(path: str) -> str:
    """The path without what `torch.compile` puts in front."""
    return path.replace(_COMPILED, "").removesuffix("." + _COMPILED[:-1])


def _optimized(optimizer: Optimizer) -> list[torch.Tensor]:
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]
