"""What the text tree costs: `python benchmarks/tree.py [--million]`.

The writer without colour is compared with a table of Rich, which prints the same characters from
the same lines: processor time of both, measured in one run, garbage collection off.
"""

from __future__ import annotations

import argparse
import gc
import io
import sys
import time
from array import array
from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphviz_cli.drawing.style import Arrangement, Style
from graphviz_cli.exporters.columns import Subjects, column_names, columns
from graphviz_cli.exporters.labels import Labels
from graphviz_cli.exporters.notes import Notes
from graphviz_cli.exporters.outline import outline
from graphviz_cli.exporters.table import UNICODE, Medium, table_lines
from graphviz_cli.exporters.totals import totals
from graphviz_cli.exporters.tree import Tree
from graphviz_cli.graph.model import (
    EdgeTable,
    Graph,
    ModuleCall,
    Node,
    NodeKind,
    NodeTable,
    Role,
    Root,
    TensorSpec,
)
from graphviz_cli.graph.traversal import Adjacency

GOAL = 80


def layers(count: int) -> Graph:
    """`count` residual layers of five nodes each, in modules of their own."""
    activation, weight = (
        TensorSpec((2, 32, 768), "float32", "cpu"),
        TensorSpec((768, 768), "float32", "cpu"),
    )
    calls = [ModuleCall("", "Net", None)]
    nodes: list[Node] = []
    sources, targets, input_nrs = array("i"), array("i"), array("i")

    def edge(source: int, target: int, input_nr: int) -> None:
        sources.append(source)
        targets.append(target)
        input_nrs.append(input_nr)

    last = 5 * count
    for layer in range(count):
        path = f"layers.{count - 1 - layer}"
        calls.append(ModuleCall(path, "Block", 0))
        block = len(calls) - 1
        calls.append(ModuleCall(f"{path}.fc", "Linear", block))
        add, following = 5 * layer, 5 * layer + 5
        order = 3 * (count - layer)
        for k, name in enumerate(("AddBackward0", "ReluBackward0", "AddmmBackward0")):
            nodes.append(
                Node(
                    add + k,
                    NodeKind.FUNCTION,
                    name,
                    outputs=(activation,),
                    module=block if k < 2 else block + 1,
                    sequence_nr=order - k,
                )
            )
        for k, name in enumerate(("bias", "weight")):
            nodes.append(
                Node(
                    add + 3 + k,
                    NodeKind.LEAF,
                    "AccumulateGrad",
                    (f"{path}.fc.{name}",),
                    Role.PARAMETER,
                    (weight,),
                    block + 1,
                    size=0,
                    parameters=768,
                )
            )
        edge(add, following, 0)
        edge(add, add + 1, 1)
        edge(add + 1, add + 2, 0)
        edge(add + 2, add + 3, 0)
        edge(add + 2, following, 1)
        edge(add + 2, add + 4, 2)
    nodes.append(Node(last, NodeKind.LEAF, "AccumulateGrad", ("x",), Role.INPUT, size=0))
    edges = EdgeTable(sources, targets, input_nrs, array("i", bytes(4 * len(sources))))
    return Graph(NodeTable.of(nodes), edges, (Root("loss", 0),), tuple(calls))


def seconds(call: Callable[[], object], repetitions: int) -> float:
    """Processor time, the best of some repetitions."""
    best = float("inf")
    for _ in range(repetitions):
        gc.collect()
        begin = time.process_time()
        call()
        best = min(best, time.process_time() - begin)
    return best


def compare(count: int) -> float:
    """How many times longer Rich takes to lay out the same lines and columns as the same text."""
    graph = layers(count)
    adjacency = Adjacency(graph)
    labels = Labels(graph, adjacency)
    sums = totals(labels, adjacency)
    lines = outline(Notes(labels, adjacency, UNICODE), sums)
    subjects = Subjects(labels, sums, UNICODE, [line.subject for line in lines])
    shown = columns(subjects, column_names(graph, Style()), keep_empty=False)
    ours = table_lines(lines, shown, Medium())
    indent = ours[0].index(shown[0].header)

    def rich() -> str:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="none")
        table.add_column(min_width=indent - 2, no_wrap=True)
        for column in shown:
            table.add_column(
                column.header,
                min_width=column.least,
                justify="right" if column.is_right else "left",
                no_wrap=True,
            )
        table.add_column(no_wrap=True)
        for row in zip(lines, *(column.cells for column in shown)):
            line, *cells = row
            start = line.guide + line.label + line.kind
            table.add_row(Text(start), *map(Text, cells), Text(line.note))
        file = io.StringIO()
        Console(file=file, width=400, color_system=None).print(table)
        return file.getvalue()

    if [line.rstrip() for line in rich().splitlines()] != ours:
        raise AssertionError("Rich prints another text.")
    plain = seconds(lambda: "\n".join(table_lines(lines, shown, Medium())), 5)
    by_rich = seconds(rich, 1)
    print(f"{len(lines):>9,} lines  plain {plain:7.3f} s  Rich {by_rich:7.2f} s", end="")
    print(f"  {by_rich / plain:5.0f} times (goal: {GOAL})")
    return by_rich / plain


def whole(count: int) -> None:
    """The whole way from a graph to bytes."""
    graph = layers(count)
    for arrangement in Arrangement:
        for color in (False, True):
            style = Style(arrangement=arrangement, color=color)
            taken = seconds(lambda style=style: Tree().export(graph, style), 1)
            how = "colour" if color else "plain "
            print(f"{len(graph.nodes):>9,} nodes  by {arrangement:8}{how} {taken:7.2f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true")
    million = parser.parse_args().million
    gc.disable()
    ratio = compare(2_000)
    whole(200_000 if million else 20_000)
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
