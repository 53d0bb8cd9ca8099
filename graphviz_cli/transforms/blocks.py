"""Which of several consecutive blocks of ops are equal: in ops, leaves and wiring.

Two neighbours are equal if every input of every op is in both of them

- made by the same op within the block, or
- made by the same op of the block before (the first block of a run may get it from anywhere, or
  not at all: a constant start), or
- the same tensor from outside, or the next output of the same op (the rows of an `unbind`), or
- a leaf: the same one, or one of their own of the same kind, shape and name within the block;

and if what is read from outside is read from every block but the last one alike.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from graphviz_cli.transforms.wiring import Wiring

# Stand for the distance to the op that made an input, which is smaller.
_LEAF = 1 << 40
_OUTSIDE = _LEAF + 1


@dataclass(frozen=True, slots=True)
class EqualBlocks:
    """A run of equal blocks."""

    first: int
    """Number of the first block."""
    count: int
    leaves: tuple[tuple[int, ...], ...]
    """The leaves that correspond to each other, one of every block."""
    passed_on: tuple[tuple[int, int], ...]
    """The ops, by their places in a block, of which the first makes and the second reads what one
    block passes on to the next."""


class _Block(NamedTuple):
    """What a block reads; blocks with equal patterns differ in these tensors only."""

    pattern: array[int]
    leaves: array[int]
    outside: array[int]
    output_nrs: array[int]


@dataclass(slots=True)
class _Run:
    """A run while it grows."""

    first: int
    leaves: array[int]
    """What the first block reads where the others read leaves."""
    varying: tuple[int, ...] = ()
    """Places in the blocks' leaves where each block has one of its own."""
    steps: tuple[int, ...] = ()
    """By how much the number of each output from outside grows from block to block."""
    owners: dict[int, int] = field(default_factory=dict)
    """The block that each leaf of its own belongs to."""
    unread: list[tuple[int, ...]] = field(default_factory=list)
    """The leaves of every block that none of its ops reads."""
    is_plain: bool = False
    """Its blocks read the same tensors from outside, and own no leaves."""


