"""What distinguishes a module call from its nearly equal neighbour, in one short sentence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from graphviz_cli.graph.model import Node, NodeKind, TensorSpec
from graphviz_cli.transforms.outline import Outline
from graphviz_cli.transforms.paths import parts


def difference(outline: Outline, usual: int, odd: int) -> str:
    """Say what distinguishes the call `odd` from the call `usual`, e.g. `h.5 lacks leaf bias`.

    The leaves are compared first, then the ops, then what the ops give; if these are equal, the
    calls read or are read differently.
    """
    graph = outline.graph
    name = _short(graph.modules[odd].path, graph.modules[usual].path)
    return (
        _difference_of_leaves(name, _leaves(outline, usual), _leaves(outline, odd))
        or _difference_of_ops(name, _ops(outline, usual), _ops(outline, odd))
        or f"{name} is connected otherwise than its neighbours"
    )


def _short(path: str, other: str) -> str:
    """The path from the part before the one in which it differs: `h.5` of `transformer.h.5`."""
    ours, theirs = parts(path), parts(other)
    for k, (a, b) in enumerate(zip(ours, theirs)):
        if a != b:
            return ".".join(ours[max(k - 1, 0) :])
    return ours[-1]


def _leaves(outline: Outline, call: int) -> dict[str, Node]:
    """The leaves that belong to a call, by their names within it."""
    nodes = outline.graph.nodes
    path = outline.graph.modules[call].path
    found = {}
    for inner in outline.within(call):
        for leaf in outline.leaves[inner]:
            for name in nodes.user_names[leaf][:1]:
                found[name.removeprefix(f"{path}.")] = nodes[leaf]
    return found


def _difference_of_leaves(name: str, usual: dict[str, Node], odd: dict[str, Node]) -> str:
    missing = [leaf for leaf in usual if leaf not in odd]
    extra = [leaf for leaf in odd if leaf not in usual]
    if missing:
        return f"{name} lacks leaf {_first_of(missing)}"
    if extra:
        return f"{name} has leaf {_first_of(extra)} besides"
    for leaf, node in odd.items():
        other = usual[leaf]
        if node.kind is not other.kind:
            verb = "requires no" if node.kind is NodeKind.CONSTANT else "requires a"
            return f"{name}.{leaf} {verb} gradient"
        if node.outputs != other.outputs:
            return f"{name}.{leaf} is {_text(node.outputs)}, not {_text(other.outputs)}"
    return ""


def _ops(outline: Outline, call: int) -> list[tuple[str, Node]]:
    """The ops of a call with the paths, within it, of the calls that they are in."""
    graph = outline.graph
    path = graph.modules[call].path
    found = []
    for op in outline.ops(~call):
        node = graph.nodes[op]
        home = "" if node.module is None else graph.modules[node.module].path
        found.append((home.removeprefix(path).removeprefix("."), node))
    return found


def _difference_of_ops(
    name: str, usual: Sequence[tuple[str, Node]], odd: Sequence[tuple[str, Node]]
) -> str:
    names = [node.name for _, node in usual], [node.name for _, node in odd]
    if names[0] != names[1]:
        return _difference_of_names(name, names, usual, odd)
    for (place, node), (_, other) in zip(odd, usual):
        if node.outputs != other.outputs:
            where = ".".join(filter(None, (name, place)))
            results = f"{_text(node.outputs)}, not {_text(other.outputs)}"
            return f"{node.name} in {where} gives {results}"
    return ""


def _difference_of_names(
    name: str,
    names: tuple[list[str], list[str]],
    usual: Sequence[tuple[str, Node]],
    odd: Sequence[tuple[str, Node]],
) -> str:
    first = next(k for k, (a, b) in enumerate(zip_longest(*names)) if a != b)
    surplus = len(odd) - len(usual)
    if surplus < 0 and names[1][first:] == names[0][first - surplus :]:
        return f"{name} lacks {_first_of(names[0][first : first - surplus])}"
    if surplus > 0 and names[0][first:] == names[1][first + surplus :]:
        return f"{name} has {_first_of(names[1][first : first + surplus])} besides"
    if first == len(odd):
        return f"{name} lacks {_first_of(names[0][first:])}"
    if first == len(usual):
        return f"{name} has {_first_of(names[1][first:])} besides"
    where = ".".join(filter(None, (name, odd[first][0])))
    return f"{where} has {names[1][first]}, not {names[0][first]}"


def _first_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _text(outputs: Sequence[TensorSpec]) -> str:
    return ", ".join(
        "?" if spec.shape is None else "×".join(map(str, spec.shape)) or "scalar"
        for spec in outputs
    )
