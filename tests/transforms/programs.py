"""Programs that do the same thing several times, as hand-built graphs and as a strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from graphviz_cli.graph.model import Graph, Role
from tests.graphs import Builder, spec

SHAPE = (4, 8)


@dataclass(frozen=True)
class Input:
    """Where an op of a block gets one of its inputs from."""

    kind: str
    """`inside` (an op of the block), `before` (of the one before), `outside`, `own`, `shared`."""
    number: int


@dataclass(frozen=True)
class Step:
    """An op of a block."""

    name: str
    inputs: tuple[Input, ...]


@st.composite
def inputs(draw: st.DrawFn, position: int, count: int) -> Input:
    numbers = {"inside": position, "before": count, "outside": 2, "own": 3, "shared": 2}
    kinds = st.sampled_from([kind for kind, number in numbers.items() if number])
    kind = draw(kinds)
    return Input(kind, draw(st.integers(0, numbers[kind] - 1)))


@st.composite
def steps(draw: st.DrawFn, position: int, count: int) -> Step:
    name = draw(st.sampled_from(["MulBackward0", "SinBackward0"]))
    chosen = draw(st.lists(inputs(position, count), min_size=1, max_size=2))
    return Step(name, tuple(chosen))


@st.composite
def nearly(draw: st.DrawFn, step: Step, position: int, count: int) -> Step:
    """The step with another name, another input, or one input less."""
    if draw(st.booleans()):
        return replace(step, inputs=(draw(inputs(position, count)), *step.inputs[1:]))
    if len(step.inputs) > 1 and draw(st.booleans()):
        return replace(step, inputs=step.inputs[:-1])
    return replace(step, name="TanhBackward0")


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """Blocks that are equal or nearly so, in module calls or not, and what reads some of them."""
    count = draw(st.integers(1, 6))
    body = [draw(steps(position, count)) for position in range(count)]
    repeats = draw(st.integers(2, 12))
    odd = draw(st.none() | st.integers(0, repeats - 1))
    changed = draw(st.integers(0, count - 1))
    other = draw(nearly(body[changed], changed, count))
    in_modules = draw(st.booleans())
    b = Builder()
    top = b.module("", "Model") if draw(st.booleans()) else None
    outside: list[int | None] = [
        b.op("ExpBackward0", SHAPE, b.leaf("x", *SHAPE, role=Role.INPUT), module=top)
    ]
    outside.append(b.op("CosBackward0", SHAPE, outside[0], module=top))
    start = draw(st.sampled_from([None, *outside]))
    shared = [b.leaf(f"shared.{k}", 8, module=top) for k in range(2)]
    made: list[list[int]] = []
    for number in range(repeats):
        call = b.module(f"h.{number}", "Block", top) if in_modules else top
        ops: list[int | None] = []
        sources: dict[str, Sequence[int | None]] = {
            "inside": ops,
            "before": made[-1] if made else [start] * count,
            "outside": outside,
            "own": [b.leaf(f"h.{number}.w{k}", 8, module=call) for k in range(3)],
            "shared": shared,
        }
        for position, step in enumerate(body):
            chosen = other if number == odd and position == changed else step
            read = [sources[item.kind][item.number] for item in chosen.inputs]
            ops.append(b.op(chosen.name, SHAPE, *read, module=call))
        made.append([op for op in ops if op is not None])
    kept = sorted(draw(st.sets(st.integers(0, count - 1))))
    last = draw(st.integers(0, repeats - 1))
    results = [ops[k] for ops in made for k in kept] + made[last] + made[-1]
    total = b.op("StackBackward0", SHAPE, *results, module=top)
    return b.build(b.op("SumBackward0", (), total), title="program")


def stack(count: int, odd: Mapping[int, str] | None = None, *, taps: Sequence[int] = ()) -> Graph:
    """`count` residual blocks in calls `h.0`, `h.1`, ... between an embedding and a loss.

    `odd` tells what is different in some of them: `shape`, `op`, `no bias`, `frozen bias`, `role`,
    `wiring`, `tied` (the weight is that of block 0) or `type`. The results of the blocks `taps`
    are also read by the loss.
    """
    b = Builder()
    top = b.module("", "Model")
    embedding = b.module("emb", "Embedding", top)
    x = b.op(
        "EmbeddingBackward0",
        (4, 8),
        b.leaf("emb.weight", 99, 8, module=embedding),
        module=embedding,
    )
    first, results, tied = x, [], 0
    for number in range(count):
        change = (odd or {}).get(number, "")
        path = f"h.{number}"
        block = b.module(path, "Odd" if change == "type" else "Block", top)
        norm = b.module(f"{path}.norm", "LayerNorm", block)
        scale = b.leaf(f"{path}.norm.weight", 8, module=norm)
        h = b.op("NativeLayerNormBackward0", (4, 8), x, scale, module=norm)
        linear = b.module(f"{path}.fc", "Linear", block)
        width = 16 if change == "shape" else 8
        if number and change == "tied":
            weight = tied
        else:
            role = Role.BUFFER if change == "role" else Role.PARAMETER
            weight = b.leaf(f"{path}.fc.weight", 8, width, role=role, module=linear)
            tied = tied or weight
        bias: int | None = None
        if change == "frozen bias":
            b.constant(f"{path}.fc.bias", 8, role=Role.PARAMETER, module=linear)
        elif change != "no bias":
            bias = b.leaf(f"{path}.fc.bias", 8, module=linear)
        h = b.op("AddmmBackward0", (4, 8), bias, h, weight, module=linear, saves={"mat1": (4, 8)})
        h = b.op("TanhBackward0" if change == "op" else "ReluBackward0", (4, 8), h, module=block)
        x = b.op("AddBackward0", (4, 8), first if change == "wiring" else x, h, module=block)
        if number in taps:
            results.append(x)
    head = b.module("head", "Linear", top)
    logits = b.op("MmBackward0", (4, 2), x, b.leaf("head.weight", 8, 2, module=head), module=head)
    return b.build(b.op("SumBackward0", (), logits, *results, names=("loss",)), title="Model")


def recurrent(
    steps: int, *, layers: int = 1, stacked: bool = False, constant: bool = True
) -> Graph:
    """A recurrent network without modules: `layers` equal layers of `steps` steps each.

    `stacked` reads the state of every step at the end, `constant` starts from one without gradient.
    """
    b = Builder()
    sequence: int | None = None
    state: int | None = None
    for layer in range(layers):
        weights = [b.leaf(f"layers.{layer}.{name}", 8, 8) for name in ("w_ih", "w_hh")]
        bias = b.leaf(f"layers.{layer}.bias", 8)
        state = None if constant else b.leaf(f"h{layer}", 4, 8, role=Role.INPUT)
        states = []
        for step in range(steps):
            row = None if sequence is None else (sequence, step)
            h = b.op("MmBackward0", (4, 8), row, weights[0])
            new = b.op("AddmmBackward0", (4, 8), bias, state, weights[1])
            h = b.op("AddBackward0", (4, 8), h, new)
            state = b.op("TanhBackward0", (4, 8), h, saves={"result": (4, 8)})
            states.append(state)
        if stacked or layer < layers - 1:
            state = b.op("StackBackward0", (steps, 4, 8), *states)
            if layer < layers - 1:
                sequence = b.op("UnbindBackward0", [spec(4, 8)] * steps, state)
    return b.build(b.op("SumBackward0", (), state, names=("loss",)), title="rnn")
