"""Orders, reachability, dominators and paths: the algorithms that every reading of a graph needs.

All of them loop over integers with a stack or a queue of their own; a chain of 1,000,000 ops is
nothing special.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

from graphviz_cli.graph.model import NONE, Graph

UNREACHED = -2
"""In the answer of `immediate_dominators`: no path leads from a start to this node."""


class Adjacency:
    """The edges of a graph as compressed sparse rows, in both directions.

    `successors[offsets[i]:offsets[i + 1]]` are the targets of the edges that leave node i, and
    `predecessors[predecessor_offsets[i]:predecessor_offsets[i + 1]]` the sources of those that
    enter it; repeated edges are repeated, and both keep the order of `Graph.edges`. Position k of
    `successors` belongs to edge k of the graph, position k of `predecessors` to edge
    `predecessor_edges[k]`.
    """

    __slots__ = (
        "offsets",
        "predecessor_edges",
        "predecessor_offsets",
        "predecessors",
        "successors",
    )

    def __init__(self, graph: Graph) -> None:
        self._fill(len(graph.nodes), graph.edges.sources, graph.edges.targets)

    @classmethod
    def of(cls, count: int, sources: Sequence[int], targets: Sequence[int]) -> Adjacency:
        """The edges `sources[k] -> targets[k]`, ascending by source, between `count` nodes."""
        adjacency = cls.__new__(cls)
        adjacency._fill(count, sources, targets)
        return adjacency

    def _fill(self, count: int, sources: Sequence[int], targets: Sequence[int]) -> None:
        # Sorting by a column is stable and runs in C: the cheapest way to group by target.
        by_target = sorted(range(len(targets)), key=targets.__getitem__)
        self.offsets = _row_offsets(count, sources)
        self.successors = array("i", targets)
        self.predecessor_offsets = _row_offsets(count, targets)
        self.predecessors = array("i", map(sources.__getitem__, by_target))
        self.predecessor_edges = array("i", by_target)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def successors_of(self, node: int) -> array[int]:
        """Where the gradient goes from a node, one entry for each edge."""
        return self.successors[self.offsets[node] : self.offsets[node + 1]]

    def predecessors_of(self, node: int) -> array[int]:
        """Where a node's gradient comes from, one entry for each edge."""
        return self.predecessors[
            self.predecessor_offsets[node] : self.predecessor_offsets[node + 1]
        ]

    def reversed(self) -> Adjacency:
        """The same nodes with every edge turned round; edges are numbered anew."""
        adjacency = type(self).__new__(type(self))
        adjacency.offsets = self.predecessor_offsets
        adjacency.successors = self.predecessors
        adjacency.predecessor_offsets = self.offsets
        adjacency.predecessors = self.successors
        numbers = array("i", bytes(4 * len(self.successors)))
        for position, edge in enumerate(self.predecessor_edges):
            numbers[edge] = position
        adjacency.predecessor_edges = numbers
        return adjacency


def _row_offsets(count: int, column: Iterable[int]) -> array[int]:
    lengths = [0] * (count + 1)
    for node in column:
        lengths[node + 1] += 1
    return array("i", accumulate(lengths))


def topological_order(adjacency: Adjacency) -> list[int]:
    """All nodes, each after its predecessors: from the roots on, as the gradient flows.

    Where a folded graph has cycles, every cycle stays together as if it were one node, and its
    nodes come in ascending order of their ids.
    """
    offsets, successors = adjacency.offsets, adjacency.successors
    entering = adjacency.predecessor_offsets
    waiting = [entering[node + 1] - entering[node] for node in range(len(adjacency))]
    order = [node for node, count in enumerate(waiting) if count == 0]
    for node in order:  # grows while it is read
        for edge in range(offsets[node], offsets[node + 1]):
            target = successors[edge]
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    if len(order) < len(adjacency):
        for component in reversed(_components(adjacency, waiting)):
            order.extend(sorted(component))
    return order


def _components(adjacency: Adjacency, waiting: Sequence[int]) -> list[list[int]]:
    """Strongly connected components of the nodes with a count, each before its predecessors.

    Tarjan, Depth-first search and linear graph algorithms (1972).
    """
    offsets, successors = adjacency.offsets, adjacency.successors
    unseen = len(adjacency) + 1
    # 0 marks a node that belongs to no component, or whose component is complete.
    numbers = [unseen if count else 0 for count in waiting]
    lowest = numbers[:]
    components: list[list[int]] = []
    pending: list[int] = []
    seen = 0
    for start in range(len(adjacency)):
        if numbers[start] != unseen:
            continue
        path = [start]
        positions = [offsets[start]]
        seen += 1
        numbers[start] = lowest[start] = seen
        pending.append(start)
        while path:
            node, edge = path[-1], positions[-1]
            if edge < offsets[node + 1]:
                positions[-1] += 1
                target = successors[edge]
                if numbers[target] == unseen:
                    seen += 1
                    numbers[target] = lowest[target] = seen
                    pending.append(target)
                    path.append(target)
                    positions.append(offsets[target])
                elif numbers[target]:
                    lowest[node] = min(lowest[node], numbers[target])
                continue
            path.pop()
            positions.pop()
            if path:
                lowest[path[-1]] = min(lowest[path[-1]], lowest[node])
            if lowest[node] == numbers[node]:
                first = len(pending) - 1
                while pending[first] != node:
                    first -= 1
                components.append(pending[first:])
                for member in pending[first:]:
                    numbers[member] = 0
                del pending[first:]
    return components


