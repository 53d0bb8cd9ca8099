"""What leaves and modules are called."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from graphviz_cli.capture.names import LeafName, TensorNames
from graphviz_cli.graph.model import Role

from .targets import captured, leaves, write


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


def test_a_tied_weight_has_all_its_names_and_its_first_owner() -> None:
    model = Tied()
    names = TensorNames([{"model": model}])
    assert names.of(model.head.weight) == LeafName(
        ("model.embedding.weight", "model.head.weight"), Role.PARAMETER, "model.embedding"
    )


def test_buffers_inputs_and_trained_tensors_have_their_roles() -> None:
    model = Tied()
    w, x = torch.ones(2, requires_grad=True), torch.ones(2)
    variables = {"model": model, "w": w, "x": x, "optimizer": torch.optim.SGD([w], lr=1)}
    names = TensorNames([variables])
    running = model.norm.running_mean
    assert running is not None
    assert names.of(running) == LeafName(("model.norm.running_mean",), Role.BUFFER, "model.norm")
    assert names.of(w) == LeafName(("w",), Role.PARAMETER)
    assert names.of(x) == LeafName(("x",), Role.INPUT)
    assert names.of(torch.ones(2)) == LeafName((), Role.INPUT)
    assert names.of(nn.Parameter(torch.ones(2))).role is Role.PARAMETER


def test_the_module_of_a_module_target_has_the_empty_path() -> None:
    model = Tied()
    names = TensorNames()
    names.add_module(model, "")
    assert names.of(model.embedding.weight).names == ("embedding.weight", "head.weight")
    assert names.of(model.embedding.weight).owner == "embedding"
    assert names.module_paths[id(model)] == ""
    assert names.module_paths[id(model.norm)] == "norm"


def test_modules_are_named_by_the_outermost_variable_and_not_by_their_parts() -> None:
    model = Tied()
    outer = {"trainer": SimpleNamespace(models=[model])}
    inner = {"self": model.norm, "net": model, "layers": [model.head]}
    names = TensorNames([outer, inner])
    assert names.modules == (model,)
    assert names.of(model.norm.weight).names == ("trainer.models.0.norm.weight",)
    assert names.module_paths[id(model.head)] == "trainer.models.0.head"
    assert TensorNames([{"self": model}]).module_paths[id(model)] == "Tied"


def test_modules_that_hold_each_other_or_lie_on_many_paths_are_named_in_time() -> None:
    parent, child = nn.Module(), nn.Linear(1, 1)
    parent.child, child.parent = child, parent
    names = TensorNames([{"net": parent}])
    assert names.of(child.weight).names == ("net.child.weight",)
    net: nn.Module = nn.Linear(1, 1)
    for _ in range(40):
        outer = nn.Module()
        outer.left = outer.right = net
        net = outer
    TensorNames([{"net": net}])


def test_a_variable_of_an_outer_function_wins_over_one_of_an_inner() -> None:
    w = torch.ones(2)
    names = TensorNames([{"w": w, "alias": w}, {"tensor": w}])
    assert names.of(w).names == ("w", "alias")


def test_what_compile_puts_in_front_is_taken_off() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    for module in (torch.compile(model), model):
        names = TensorNames([{"model": module}])
        assert names.of(model[0].weight).names == ("model.0.weight",)
        assert names.module_paths[id(model[0])] == "model.0"


def test_leaves_of_a_program_are_named_through_its_functions(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import torch
        from torch import nn

        class Trainer:
            def __init__(self, net):
                self.net = net
                self.bias = torch.zeros(1, requires_grad=True)
                self.optimizer = torch.optim.SGD([self.bias], lr=0.1)

            def fit(self, batch):
                scale = torch.ones(1, requires_grad=True)
                loss = self.loss(self.net(batch) * scale + self.bias)
                loss.backward()

            def loss(self, output):
                return output.sum()

        def main():
            trainer = Trainer(nn.Linear(3, 1))
            trainer.fit(torch.ones(2, 3))

        main()
        """,
    )
    graph = captured(tmp_path, "train.py").graph
    assert leaves(graph) == {
        "trainer.net.weight",
        "trainer.net.bias",
        "trainer.bias",
        "scale",
    }
    roles = {node.names[0]: node.role for node in graph.nodes if node.names and not node.size}
    assert roles["trainer.bias"] is Role.PARAMETER
    assert roles["scale"] is Role.INPUT
    assert {call.path for call in graph.modules} == {"trainer.net"}


def test_only_modules_that_were_called_show_parameters_that_no_gradient_reaches(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        "train.py",
        """
        import torch
        from torch import nn
        called, idle = nn.Linear(2, 2), nn.Linear(2, 2)
        trained = nn.Linear(2, 1)
        trained(called(torch.ones(1, 2)).detach()).sum().backward()
        """,
    )
    assert leaves(captured(tmp_path, "train.py").graph) == {
        "called.weight",
        "called.bias",
        "trained.weight",
        "trained.bias",
    }
