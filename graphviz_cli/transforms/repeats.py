"""Equal consecutive blocks as one: numbered module calls, and the steps of loops."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from graphviz_cli.graph.model import NONE, Graph
from graphviz_cli.transforms.blocks import Comparison, EqualBlocks
from graphviz_cli.transforms.differences import difference
from graphviz_cli.transforms.merging import EqualCalls, merged
from graphviz_cli.transforms.outline import Outline
from graphviz_cli.transforms.paths import are_numbered
from graphviz_cli.transforms.tandem import Stretch, repetitions
from graphviz_cli.transforms.wiring import Wiring

_LEAST_SAVED = 8
"""Nodes that drawing a loop's steps once must save: a panel around three ops is no relief."""

_LEAST_SAVED_BY_A_PAIR = 16

_LEAST_APART = 8
"""Blocks that do not feed each other are a loop if there are so many, else branches that happen to
look alike (query, key and value; the two halves of a siamese network)."""

_MOST_STRIDES = 3


@dataclass(frozen=True, slots=True)
class Repeats:
    """Draw equal consecutive blocks once, with the number of their repetitions.

    Numbered module calls that are equal (`h.0` to `h.11`) become one call `h.0..11`. Where the
    steps of a loop are equal, whether in a module or in none, they become one call `step 0..499`.
    Equal means: the same ops and shapes, the same leaves or leaves of their own, the same wiring. A
    merged node stands for one node of every block: sizes, parameters and saved tensors are sums.
    Edges from one block to the next are left out; the annotation `carried` marks the ops between
    which they were. The annotation `differs` says what keeps a call from being merged with its
    neighbours.
    """

    def apply(self, graph: Graph) -> Graph:
        """The graph with its outermost repetitions merged, then those within them, and so on."""
        while True:
            search = _Search(graph)
            if not search.found:
                return graph
            graph = merged(graph, search.found, search.differences)