def descendants(adjacency: Adjacency, nodes: Iterable[int]) -> set[int]:
    """The nodes to which a gradient flows from any of `nodes`, and these themselves."""
    return _reached(adjacency.offsets, adjacency.successors, nodes)


def ancestors(adjacency: Adjacency, nodes: Iterable[int]) -> set[int]:
    """The nodes from which a gradient flows to any of `nodes`, and these themselves."""
    return _reached(adjacency.predecessor_offsets, adjacency.predecessors, nodes)


def _reached(offsets: array[int], neighbours: array[int], nodes: Iterable[int]) -> set[int]:
    stack = list(nodes)
    reached = set(stack)
    while stack:
        node = stack.pop()
        for neighbour in neighbours[offsets[node] : offsets[node + 1]]:
            if neighbour not in reached:
                reached.add(neighbour)
                stack.append(neighbour)
    return reached


def shortest_path(adjacency: Adjacency, source: int, target: int) -> list[int] | None:
    """The nodes of a path with the fewest edges, both ends included; None if there is none.

    Of several, it is the one that leaves each node by its first edge that is on any of them.
    """
    offsets, successors = adjacency.predecessor_offsets, adjacency.predecessors
    # Searched from the target, so that the choice among equals is made from the source on.
    distance = {target: 0}
    queue = [target]
    for node in queue:  # grows while it is read
        if node == source:
            break
        for neighbour in successors[offsets[node] : offsets[node + 1]]:
            if neighbour not in distance:
                distance[neighbour] = distance[node] + 1
                queue.append(neighbour)
    if source not in distance:
        return None
    path = [source]
    while path[-1] != target:
        left = distance[path[-1]] - 1
        path.append(next(n for n in adjacency.successors_of(path[-1]) if distance.get(n) == left))
    return path


def immediate_dominators(adjacency: Adjacency, starts: Iterable[int]) -> list[int]:
    """For every node the last one that all paths from the starts to it pass before it.

    NONE where there is no such node (a start, or a node that two starts reach separately), and
    UNREACHED where there is no path. For post-dominators, hand in `adjacency.reversed()` and the
    ends. Cycles are allowed. O(m log n): Lengauer and Tarjan, A fast algorithm for finding
    dominators in a flowgraph (1979), with path compression alone.
    """
    starts = list(starts)
    order, parents = _depth_first(adjacency, starts)
    # From here on a node is its number in the search, and 0 is a virtual node before all starts.
    count = len(order)
    numbers = [0] * len(adjacency)
    for number in range(1, count):
        numbers[order[number]] = number
    is_start = bytearray(count)
    for node in starts:
        is_start[numbers[node]] = 1
    semi = list(range(count))
    forest = _Forest(semi)
    dominators = [0] * count
    waiting: list[list[int] | None] = [None] * count
    offsets, predecessors = adjacency.predecessor_offsets, adjacency.predecessors
    for number in range(count - 1, 0, -1):
        least = 0 if is_start[number] else number
        node = order[number]
        for predecessor in predecessors[offsets[node] : offsets[node + 1]]:
            other = numbers[predecessor]
            if other > number:
                other = semi[forest.best(other)]
            elif not other:
                continue  # unreached
            least = min(least, other)
        semi[number] = least
        parent = parents[number]
        forest.link(number, parent)
        bucket = waiting[least]
        if bucket is None:
            waiting[least] = [number]
        else:
            bucket.append(number)
        for other in waiting[parent] or ():
            best = forest.best(other)
            dominators[other] = best if semi[best] < semi[other] else parent
        waiting[parent] = None
    for number in range(1, count):
        if dominators[number] != semi[number]:
            dominators[number] = dominators[dominators[number]]
    answer = [UNREACHED] * len(adjacency)
    for number in range(1, count):
        dominator = dominators[number]
        answer[order[number]] = order[dominator] if dominator else NONE
    return answer


class _Forest:
    """What the search for dominators has visited, as trees whose paths get shorter with use."""

    __slots__ = ("_above", "_best", "_semi")

    def __init__(self, semi: list[int]) -> None:
        self._semi = semi
        self._best = list(range(len(semi)))
        self._above = [NONE] * len(semi)

    def link(self, number: int, parent: int) -> None:
        self._above[number] = parent

    def best(self, number: int) -> int:
        """The one with the least semidominator from `number` up to below the top of its tree."""
        above, best, semi = self._above, self._best, self._semi
        path = []
        while above[above[number]] != NONE:
            path.append(number)
            number = above[number]
        top = number
        for number in reversed(path):
            upper = above[number]
            if semi[best[upper]] < semi[best[number]]:
                best[number] = best[upper]
            above[number] = above[top]
        return best[path[0] if path else top]


def _depth_first(adjacency: Adjacency, starts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Nodes in the order in which a depth-first search meets them, and the number of each parent.

    Position 0 stands for a virtual node before all starts, and holds NONE.
    """
    offsets, successors = adjacency.offsets, adjacency.successors
    order, parents = [NONE], [NONE]
    positions = offsets[:]
    is_met = bytearray(len(adjacency))
    for start in starts:
        if is_met[start]:
            continue
        is_met[start] = 1
        path = [len(order)]
        order.append(start)
        parents.append(0)
        while path:
            number = path[-1]
            node = order[number]
            end = offsets[node + 1]
            edge = positions[node]
            while edge < end and is_met[successors[edge]]:
                edge += 1
            positions[node] = edge
            if edge == end:
                path.pop()
                continue
            target = successors[edge]
            is_met[target] = 1
            path.append(len(order))
            order.append(target)
            parents.append(number)
    return order, parents
