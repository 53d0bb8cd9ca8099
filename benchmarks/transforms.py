"""What hiding, merging and folding cost: `python benchmarks/transforms.py [--million]`.

Processor time, and its ratio to one bare pass over the columns of the same graph in the same run.
Goals: 1 s for the three together at 10,000 nodes, 3 s at 100,000, 10 s for a chain of a million.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from array import array
from collections.abc import Callable, Iterator

from graphviz_cli.graph.model import (
    NONE,
    Column,
    EdgeTable,
    Graph,
    ModuleCall,
    NodeKind,
    NodeTable,
    Role,
    Root,
    SavedTable,
    TensorSpec,
)
from graphviz_cli.transforms.fold import Fold
from graphviz_cli.transforms.hide import Hide
from graphviz_cli.transforms.repeats import Repeats

GOALS = {10_000: 1.0, 100_000: 3.0, 1_000_000: 10.0}
MOST_NODES = 250


class Program:
    """Records ops in the order of the forward pass, and numbers them from the root on."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.modules: list[int] = []
        self.inputs: list[list[int]] = []
        self.calls: list[ModuleCall] = []

    def op(self, name: str, *inputs: int, module: int = NONE) -> int:
        self.names.append(name)
        self.modules.append(module)
        self.inputs.append(list(inputs))
        return len(self.names) - 1

    def leaf(self, module: int = NONE) -> int:
        return self.op("", module=module)

    def call(self, path: str, type: str, parent: int | None = None) -> int:
        self.calls.append(ModuleCall(path, type, parent))
        return len(self.calls) - 1

    def graph(self) -> Graph:
        last = len(self.names) - 1
        names = self.names[::-1]
        of_leaf = [not name for name in names]
        targets = [[last - target for target in inputs] for inputs in reversed(self.inputs)]
        nothing = SavedTable.of([()] * len(names))
        nodes = NodeTable(
            kinds=Column.of(NodeKind.LEAF if leaf else NodeKind.FUNCTION for leaf in of_leaf),
            names=Column.of(name or "AccumulateGrad" for name in names),
            user_names=Column.of((f"w{k}",) if leaf else () for k, leaf in enumerate(of_leaf)),
            roles=Column.of(Role.PARAMETER if leaf else None for leaf in of_leaf),
            outputs=Column.of([(TensorSpec((8, 8), "float32", "cpu"),)] * len(names)),
            modules=array("i", reversed(self.modules)),
            sources=Column.of([None] * len(names)),
            sequence_nrs=array("i", [NONE if leaf else last - k for k, leaf in enumerate(of_leaf)]),
            saved=nothing,
            sizes=array("i", [not leaf for leaf in of_leaf]),
            parameters=array("q", [64 * leaf for leaf in of_leaf]),
        )
        edges = EdgeTable(
            array("i", [k for k, row in enumerate(targets) for _ in row]),
            array("i", [target for row in targets for target in row]),
            array("i", [number for row in targets for number in range(len(row))]),
            array("i", bytes(4 * sum(map(len, targets)))),
        )
        return Graph(nodes, edges, (Root("loss", 0),), tuple(self.calls))


def chain(count: int) -> Graph:
    program = Program()
    x = program.leaf()
    for _ in range(count - 1):
        x = program.op("MulBackward0", x)
    return program.graph()


def layers(count: int) -> Graph:
    """Equal blocks of 20 nodes in module calls, with views."""
    program = Program()
    top = program.call("", "Model")
    x = program.leaf()
    for number in range(count // 20):
        block = program.call(f"h.{number}", "Block", top)
        start = x
        for part in range(4):
            linear = program.call(f"h.{number}.fc{part}", "Linear", block)
            weight = program.op("TBackward0", program.leaf(linear), module=linear)
            x = program.op("AddmmBackward0", program.leaf(linear), x, weight, module=linear)
        for name in ("ViewBackward0", "GeluBackward0", "TransposeBackward0"):
            x = program.op(name, x, module=block)
        x = program.op("AddBackward0", start, x, module=block)
    return program.graph()


def unrolled(count: int) -> Graph:
    """The steps of a recurrent network, without modules: 10 nodes each."""
    program = Program()
    weights = [program.leaf() for _ in range(4)]
    h = program.leaf()
    for _ in range(count // 10):
        inner = program.op("TBackward0", weights[0])
        new = program.op("AddmmBackward0", weights[1], h, inner)
        gates = [program.op(f"{n}Backward0", new) for n in ("Sigmoid", "Tanh", "Sin")]
        x = program.op("MulBackward0", gates[0], gates[1])
        x = program.op("AddBackward0", x, gates[2])
        x = program.op("MulBackward0", x, weights[2])
        x = program.op("AddBackward0", x, weights[3])
        h = program.op("TanhBackward0", x)
    return program.graph()


def flat(count: int) -> Graph:
    """Nothing that repeats: ops and their inputs are drawn at random."""
    rows = random.Random(0)
    program = Program()
    made = [program.leaf()]
    for _ in range(count - 1):
        name = rows.choice(("MulBackward0", "AddBackward0", "SubBackward0", "SinBackward0"))
        made.append(program.op(name, made[-1], made[-rows.randint(1, min(8, len(made)))]))
    return program.graph()


def bare_pass(graph: Graph) -> int:
    """The least that anything that looks at every node and every edge can cost."""
    total = 0
    for name, module in zip(graph.nodes.names.codes, graph.nodes.modules):
        total += name + module
    for source, target in zip(graph.edges.sources, graph.edges.targets):
        total += source + target
    return total


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(make: Callable[[int], Graph], count: int) -> bool:
    graph = make(count)
    bare = min(seconds(lambda: bare_pass(graph)) for _ in range(3))
    spent = []
    for transform in (Hide(), Repeats(), Fold()):
        before = graph

        def apply(given: Graph = before, transform: Hide | Repeats | Fold = transform) -> None:
            nonlocal graph
            graph = transform.apply(given)

        spent.append(seconds(apply))
    total = sum(spent)
    fits = total <= GOALS[count] and len(graph.nodes) <= MOST_NODES
    parts = " + ".join(f"{part:.2f}" for part in spent)
    print(
        f"{make.__name__:9} {count:9,} nodes -> {len(graph.nodes):3}  {parts} = {total:5.2f} s,"
        f" {total / bare:4.0f} x a bare pass{'' if fits else '  TOO MUCH'}"
    )
    return fits


def cases(*, million: bool) -> Iterator[tuple[Callable[[int], Graph], int]]:
    for count in (10_000, 100_000):
        for make in (chain, layers, unrolled, flat):
            yield make, count
    if million:
        yield chain, 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true", help="also a chain of 1,000,000 ops")
    arguments = parser.parse_args()
    results = [measure(make, count) for make, count in cases(million=arguments.million)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
