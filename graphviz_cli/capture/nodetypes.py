"""What all nodes of one type have in common, found out once for each type."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from graphviz_cli.capture.leaves import LEAF_NAME
from graphviz_cli.capture.saved import SavedFields
from graphviz_cli.graph.model import Column, NodeKind
from graphviz_cli.graph.verdict import OPAQUE

T = TypeVar("T", bound=Hashable)

_PREFIX = "torch::autograd::"
_SHARED = "CppFunction"
"""The Python type of all C++ nodes that have none of their own."""

_HIDDEN = (
    ("CopySlices", "in-place write{} into a view", "the op inside, and what it saved"),
    ("CppNode<", "op{} of a C++ extension", "what was saved"),
    (
        "CheckpointFunctionBackward",
        "reentrant checkpoint{}",
        "the ops, made only by backward",
    ),
    (
        "CompiledFunctionBackward",
        "compiled region{}",
        "the ops, compiled into one",
    ),
)
"""How a node's name begins of which not all can be seen, what such a node is, what is hidden."""


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of node that autograd knows."""

    name: str
    """Autograd's name, without the namespace that some of them have."""
    fields: SavedFields | None

    @classmethod
    def of(cls, node: Any) -> NodeType:
        """The type of a node."""
        return cls(node.name().removeprefix(_PREFIX), SavedFields.of(type(node)))

    @property
    def is_leaf(self) -> bool:
        """Its nodes stand for a tensor and are no op."""
        return self.name == LEAF_NAME


class NodeTypes:
    """The types of some nodes."""

    def __init__(self, nodes: Sequence[Any]) -> None:
        types = list(map(type, nodes))
        examples = dict(zip(types, nodes))
        numbers = {kind: number for number, kind in enumerate(examples)}
        self.all = [NodeType.of(node) for node in examples.values()]
        self.codes = array("i", [numbers[kind] for kind in types])
        """For each node the index of its type in `all`."""
        shared = [number for kind, number in numbers.items() if kind.__name__ == _SHARED]
        by_name = {self.all[number].name: number for number in shared}
        for position, code in enumerate(self.codes if shared else ()):
            if code in shared:
                found = NodeType.of(nodes[position])
                number = by_name.setdefault(found.name, len(self.all))
                if number == len(self.all):
                    self.all.append(found)
                self.codes[position] = number

    @property
    def names(self) -> Column[str]:
        """Autograd's name of every node."""
        # Two custom Functions may have the same.
        return self._spread(Column.of(node_type.name for node_type in self.all))

    @property
    def fields(self) -> list[SavedFields | None]:
        """Where every node keeps its saved tensors."""
        fields = [node_type.fields for node_type in self.all]
        return [fields[code] for code in self.codes]

    @property
    def kinds(self) -> Column[NodeKind]:
        """The kind of every node."""
        kinds = (NodeKind.LEAF if t.is_leaf else NodeKind.FUNCTION for t in self.all)
        return self._spread(Column.of(kinds))

    @property
    def sizes(self) -> array[int]:
        """How many ops every node is: one, or none if it is a leaf."""
        sizes = [0 if node_type.is_leaf else 1 for node_type in self.all]
        return array("i", [sizes[code] for code in self.codes])

    @property
    def leaves(self) -> list[int]:
        """The ids of the leaves, ascending."""
        return self._where([node_type.is_leaf for node_type in self.all])

    @property
    def ops(self) -> list[int]:
        """The ids of all others, ascending."""
        return self._where([not node_type.is_leaf for node_type in self.all])

    @property
    def custom(self) -> list[int]:
        """The ids of the ops that are custom Functions, ascending."""
        return self._where([t.fields is not None and t.fields.is_custom for t in self.all])

    @property
    def opaque(self) -> Mapping[int, str]:
        """The ids of the ops that may use parameters of which they do not tell, and their names."""
        names = [
            node_type.name if node_type.name.startswith(OPAQUE) else "" for node_type in self.all
        ]
        return {node: names[self.codes[node]] for node in self._where(list(map(bool, names)))}

    def hidden(self) -> Iterator[str]:
        """What cannot be seen of the nodes, a sentence for each kind."""
        for beginning, what, hidden in _HIDDEN:
            codes = [c for c, t in enumerate(self.all) if t.name.startswith(beginning)]
            count = sum(map(self.codes.count, codes))
            if count:
                yield f"Not seen of {count} {what.format('s' if count > 1 else '')}: {hidden}."

    def _spread(self, column: Column[T]) -> Column[T]:
        """From one row for each type to one for each node."""
        rows = column.codes
        return Column(column.values, array("i", [rows[code] for code in self.codes]))

    def _where(self, wanted: Sequence[bool]) -> list[int]:
        if not any(wanted):
            return []
        return [node for node, code in enumerate(self.codes) if wanted[code]]