class Comparison:
    """Compares `count` consecutive blocks.

    `ops` are those of all blocks in the order of the forward pass, `calls[b]` the outermost module
    calls within block b; every block has as many of them as the others.
    """

    def __init__(
        self,
        wiring: Wiring,
        ops: array[int],
        count: int,
        calls: Sequence[Sequence[int]],
    ) -> None:
        self.wiring = wiring
        self.ops = ops
        self.count = count
        self.length = len(ops) // count
        self.calls = calls
        within = wiring.outline.within
        self.places = {
            inner: (number, k)
            for number, block in enumerate(calls)
            for k, call in enumerate(block)
            for inner in within(call)
        }
        self.varying_calls = self._varying_calls()
        self.strides: Counter[int] = Counter()
        """How many blocks lie between uses of the same leaf or tensor where neighbours differ."""

    def runs(self) -> list[EqualBlocks]:
        """All maximal runs of at least two equal blocks, in order."""
        positions = self.wiring.positions
        for place, op in enumerate(self.ops):
            positions[op] = place
        try:
            self._read()
            return self._collected()
        finally:
            for op in self.ops:
                positions[op] = -1

    def _read(self) -> None:
        """Note what the ops read, and how often they are read."""
        wiring, length = self.wiring, self.length
        edges, offsets, positions = wiring.graph.edges, wiring.offsets, wiring.positions
        targets, input_nrs, output_nrs = edges.targets, edges.input_nrs, edges.output_nrs
        self.patterns = array("i")
        self.leaves, self.leaf_ends = array("i"), array("i", [0])
        self.outside, self.outside_ends = array("i"), array("i", [0])
        self.output_nrs = array("i")
        self.inner_reads = array("i", bytes(4 * len(self.ops)))
        # By others than its own block and the next one.
        self.outer_reads = array("i", map(wiring.readers.__getitem__, self.ops))
        views = wiring.views
        numbers: dict[Hashable, int] = {}
        for start in range(0, self.count * length, length or 1):
            low, end = max(start - length, 0), start + length
            for place in range(start, end):
                op = self.ops[place]
                inputs: list[int | str] = []
                for edge in range(offsets[op], offsets[op + 1]):
                    target = targets[edge]
                    made = positions[target]
                    if low <= made < end:
                        inputs += (input_nrs[edge], place - made, output_nrs[edge])
                        self.outer_reads[made] -= 1
                        self.inner_reads[made] += made >= start
                    elif wiring.is_leaf[target]:
                        inputs += (input_nrs[edge], _LEAF, output_nrs[edge])
                        self.leaves.append(target)
                    else:
                        inputs += (input_nrs[edge], _OUTSIDE)
                        self.outside.append(target)
                        self.output_nrs.append(output_nrs[edge])
                    if views:
                        inputs.append(views.get((op, input_nrs[edge]), ""))
                self.patterns.append(numbers.setdefault(tuple(inputs), len(numbers)))
            self.leaf_ends.append(len(self.leaves))
            self.outside_ends.append(len(self.outside))

    def _block(self, number: int) -> _Block:
        if not self.length:
            return _Block(array("i"), array("i"), array("i"), array("i"))
        outside = slice(self.outside_ends[number], self.outside_ends[number + 1])
        return _Block(
            self.patterns[self._places(number)],
            self.leaves[self.leaf_ends[number] : self.leaf_ends[number + 1]],
            self.outside[outside],
            self.output_nrs[outside],
        )

    def _places(self, number: int) -> slice:
        return slice(number * self.length, (number + 1) * self.length)

    def _collected(self) -> list[EqualBlocks]:
        found: list[EqualBlocks] = []
        previous = self._block(0)
        run = _Run(0, previous.leaves)
        for number in range(1, self.count):
            current = self._block(number)
            while not self._joins(run, number, previous, current):
                complete = self._completed(run, number)
                if complete is not None:
                    found.append(complete)
                if complete is not None or run.first == number - 1:
                    run = _Run(number, current.leaves)
                    break
                # A pair that is none: its second block may begin another run.
                run = _Run(number - 1, previous.leaves)
            previous = current
        complete = self._completed(run, self.count)
        return found if complete is None else [*found, complete]

    def _joins(self, run: _Run, number: int, previous: _Block, current: _Block) -> bool:
        """Whether block `number` continues a run that ends with the one before; extends the run."""
        if number - 1 == run.first:
            return self._begins(run, number, previous, current)
        outer_reads = self.outer_reads
        if outer_reads[self._places(number - 1)] != outer_reads[self._places(run.first)]:
            return False
        if run.is_plain and previous == current:
            return True
        return (
            previous.pattern == current.pattern
            and self._same_outside(run, number, previous, current)
            and self._same_leaves(run, number, previous, current)
            and self._same_unread(run, number, previous, current)
        )

    def _begins(self, run: _Run, number: int, first: _Block, second: _Block) -> bool:
        aligned = self._aligned(number, first, second)
        if aligned is None:
            return False
        run.leaves = aligned.leaves
        run.steps = tuple(b - a for a, b in zip(aligned.output_nrs, second.output_nrs))
        run.varying = tuple(
            k for k, (a, b) in enumerate(zip(aligned.leaves, second.leaves)) if a != b
        )
        run.owners = {aligned.leaves[k]: run.first for k in run.varying}
        run.unread = [tuple(leaf for _, leaf in self._unread(number - 1, first))]
        run.is_plain = not (run.varying or any(run.steps) or self.varying_calls)
        return (
            self._same_outside(run, number, aligned, second)
            and self._same_leaves(run, number, aligned, second)
            and self._same_unread(run, number, first, second)
        )

    def _same_unread(self, run: _Run, number: int, previous: _Block, current: _Block) -> bool:
        before, after = self._unread(number - 1, previous), self._unread(number, current)
        run.unread.append(tuple(leaf for _, leaf in after))
        return [key for key, _ in before] == [key for key, _ in after]

    def _same_outside(self, run: _Run, number: int, previous: _Block, current: _Block) -> bool:
        if previous.outside != current.outside:
            for target in current.outside:
                made = self.wiring.positions[target]
                if made >= 0:
                    self.strides[number - made // self.length] += 1
            return False
        if previous.output_nrs == current.output_nrs and not any(run.steps):
            return True
        return run.steps == tuple(b - a for a, b in zip(previous.output_nrs, current.output_nrs))

    def _same_leaves(self, run: _Run, number: int, previous: _Block, current: _Block) -> bool:
        before, after = previous.leaves, current.leaves
        if before == after:
            return not run.varying
        if run.varying != tuple(k for k, (a, b) in enumerate(zip(before, after)) if a != b):
            self._count_strides(run, number, current)
            return False
        if _first_uses(before) != _first_uses(after):
            return False
        uses_before, uses_after = Counter(before), Counter(after)
        wiring = self.wiring
        for k in run.varying:
            a, b = before[k], after[k]
            if (
                wiring.tokens[a] != wiring.tokens[b]
                or wiring.readers[a] - uses_before[a] != wiring.readers[b] - uses_after[b]
                or self._local_name(a, number - 1) != self._local_name(b, number)
            ):
                return False
            if run.owners.setdefault(b, number) != number:
                self._count_strides(run, number, current)
                return False
        return True

    def _count_strides(self, run: _Run, number: int, current: _Block) -> None:
        for leaf in current.leaves:
            owner = run.owners.get(leaf)
            if owner is not None:
                self.strides[number - owner] += 1

    def _aligned(self, number: int, first: _Block, second: _Block) -> _Block | None:
        """What the first block of a run reads where the second one reads from outside as well.

        None if they differ otherwise than in what the second one reads of the first.
        """
        if first.pattern == second.pattern:
            return first
        length, positions, ops = self.length, self.wiring.positions, self.ops
        start = number * length
        leaves: list[int] = []
        outside: list[int] = []
        outside_nrs: list[int] = []
        carried: dict[tuple[int, int], tuple[int, int] | None] = {}
        views = self.wiring.views
        for place in range(start, start + length):
            ours, theirs = self._inputs(ops[place - length]), self._inputs(ops[place])
            if ours is None or theirs is None or not ours.keys() <= theirs.keys():
                return None
            for input_nr, (target, output_nr) in theirs.items():
                own = ours.get(input_nr)
                made = positions[target]
                own_made = -1 if own is None else positions[own[0]]
                is_own = start - length <= own_made < start
                if start - length <= made < start:
                    if is_own or carried.setdefault((made, output_nr), own) != own:
                        return None
                    continue
                before = ops[place - length], input_nr
                if own is None or views.get(before) != views.get((ops[place], input_nr)):
                    return None
                if start <= made < start + length:
                    if own_made != made - length or own[1] != output_nr:
                        return None
                elif is_own or self.wiring.is_leaf[own[0]] != self.wiring.is_leaf[target]:
                    return None
                elif self.wiring.is_leaf[target]:
                    leaves.append(own[0])
                else:
                    outside.append(own[0])
                    outside_nrs.append(own[1])
        return _Block(
            second.pattern, array("i", leaves), array("i", outside), array("i", outside_nrs)
        )

    def _inputs(self, op: int) -> dict[int, tuple[int, int]] | None:
        """Who made each input of an op; None if two inputs have the same number."""
        edges, offsets = self.wiring.graph.edges, self.wiring.offsets
        rows = range(offsets[op], offsets[op + 1])
        inputs = {edges.input_nrs[k]: (edges.targets[k], edges.output_nrs[k]) for k in rows}
        return inputs if len(inputs) == len(rows) else None

    def _completed(self, run: _Run, end: int) -> EqualBlocks | None:
        """The run that ends before block `end`, if it is one."""
        count = end - run.first
        if count < 2:
            return None
        if count == 2:
            # Two blocks show no rule: what is read of the first must be read of the last as well.
            readers, ops, length = self.wiring.readers, self.ops, self.length
            for place in range(run.first * length, end * length - length):
                last = place + length
                if self.outer_reads[place] and readers[ops[last]] == self.inner_reads[last]:
                    return None
        leaves: dict[int, tuple[int, ...]] = {}
        for k in run.varying:
            others = (self.leaves[self.leaf_ends[b] + k] for b in range(run.first + 1, end))
            leaves.setdefault(run.leaves[k], (run.leaves[k], *others))
        unread = zip(*run.unread)
        return EqualBlocks(run.first, count, (*leaves.values(), *unread), self._passed_on(run))

    def _passed_on(self, run: _Run) -> tuple[tuple[int, int], ...]:
        start = run.first * self.length
        pairs: dict[tuple[int, int], None] = {}
        for reader in range(self.length):
            op = self.ops[start + self.length + reader]
            for edge in range(self.wiring.offsets[op], self.wiring.offsets[op + 1]):
                maker = self.wiring.positions[self.wiring.graph.edges.targets[edge]] - start
                if 0 <= maker < self.length:
                    pairs[maker, reader] = None
        return tuple(pairs)

    def _varying_calls(self) -> list[int]:
        """Places of the calls that are of another module in every block."""
        if len(self.calls) < 2:
            return []
        modules = self.wiring.graph.modules
        pairs = enumerate(zip(self.calls[0], self.calls[1]))
        return [k for k, (a, b) in pairs if modules[a].path != modules[b].path]

    def _unread(self, number: int, block: _Block) -> list[tuple[Hashable, int]]:
        """The leaves in the calls of a block that none of its ops reads, and what each one is.

        The leaves of a module that every block calls belong to the first call, and do not count.
        """
        if not self.varying_calls:
            return []
        wiring = self.wiring
        outline = wiring.outline
        read = set(block.leaves)
        return sorted(
            ((self._local_name(leaf, number), wiring.tokens[leaf], wiring.readers[leaf]), leaf)
            for k in self.varying_calls
            for call in outline.within(self.calls[number][k])
            for leaf in outline.leaves[call]
            if leaf not in read
        )

    def _local_name(self, leaf: int, number: int) -> tuple[int, str]:
        """The call of a block that a leaf belongs to, and its name there; (-1, "") if to none."""
        nodes, calls = self.wiring.graph.nodes, self.wiring.graph.modules
        home, place = self.places.get(nodes.modules[leaf], (-1, -1))
        if home != number:
            return -1, ""
        path = f"{calls[self.calls[number][place]].path}."
        names = nodes.user_names[leaf]
        local = (name.removeprefix(path) for name in names if name.startswith(path))
        return place, next(local, "")


def _first_uses(leaves: Sequence[int]) -> list[int]:
    """For every place the first one with the same leaf."""
    first: dict[int, int] = {}
    return [first.setdefault(leaf, k) for k, leaf in enumerate(leaves)]
