"""What a saved graph costs: `python benchmarks/serial.py [--million]`.

Ratios of processor time to Python's own json module on the same document, measured in one run.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import zlib
from array import array
from collections.abc import Callable

from graphviz_cli.graph.model import (
    EdgeTable,
    Graph,
    ModuleCall,
    Node,
    NodeKind,
    NodeTable,
    Root,
    SavedState,
    SavedTensor,
    SourceLocation,
    Storage,
    TensorSpec,
)
from graphviz_cli.graph.serial import dumps, loads

NAMES = ("AddmmBackward0", "GeluBackward0", "NativeLayerNormBackward0", "AddBackward0")
GOAL_SECONDS = 10
GOAL_BYTES = 90_000_000


def chain(count: int) -> Graph:
    """`count` ops in a row; half of them save two tensors, in storages of their own."""
    spec = TensorSpec((2, 32, 768), "float32", "cpu")
    sources = [SourceLocation("model.py", k, 5, k, 40, "forward", "x + f(x)") for k in range(1, 99)]
    modules = tuple(ModuleCall(f"layers.{k}", "Block", None) for k in range(count // 100 + 1))
    nodes = NodeTable.of(
        Node(
            k,
            NodeKind.FUNCTION,
            NAMES[k % len(NAMES)],
            outputs=(spec,),
            module=k // 100,
            source=sources[k % len(sources)],
            sequence_nr=count - k,
            saved=(
                SavedTensor("self", spec, k, SavedState.HELD),
                SavedTensor("result", spec, k + 1, SavedState.HELD),
            )
            if k % 2 == 0
            else (),
        )
        for k in range(count)
    )
    zeros = array("i", bytes(4 * (count - 1)))
    edges = EdgeTable(array("i", range(count - 1)), array("i", range(1, count)), zeros, zeros)
    storages = tuple(Storage(4 * 2 * 32 * 768, True) for _ in range(count + 1))
    return Graph(nodes, edges, (Root("loss", 0),), modules, storages)


def seconds(call: Callable[[], object]) -> float:
    gc.collect()
    begin = time.process_time()
    call()
    return time.process_time() - begin


def measure(count: int) -> bool:
    graph = chain(count)
    data = dumps(graph)
    document = json.loads(data)
    save, load = seconds(lambda: dumps(graph)), seconds(lambda: loads(data))
    plain_save = seconds(lambda: json.dumps(document))
    plain_load = seconds(lambda: json.loads(data))
    if loads(data) != graph:
        raise AssertionError("What was saved did not come back.")
    print(
        f"{count:>9,} nodes  {len(data) / 1e6:6.1f} MB ({len(data) / count:.0f} bytes a node, "
        f"{len(zlib.compress(data)) / 1e6:.1f} MB as a zip)"
    )
    print(f"{'':>16} save {save:5.2f} s, {save / plain_save:.2f} of json.dumps")
    print(f"{'':>16} load {load:5.2f} s, {load / plain_load:.2f} of json.loads")
    return max(save, load) * 100_000 / count < GOAL_SECONDS and (
        len(data) * 100_000 / count < GOAL_BYTES
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true")
    counts = [100_000, *([1_000_000] if parser.parse_args().million else [])]
    results = [measure(count) for count in counts]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
