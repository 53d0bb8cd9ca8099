"""Why there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from graphviz_cli.capture import private
from graphviz_cli.capture.roots import Found
from graphviz_cli.errors import NoGraphError

_GATES = ("no_grad", "inference_mode", "set_grad_enabled")


def no_graph(
    what: str,
    found: Sequence[Found],
    modules: Sequence[nn.Module] = (),
    *,
    grad_enabled: bool,
    advice: str | None = None,
) -> NoGraphError:
    """The most helpful thing to say of tensors none of which carries a graph.

    `what` is what made them, `advice` what to do where it made no tensor at all.
    """
    tensors = [(name, value) for name, value in found if isinstance(value, torch.Tensor)]
    if not tensors:
        return NoGraphError(f"{what} left no tensor to draw.", hint=advice)
    with private.undisturbed():
        return _no_graph(what, tensors, modules, grad_enabled=grad_enabled)


def _no_graph(
    what: str,
    found: Sequence[tuple[str, torch.Tensor]],
    modules: Sequence[nn.Module],
    *,
    grad_enabled: bool,
) -> NoGraphError:
    names = _listed([name for name, _ in found])
    carry = "carries" if len(found) == 1 else "carry"
    if not grad_enabled:
        return NoGraphError(
            f"Gradients are switched off in {what}, so {names} {carry} no graph.",
            hint="Look for torch.set_grad_enabled(False).",
        )
    made_in_inference = [name for name, tensor in found if tensor.is_inference()]
    if made_in_inference:
        return NoGraphError(
            f"{_listed(made_in_inference)} {_was(made_in_inference)} computed in "
            "torch.inference_mode(), which builds no graph."
        )
    for module in modules:
        gate = _gate(module)
        if gate is not None:
            return NoGraphError(
                f"{type(module).__name__}.forward is decorated with torch.{gate}, "
                f"so {names} {carry} no graph."
            )
    parameters = [parameter for module in modules for parameter in module.parameters()]
    leaves = [name for name, tensor in found if tensor.requires_grad]
    if modules and not leaves and not any(p.requires_grad for p in parameters):
        owner = _listed([type(module).__name__ for module in modules])
        return NoGraphError(
            f"None of the {len(parameters)} parameters of {owner} requires a gradient."
            if parameters
            else f"{owner} has no parameters, and its inputs require no gradient.",
            hint="Let an input require one, e.g. -i grad:2x16"
            + (", or unfreeze the parameters: model.requires_grad_()." if parameters else "."),
        )
    integers = [
        (name, str(tensor.dtype).removeprefix("torch."))
        for name, tensor in found
        if not (tensor.is_floating_point() or tensor.is_complex())
    ]
    if len(integers) == len(found):
        name, dtype = integers[0]
        return NoGraphError(
            f"{name} is {dtype}, and only floating-point tensors carry a gradient.",
            hint="argmax, comparisons and .long() cut the graph: start from the tensor before.",
        )
    if leaves and len(leaves) + len(integers) == len(found):
        return NoGraphError(
            f"{_listed(leaves)} {'requires' if len(leaves) == 1 else 'require'} a gradient, but "
            f"no result that was computed from {'it' if len(leaves) == 1 else 'them'} is left.",
            hint="Was the result detached, or computed under torch.no_grad()?",
        )
    if not leaves and not any(p.requires_grad for p in parameters):
        return NoGraphError(
            f"{names} {carry} no graph: nothing in {what} requires a gradient.",
            hint="Give the inputs or weights requires_grad=True.",
        )
    whole = {name for name, _ in integers}
    results = [name for name, tensor in found if not tensor.requires_grad and name not in whole]
    return NoGraphError(
        f"{_listed(results)} {'carries' if len(results) == 1 else 'carry'} no graph.",
        hint="Computed under torch.no_grad(), or cut by .detach(), .data, .item() or numpy?",
    )


def _gate(module: nn.Module) -> str | None:
    """The context that decorates a module's forward, if torch made the wrapper around it.

    `context_decorator` of torch/utils/_contextlib.py keeps the context in its closure.
    """
    forward = type(module).forward
    if not hasattr(forward, "__wrapped__"):
        return None
    for cell in getattr(forward, "__closure__", None) or ():
        context = getattr(cell.cell_contents, "__self__", cell.cell_contents)
        name = type(context).__name__
        if name in _GATES and type(context).__module__.startswith("torch."):
            return name
    return None


def _listed(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _was(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"
