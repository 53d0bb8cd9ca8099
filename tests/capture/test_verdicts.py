"""The verdict on every parameter against what `backward()` then leaves in its `.grad`."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from graphviz_cli.capture import Request, capture, capture_tensors, parse_target
from graphviz_cli.capture.names import TensorNames
from graphviz_cli.graph.model import Graph
from graphviz_cli.graph.verdict import UNKNOWN, Status, Verdict, verdicts
from tests.capture.severed import graph_of

Program = Callable[[], tuple[Tensor, dict[str, Any]]]

PROGRAMS: dict[str, tuple[Program, dict[str, Status]]] = {}
"""Each with the verdicts that are not REACHED, by parameter."""


def program(**expected: Status) -> Callable[[Program], Program]:
    def add(function: Program) -> Program:
        statuses = {name.replace("__", "."): status for name, status in expected.items()}
        PROGRAMS[function.__name__] = function, statuses
        return function

    return add


def net(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def data(*shape: int) -> Tensor:
    return torch.randn(*shape or (4, 3))


@program()
def plain():
    model = net(3, 4, 1)
    return model(data()).mean(), {"model": model}


@program(body__0__weight=Status.FROZEN, body__0__bias=Status.FROZEN)
def frozen_backbone():
    body, head = net(3, 4), nn.Linear(4, 1)
    body.requires_grad_(requires_grad=False)
    return head(body(data())).mean(), {"body": body, "head": head}


@program(body__0__weight=Status.CUT, body__0__bias=Status.CUT)
def backbone_under_no_grad():
    body, head = net(3, 4), nn.Linear(4, 1)
    with torch.no_grad():
        features = body(data())
    return head(features).mean(), {"body": body, "head": head}


@program(body__0__weight=Status.CUT, body__0__bias=Status.CUT)
def detached_features():
    body, head = net(3, 4), nn.Linear(4, 1)
    return head(body(data()).detach()).mean(), {"body": body, "head": head}


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(3, 3)
        self.base.requires_grad_(requires_grad=False)
        self.a, self.b = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.zeros(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a @ self.b


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return (x * weight).detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return grad * weight, grad * x


@program()
def a_custom_function_with_a_parameter():
    scale, head = nn.Linear(3, 4), nn.Linear(3, 1)
    y = Scale.apply(data(), scale.weight[:1] + scale.bias.sum())
    return head(y).mean(), {"scale": scale, "head": head}


@program(scale__weight=Status.DROPPED, scale__bias=Status.UNUSED)
def a_custom_function_whose_result_is_dropped():
    scale, head = nn.Linear(3, 4), nn.Linear(3, 1)
    x = data()
    Scale.apply(x, scale.weight)
    return head(x).mean(), {"scale": scale, "head": head}


@program(first__weight=Status.CUT, first__bias=Status.CUT)
def a_tensor_written_to_without_gradients():
    first, head, table = nn.Linear(3, 3), nn.Linear(3, 1), torch.zeros(3)
    with torch.no_grad():
        table += first.weight.sum(0) * first.bias
    return head(data() * table).mean(), {"first": first, "head": head}


@program(encoder__0__weight=Status.CUT, encoder__0__bias=Status.CUT)
def rounded_by_python():
    encoder, head = net(3, 3), nn.Linear(3, 1)
    scale = [float(part) for part in encoder(data()).sum(0)]
    return head(data() * torch.tensor(scale)).mean(), {"encoder": encoder, "head": head}


@program(encoder__0__weight=Status.CUT, encoder__0__bias=Status.CUT)
def only_a_branch_depends_on_it():
    encoder, head = net(3, 3), nn.Linear(3, 1)
    y = head(data())
    if encoder(data()).sum() > 0:
        y = y * 2
    return y.mean(), {"encoder": encoder, "head": head}


@program(model__base__weight=Status.FROZEN, model__base__bias=Status.FROZEN)
def lora():
    model = Lora()
    return model(data()).square().mean(), {"model": model}


@program(g__0__weight=Status.CUT, g__0__bias=Status.CUT)
def discriminator_step():
    g, d = net(2, 3), net(3, 1)
    fake = g(data(4, 2))
    loss = functional.softplus(d(fake.detach())).mean() + functional.softplus(-d(data())).mean()
    return loss, {"g": g, "d": d}


@program()
def generator_step():
    g, d = net(2, 3), net(3, 1)
    return functional.softplus(-d(g(data(4, 2)))).mean(), {"g": g, "d": d}


@program(target__0__weight=Status.CUT, target__0__bias=Status.CUT)
def q_learning_with_a_target_network():
    q = net(3, 2)
    target = copy.deepcopy(q)
    with torch.no_grad():
        best = target(data()).max(1).values
    values = q(data()).gather(1, torch.tensor([[0], [1], [0], [1]])).squeeze(1)
    return functional.mse_loss(values, 1 + 0.9 * best), {"q": q, "target": target}


@program(teacher__0__weight=Status.FROZEN, teacher__0__bias=Status.FROZEN)
def distillation_from_an_average():
    student = net(3, 2)
    teacher = copy.deepcopy(student).requires_grad_(requires_grad=False)
    with torch.no_grad():
        for ours, theirs in zip(teacher.parameters(), student.parameters()):
            ours.mul_(0.9).add_(theirs, alpha=0.1)
    x = data()
    return functional.mse_loss(student(x), teacher(x)), {"student": student, "teacher": teacher}


@program()
def straight_through():
    encoder, decoder = net(3, 4), net(4, 3)
    z = encoder(data())
    z = z + (z.round() - z).detach()
    return decoder(z).mean(), {"encoder": encoder, "decoder": decoder}


@program()
def rounded():
    encoder, decoder = net(3, 4), net(4, 3)
    return decoder(encoder(data()).round()).mean(), {"encoder": encoder, "decoder": decoder}


@program(encoder__0__weight=Status.CUT, encoder__0__bias=Status.CUT)
def chosen_by_argmax():
    encoder, table = net(3, 4), nn.Embedding(4, 2)
    return table(encoder(data()).argmax(1)).mean(), {"encoder": encoder, "table": table}


class Quantizer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Embedding(5, 3)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        nearest = torch.cdist(z, self.codes.weight).argmin(1)
        code = self.codes(nearest)
        loss = functional.mse_loss(z, code.detach()) + functional.mse_loss(z.detach(), code)
        return z + (code - z).detach(), loss


@program()
def vector_quantization():
    encoder, quantizer, decoder = net(2, 3), Quantizer(), net(3, 2)
    x = data(4, 2)
    z, loss = quantizer(encoder(x))
    modules = {"encoder": encoder, "quantizer": quantizer, "decoder": decoder}
    return functional.mse_loss(decoder(z), x) + loss, modules


@program()
def checkpointed():
    first, second = net(3, 4), net(4, 1)
    y = checkpoint(second, first(data()), use_reentrant=False)
    return y.mean(), {"first": first, "second": second}


@program(second__0__weight=Status.UNKNOWN, second__0__bias=Status.UNKNOWN)
def checkpointed_with_reentry():
    first, second = net(3, 4), net(4, 1)
    y = checkpoint(second, first(data()), use_reentrant=True)
    return y.mean(), {"first": first, "second": second}


@program(block__0__weight=Status.CUT, block__0__bias=Status.CUT)
def checkpointed_with_reentry_without_a_gradient_to_start_from():
    block, head = net(3, 4), nn.Linear(4, 1)
    return head(checkpoint(block, data(), use_reentrant=True)).mean(), {
        "block": block,
        "head": head,
    }


@program(model__spare__weight=Status.UNUSED, model__spare__bias=Status.UNUSED)
def never_called():
    model = nn.ModuleDict({"used": nn.Linear(3, 1), "spare": nn.Linear(3, 1)})
    return model["used"](data()).mean(), {"model": model}


@program(aux__weight=Status.DROPPED, aux__bias=Status.DROPPED)
def dropped_output():
    body, head, aux = net(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)
    features = body(data())
    aux(features)
    return head(features).mean(), {"body": body, "head": head, "aux": aux}


@program(aux__weight=Status.CUT, aux__bias=Status.CUT)
def only_logged():
    body, head, aux = net(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)
    features = body(data())
    aux(features).mean().item()
    loss = head(features).mean()
    loss.item()
    return loss, {"body": body, "head": head, "aux": aux}


@program(hyper__0__weight=Status.CUT, hyper__0__bias=Status.CUT)
def weights_put_in_through_data():
    hyper, layer = net(2, 3), nn.Linear(3, 1)
    layer.weight.data = hyper(data(1, 2))
    return layer(data()).mean(), {"hyper": hyper, "layer": layer}


@program(hyper__0__weight=Status.CUT, hyper__0__bias=Status.CUT)
def weights_put_in_as_a_parameter():
    hyper, layer = net(2, 3), nn.Linear(3, 1)
    layer.weight = nn.Parameter(hyper(data(1, 2)))
    return layer(data()).mean(), {"hyper": hyper, "layer": layer}


@program(encoder__0__weight=Status.CUT, encoder__0__bias=Status.CUT)
def a_new_leaf():
    encoder, head = net(3, 4), nn.Linear(4, 1)
    z = encoder(data()).detach().requires_grad_()
    return head(z).mean(), {"encoder": encoder, "head": head}


@program()
def recurrent_state_detached_between_chunks():
    cell, head = nn.GRUCell(3, 4), nn.Linear(4, 1)
    state = torch.zeros(4, 4)
    for chunk in range(3):
        for _ in range(2):
            state = cell(data(), state)
        if chunk < 2:
            state = state.detach()
    return head(state).mean(), {"cell": cell, "head": head}


@program(model__1__weight=Status.CUT, model__1__bias=Status.CUT)
def converted_by_numpy():
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    y = model[1](data())
    scale = torch.from_numpy(y.detach().numpy())
    return (model[0](data()) * scale).mean(), {"model": model}


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.body(x)
        return {"one": self.one(h), "two": self.two(h)}


@program(model__two__weight=Status.DROPPED, model__two__bias=Status.DROPPED)
def one_of_two_heads():
    model = TwoHeads()
    return model(data())["one"].mean(), {"model": model}


@program()
def tied_weights():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    return model(torch.tensor([0, 1])).mean(), {"model": model}


@program()
def gradient_penalty():
    critic, x = net(3, 4, 1), data().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    loss = (slope.norm(dim=1) - 1).square().mean() + critic(x).mean()
    return loss, {"critic": critic}


@program(momentum__0__weight=Status.CUT, momentum__0__bias=Status.CUT)
def contrast_with_a_momentum_encoder():
    query = net(3, 4)
    momentum = copy.deepcopy(query)
    q = functional.normalize(query(data()), dim=1)
    with torch.inference_mode():
        k = functional.normalize(momentum(data()), dim=1)
    return functional.cross_entropy(q @ k.clone().T, torch.arange(4)), {
        "query": query,
        "momentum": momentum,
    }


@program(table__weight=Status.FROZEN)
def frozen_table():
    table = nn.Embedding.from_pretrained(torch.randn(5, 3))
    head = nn.Linear(3, 1)
    return head(table(torch.tensor([1, 2]))).mean(), {"table": table, "head": head}


def test_a_parameter_inside_and_outside_of_a_checkpoint_is_known_to_be_both():
    block = net(3, 3)

    def run() -> Tensor:
        x = data().requires_grad_()
        return (checkpoint(block, x, use_reentrant=True) + block(x)).mean()

    graph = graph_of(
        run, lambda: list(block.parameters()), names=lambda: TensorNames([{"b": block}])
    )
    within = graph.annotations[UNKNOWN].values
    found = verdicts(graph, parameters_only=True)
    assert len(found) == 2 and found.keys() == within.keys()
    assert {verdict.status for verdict in found.values()} == {Status.REACHED}


class Compiled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.gate(x).detach()


def test_a_compiled_region_tells_nothing_of_its_parameters():
    head, body = nn.Linear(3, 1), Compiled()
    loss = head(torch.compile(body, backend="aot_eager")(data())).mean()
    found = verdicts_by_name(capture_tensors(loss))
    loss.backward()
    assert body.gate.weight.grad is None and body.body.weight.grad is not None
    for part in ("body", "gate"):
        verdict = found[f"body.{part}.weight"]
        assert verdict.status is Status.UNKNOWN
        assert verdict.reason == "it is used within CompiledFunctionBackward, which hides its ops"
    assert found["head.weight"].status is Status.REACHED


@pytest.mark.slow
def test_an_op_of_a_cpp_extension_tells_nothing_of_the_parameters_of_its_module():
    if shutil.which("ninja") is None:
        pytest.skip("building an extension takes ninja")
    from torch.utils.cpp_extension import load_inline

    extension = load_inline("scaled", CPP, functions=["scaled"])

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.given, self.held = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return extension.scaled(x, self.given)

    body, head, spare = nn.Linear(3, 3), nn.Sequential(Scaled()), nn.Linear(3, 1)
    modules = {"body": body, "head": head, "spare": spare}
    graph = graph_of(
        lambda: head(body(data())).mean(),
        lambda: list(parameters_of(modules).values()),
        names=lambda: TensorNames([modules]),
    )
    found = verdicts_by_name(graph)
    assert found["body.weight"].status is Status.REACHED
    assert found["spare.weight"].status is Status.UNUSED
    assert found["head.0.given"].reason == "it is used within CppNode<Scaled>, which hides its ops"
    assert found["head.0.held"].reason == "its module calls CppNode<Scaled>, which hides its ops"


CPP = """
#include <torch/extension.h>

