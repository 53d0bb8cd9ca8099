"""Where the gradient starts: which of the tensors that were found are roots."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.backward import Output, node_of
from graphviz_cli.capture.contents import contents, is_path, lookup
from graphviz_cli.capture.live import visit
from graphviz_cli.capture.names import Namespace
from graphviz_cli.capture.walk import RootTensor
from graphviz_cli.errors import UsageError

Found = tuple[str, Output]


def candidates(found: Iterable[Found]) -> list[RootTensor]:
    """Those of the tensors that were computed with a graph, each output of a backward op once.

    Where different tensors have one name (the `x` of two functions), the later ones are numbered;
    those without a name stay so.
    """
    chosen: dict[tuple[Any, int], RootTensor] = {}
    names: set[str] = set()
    with private.undisturbed():
        for name, tensor in found:
            node = node_of(tensor)
            if node is None or (node, tensor.output_nr) in chosen:
                continue
            unique, number = name, 2
            while unique and unique in names:
                unique, number = f"{name} #{number}", number + 1
            names.add(unique)
            chosen[node, tensor.output_nr] = RootTensor(unique, tensor)
    return list(chosen.values())


def sinks(roots: Sequence[RootTensor]) -> list[RootTensor]:
    """Those that no other one was computed from."""
    if len(roots) < 2:
        return list(roots)
    with private.undisturbed():
        nodes = [node_of(root.tensor) for root in roots]
        live = visit(nodes)
    used = set(live.edges.targets)
    # The first nodes to be visited are those of the roots.
    used_roots = {node for id, node in enumerate(live.nodes[: len(roots)]) if id in used}
    return [root for root, node in zip(roots, nodes) if node not in used_roots]


def preferred(roots: Sequence[RootTensor]) -> list[RootTensor]:
    """Where a user would start who says nothing: at a scalar `loss`, else at all the sinks."""
    for root in roots:
        tensor = root.tensor
        is_loss = root.name.rpartition(".")[2] == "loss"
        if is_loss and isinstance(tensor, torch.Tensor) and tensor.numel() == 1:
            return [root]
    return sinks(roots)


def named(wanted: str, found: Sequence[Found], namespaces: Sequence[Namespace]) -> list[Found]:
    """The tensors that `--root` asks for: by name, or as a path in the user's variables.

    A name may stand for all tensors in it (`past` for `past.0.key`, `past.0.value`). The innermost
    function's variables come first. Raises UsageError if there is no such tensor.
    """
    chosen = [(name, tensor) for name, tensor in found if name == wanted]
    chosen = chosen or [f for f in found if f[0].startswith(f"{wanted}.")]
    if chosen:
        return chosen
    if is_path(wanted):
        for variables in reversed(namespaces):
            try:
                value = lookup(variables, wanted)
            except (LookupError, AttributeError, TypeError):
                continue
            chosen = list(contents(value, torch.Tensor, name=wanted))
            if chosen:
                return chosen
            raise UsageError(f"{wanted!r} holds no tensor: it is a {type(value).__name__}.")
    known = list(dict.fromkeys(root.name for root in candidates(found)))
    close = difflib.get_close_matches(wanted, known, n=1)
    listed = f"Known: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}."
    raise UsageError(
        f"There is no tensor named {wanted!r}.",
        hint=f"Did you mean {close[0]!r}?" if close else listed if known else None,
    )