class _Search:
    """Finds the outermost repetitions of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outline = Outline(graph)
        self.op_tokens, self.call_tokens = self.outline.tokens()
        self.wiring = Wiring(self.outline, self.op_tokens)
        self.op_counts = self._op_counts()
        self.differences: dict[int, str] = {}
        self.found: list[EqualCalls] = []
        pending = [NONE]
        for scope in pending:  # grows while it is read
            merged = self._look_at(scope)
            self._look_at_quiet_calls(scope)
            pending.extend(
                ~item for item in self.outline.items[scope] if item < 0 and ~item not in merged
            )

    def _op_counts(self) -> array[int]:
        counts = array("i", bytes(4 * len(self.outline)))
        for call in reversed(self.outline.calls()):
            counts[call] = sum(
                1 if item >= 0 else counts[~item] for item in self.outline.items[call]
            )
        return counts

    def _look_at(self, scope: int) -> set[int]:
        """Find what repeats among the items of a call; returns the calls that are part of it."""
        items = self.outline.items[scope]
        if len(items) < 2:
            return set()
        tokens = [self.op_tokens[i] if i >= 0 else self.call_tokens[~i] for i in items]
        weights = [1 if i >= 0 else self.op_counts[~i] for i in items]
        total = [0, *accumulate(weights)]
        taken = bytearray(len(items))
        sections: list[tuple[int, EqualCalls]] = []
        stretches = repetitions(tokens)
        stretches.sort(key=lambda s: (total[s.start] - total[s.start + s.length], s.start))
        for stretch in stretches:
            start, end = stretch.start, stretch.start + stretch.length
            if not self._may_be_worth_it(items[start], stretch, total):
                continue
            while start < end and taken[start]:
                start += 1
            while start < end and taken[end - 1]:
                end -= 1
            if end - start < 2 * stretch.period or any(taken[start:end]):
                continue
            for place, found in self._verified(
                scope, items, Stretch(start, end - start, stretch.period)
            ):
                taken[place : place + len(found.items)] = b"\1" * len(found.items)
                sections.append((place, found))
        for place, found in sorted(sections, key=lambda section: section[0]):
            self.found.append(found)
            if found.is_call:
                self._note_differences(items, taken, place, found)
        return {~item for _, found in sections for item in found.items if item < 0}

    def _may_be_worth_it(self, first: int, stretch: Stretch, total: Sequence[int]) -> bool:
        if stretch.period == 1 and first < 0:
            return True
        one = total[stretch.start + stretch.period] - total[stretch.start]
        return total[stretch.start + stretch.length] - total[stretch.start] - one >= _LEAST_SAVED

    def _verified(
        self, scope: int, items: Sequence[int], stretch: Stretch
    ) -> list[tuple[int, EqualCalls]]:
        """The runs of equal blocks within a stretch of equal items, with their first places."""
        start, length, period = stretch
        best: list[tuple[int, EqualCalls]] = []
        if period == 1 and items[start] < 0:
            best = self._numbered_calls(scope, items, stretch)
            if [len(run.items) for _, run in best] == [length]:
                return best
        others, strides = self._steps(scope, items, stretch)
        best = max(best, others, key=_saved)
        for stride in strides if length - _saved(best) > period else ():
            longer = Stretch(start, length, period * stride)
            if longer.repeats:
                others, _ = self._steps(scope, items, longer)
                best = max(best, others, key=_saved)
        return best

    def _numbered_calls(
        self, scope: int, items: Sequence[int], stretch: Stretch
    ) -> list[tuple[int, EqualCalls]]:
        """Runs of calls whose paths are the same or differ in a number."""
        modules = self.graph.modules
        groups: list[list[int]] = []
        for place in range(stretch.start, stretch.start + stretch.length):
            call = ~items[place]
            if modules[call].repeats > 1:
                continue
            last = ~items[groups[-1][-1]] if groups else NONE
            is_next = groups and groups[-1][-1] == place - 1
            if is_next and are_numbered(modules[last].path, modules[call].path):
                groups[-1].append(place)
            else:
                groups.append([place])
        found = []
        for group in groups:
            if len(group) < 2:
                continue
            calls = items[group[0] : group[-1] + 1]
            for run, equal in self._compare(scope, calls, len(group))[0]:
                paths = {modules[~call].path for call in equal.items}
                if len(paths) > 1 or run.passed_on or run.count >= _LEAST_APART:
                    equal.is_call = True
                    found.append((group[run.first], equal))
        return found

    def _steps(
        self, scope: int, items: Sequence[int], stretch: Stretch
    ) -> tuple[list[tuple[int, EqualCalls]], list[int]]:
        """Runs of equal steps, and the numbers of steps after which they would look more equal."""
        period = stretch.period
        start = stretch.start + self._phase(items, stretch)
        count = (stretch.start + stretch.length - start) // period
        runs, strides = self._compare(scope, items[start : start + count * period], count)
        path = "" if scope == NONE else self.graph.modules[scope].path
        found = []
        for run, equal in runs:
            if self._is_worth_it(equal, run):
                name = f"step {run.first}..{run.first + run.count - 1}"
                equal.path = f"{path}.{name}" if path else name
                found.append((start + run.first * period, equal))
        return found, strides

    def _is_worth_it(self, equal: EqualCalls, run: EqualBlocks) -> bool:
        size = len(equal.ops) // run.count
        least = _LEAST_SAVED_BY_A_PAIR if run.count == 2 else _LEAST_SAVED
        only = equal.items[0] if len(equal.items) == run.count else 0
        if only < 0 and self.graph.modules[~only].repeats > 1:
            return False  # runs that were kept apart because something between them differs
        is_loop = bool(run.passed_on) or run.count >= _LEAST_APART
        return is_loop and (run.count - 1) * size >= least

    def _compare(
        self, scope: int, items: Sequence[int], count: int
    ) -> tuple[list[tuple[EqualBlocks, EqualCalls]], list[int]]:
        """Runs of equal blocks, and the strides that would make more of them equal.

        `items` are those of `count` blocks.
        """
        ops, calls = array("i", items), list[list[int]]()
        period = len(items) // count
        tops = list[list[int]]()
        if min(items) < 0:
            ops = array("i", [op for item in items for op in self._ops_of(item)])
            blocks = [items[start : start + period] for start in range(0, len(items), period)]
            calls = [self._calls_of(block) for block in blocks]
            tops = [[~item for item in block if item < 0] for block in blocks]
        comparison = Comparison(self.wiring, ops, count, tops)
        length = len(ops) // count
        runs = []
        for run in comparison.runs():
            end = run.first + run.count
            equal = EqualCalls(
                scope,
                "",
                items[run.first * period : end * period],
                run.count,
                ops[run.first * length : end * length],
                calls[run.first : end],
                self._quiet(tops[run.first], calls[run.first]) if tops else (),
                run.leaves,
                run.passed_on,
            )
            runs.append((run, equal))
        common = comparison.strides.most_common(_MOST_STRIDES)
        return runs, [stride for stride, _ in common if stride > 1] or [2]

    def _look_at_quiet_calls(self, scope: int) -> None:
        """Find numbered calls without ops that own the same leaves."""
        modules, outline = self.graph.modules, self.outline
        busy = sorted(~item for item in outline.items[scope] if item < 0)
        groups: list[list[int]] = []
        last: tuple[object, ...] = ()
        for call in outline.quiet[scope]:
            leaves = self._owned(call)
            what = (
                modules[call].type,
                bisect_left(busy, call),
                [(name, self.op_tokens[leaf], self.wiring.readers[leaf]) for name, leaf in leaves],
            )
            is_next = groups and what == last and modules[call].repeats == 1
            if is_next and are_numbered(modules[groups[-1][-1]].path, modules[call].path):
                groups[-1].append(call)
            else:
                groups.append([call])
            last = what
        for group in groups:
            if len(group) > 1:
                calls = [[call] for call in group]
                owned = ([leaf for _, leaf in self._owned(call)] for call in group)
                leaves_of = [*zip(*owned)]
                items = [~call for call in group]
                quiet = self._quiet(calls[0], calls[0])
                run = EqualCalls(
                    scope, "", items, len(group), array("i"), calls, quiet, leaves_of, ()
                )
                run.is_call = True
                self.found.append(run)

    def _quiet(self, tops: Sequence[int], calls: Sequence[int]) -> list[tuple[int, int]]:
        """The other calls within some outermost ones, each after the one that it is in."""
        known = set(calls)
        pairs = ((top, inner) for top in tops for inner in self.outline.within(top))
        return [(top, inner) for top, inner in pairs if inner not in known]

    def _owned(self, call: int) -> list[tuple[str, int]]:
        """The leaves of a call and of those within it, by their names there."""
        outline, names = self.outline, self.graph.nodes.user_names
        path = f"{self.graph.modules[call].path}."
        leaves = (leaf for inner in outline.within(call) for leaf in outline.leaves[inner])
        return sorted((", ".join(names[leaf]).replace(path, ""), leaf) for leaf in leaves)

    def _ops_of(self, item: int) -> Sequence[int]:
        return self.outline.ops(item) if item < 0 else (item,)

    def _calls_of(self, block: Iterable[int]) -> list[int]:
        return [~i for item in block if item < 0 for i in self.outline.walk(item) if i < 0]

    def _phase(self, items: Sequence[int], stretch: Stretch) -> int:
        """Where, within the first period, a step begins: where fewest tensors are passed on."""
        start, length, period = stretch
        if period == 1:
            return 0
        window = items[start : start + min(length, 3 * period)]
        passed = self.outline.passed_on(window)
        phases = range(min(period, length - 2 * period + 1))
        return min(phases, key=lambda phase: passed[phase + period])

    def _note_differences(
        self, items: Sequence[int], taken: bytearray, place: int, found: EqualCalls
    ) -> None:
        """Say at the calls beside a run why they are not part of it."""
        modules = self.graph.modules
        for step, nearest in ((-1, found.items[0]), (1, found.items[-1])):
            other = place - 1 if step < 0 else place + found.count
            while 0 <= other < len(items) and items[other] >= 0:
                other += step
            if not 0 <= other < len(items) or (step < 0 and taken[other]):
                continue  # of two runs side by side the later one is the odd one
            usual, odd = ~nearest, ~items[other]
            if modules[usual].type != modules[odd].type or modules[odd].repeats > 1:
                continue
            if are_numbered(modules[usual].path, modules[odd].path):
                ops = self.outline.ops(~odd)
                if ops and ops[0] not in self.differences:
                    self.differences[ops[0]] = difference(self.outline, usual, odd)


def _saved(runs: Sequence[tuple[int, EqualCalls]]) -> int:
    """How many items less there will be."""
    return sum(len(run.items) - len(run.first_items) for _, run in runs)