struct Scaled : public torch::autograd::Function<Scaled> {
  static torch::Tensor forward(
      torch::autograd::AutogradContext* ctx, torch::Tensor x, torch::Tensor by) {
    return x * by;
  }
  static torch::autograd::tensor_list backward(
      torch::autograd::AutogradContext* ctx, torch::autograd::tensor_list grads) {
    return {grads[0], torch::Tensor()};
  }
};

torch::Tensor scaled(torch::Tensor x, torch::Tensor by) { return Scaled::apply(x, by); }
"""


def verdicts_by_name(graph: Graph) -> dict[str, Verdict]:
    found = verdicts(graph, parameters_only=True)
    return {name: v for leaf, v in found.items() for name in graph.nodes[leaf].names}


def parameters_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        name: parameter
        for variable, module in modules.items()
        for name, parameter in module.named_parameters(variable, remove_duplicate=False)
    }


@pytest.mark.filterwarnings("ignore:None of the inputs", "ignore:Converting a tensor")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_verdict_is_what_backward_leaves(name):
    torch.manual_seed(0)
    function, expected = PROGRAMS[name]
    kept: list[tuple[Tensor, dict[str, Any]]] = []

    def run() -> Tensor:
        kept.append(function())
        return kept[0][0]

    graph = graph_of(
        run,
        lambda: list(parameters_of(kept[0][1]).values()),
        names=lambda: TensorNames([kept[0][1]]),
    )
    loss, modules = kept[0]
    found = verdicts_by_name(graph)
    loss.backward()
    parameters = parameters_of(modules)
    assert set(parameters) == set(found)
    for path, parameter in parameters.items():
        status = expected.get(path, Status.REACHED)
        assert found[path].status is status, path
        if status is not Status.UNKNOWN:
            assert (parameter.grad is not None) == (status is Status.REACHED), path


SAMPLES = Path(__file__).parents[2] / "samples"


class FirstBackward(BaseException):
    """Ends a script at its first backward call."""

    def __init__(self, root: Tensor) -> None:
        self.root = root


@pytest.mark.parametrize(
    "sample", sorted(path.stem for path in SAMPLES.glob("*.py") if path.stem != "hf")
)
def test_the_verdict_on_a_sample_is_what_its_backward_leaves(sample, monkeypatch):
    script = SAMPLES / f"{sample}.py"

    def stop(tensor: Tensor, *arguments: object, **options: object) -> None:
        raise FirstBackward(tensor)

    monkeypatch.setattr("sys.argv", [str(script)])
    variables: dict[str, Any] = {"__name__": "__main__"}
    with monkeypatch.context() as patch, pytest.raises(FirstBackward) as stopped:
        patch.setattr(torch.Tensor, "backward", stop)
        exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), variables)
    root = stopped.value.root
    root.backward(torch.ones_like(root))
    modules = {name: v for name, v in variables.items() if isinstance(v, nn.Module)}
    tensors = {name: v for name, v in variables.items() if isinstance(v, Tensor) and v.is_leaf}
    tensors.update(parameters_of(modules))

    graph = capture(parse_target(str(script)), Request()).graph
    found = {
        name: verdict
        for leaf, verdict in verdicts(graph).items()
        for name in graph.nodes[leaf].names
    }
    assert found and found.keys() <= tensors.keys()
    for name, verdict in found.items():
        assert (tensors[name].grad is not None) == (verdict.status is Status.REACHED), name
