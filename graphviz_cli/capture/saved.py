"""What backward ops keep in memory, read without unpacking anything.

Unpacking a saved tensor runs the user's hooks, computes checkpoints again, and raises once backward
has freed it. The handles that are read here do none of this, but they point into their node
without keeping it alive, so none of them may outlive the call.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from graphviz_cli.capture import private
from graphviz_cli.capture.specs import spec_of
from graphviz_cli.graph.model import NONE, Column, SavedState, SavedTable, Storage, TensorSpec

_STATES = tuple(SavedState)
_HELD, _FREED, _PACKED, _UNDEFINED = map(
    _STATES.index,
    (SavedState.HELD, SavedState.FREED, SavedState.PACKED, SavedState.UNDEFINED),
)
_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))
_NESTING = 4
"""How deep the containers that a hook or a custom Function keeps are searched for tensors."""


@dataclass(frozen=True, slots=True)
class SavedFields:
    """Where the nodes of one type keep their saved tensors."""

    attributes: tuple[tuple[str, str], ...]
    """Name and attribute of each."""
    is_custom: bool
    """They are a custom Function's: a list without names, and what stands on its ctx."""

    @classmethod
    def of(cls, node_type: type) -> SavedFields | None:
        """Look at a type of nodes; None if they save nothing that can be seen."""
        attributes = private.saved_fields(node_type)
        is_custom = private.is_custom_function(node_type)
        return cls(attributes, is_custom) if attributes or is_custom else None


@dataclass(frozen=True, slots=True)
class Saved:
    """What a graph keeps in memory."""

    table: SavedTable
    storages: tuple[Storage, ...]
    unknown: int
    """How many custom Functions were freed, so that nothing tells what they had saved."""


def read_saved(
    nodes: Sequence[Any], fields: Sequence[SavedFields | None], borrowed: Collection[int]
) -> Saved:
    """Read what each node saved; `fields` tells where, one for each node.

    `borrowed` are the addresses of the storages that the graph does not own. A tensor on a custom
    Function's ctx is named `ctx.NAME`: unlike the others it is not freed by backward. A tensor
    whose data are in several others (sparse, DTensor) has a row without storage, and one
    `NAME.PART` for each of them. What a checkpoint keeps to compute its region again stands once,
    as `checkpoint[K]`, at the first node that needs the region.
    """
    reader = _Reader(borrowed)
    reader.read(nodes, fields)
    return reader.saved()


def addresses_of(tensors: Iterable[torch.Tensor]) -> set[int]:
    """The addresses of all storages that hold the data of some tensors."""
    found = set()
    waiting = list(tensors)
    while waiting:
        tensor = waiting.pop()
        address, parts = _place(tensor)
        waiting.extend(part for _, part in parts)
        if address is not None:
            found.add(address)
    return found


def _place(tensor: torch.Tensor) -> tuple[int | None, Sequence[tuple[str, torch.Tensor]]]:
    """The address of a tensor's storage, or else the tensors that its data are in."""
    try:
        if type(tensor) not in _PLAIN:
            parts = private.inner_tensors(tensor)
            if parts:
                return None, parts
        return private.storage_address(tensor) or None, ()
    except NotImplementedError:  # sparse, mkldnn: there is no storage
        return None, private.sparse_parts(tensor)
    except Exception:  # a subclass that answers in its own code
        return None, ()


class _Reader:
    """Collects the rows of a SavedTable, node by node."""

    def __init__(self, borrowed: Collection[int]) -> None:
        self._borrowed = borrowed
        # Columns of numbers; a list takes a number faster than an array does.
        self._offsets = [0]
        self._names: list[int] = []
        self._specs: list[int] = []
        self._storages: list[int] = []
        self._states: list[int] = []
        # The numbers that stand for a name, a spec, and for what torch hands out.
        self._name_numbers: dict[str, int] = {}
        self._spec_numbers: dict[TensorSpec | None, int] = {}
        self._known_specs: dict[object, int] = {}
        self._known_storages: dict[int, int] = {}
        self._all_storages: list[Storage] = []
        self._storage_of_size: dict[tuple[int, bool], Storage] = {}
        # By the id of a checkpoint's frame, which stands beside so that no other gets its id.
        self._frames: dict[int, tuple[Any, Mapping[int, Any]]] = {}
        self._unknown = 0

    def saved(self) -> Saved:
        table = SavedTable(
            array("i", self._offsets),
            Column(tuple(self._name_numbers), array("i", self._names)),
            Column(tuple(self._spec_numbers), array("i", self._specs)),
            array("i", self._storages),
            Column(_STATES, array("i", self._states)),
        )
        return Saved(table, tuple(self._all_storages), self._unknown)

    def read(self, nodes: Sequence[Any], fields: Sequence[SavedFields | None]) -> None:
        known_specs, known_storages = self._known_specs, self._known_storages
        storage_address, new_storage = private.storage_address, self._new_storage
        add_name, add_spec = self._names.append, self._specs.append
        add_storage, add_state = self._storages.append, self._states.append
        states, name_numbers, add_offset = self._states, self._name_numbers, self._offsets.append
        for node, places in zip(nodes, fields):
            if places is not None:
                for name, attribute in places.attributes:
                    # Nearly every saved tensor goes this way, which calls nothing that is not
                    # torch's; what is unusual about the others raises, or is asked for.
                    try:
                        handle = getattr(node, attribute)
                        tensor = handle.data
                        if type(tensor) in _PLAIN and handle.unpack_hook is None:
                            spec = known_specs[tensor.shape, tensor.dtype, tensor.device]
                            address = storage_address(tensor)
                            storage = known_storages.get(address)
                            if storage is None:
                                storage = new_storage(address, tensor)
                            add_name(name_numbers[name])
                            add_spec(spec)
                            add_storage(storage)
                            add_state(_HELD)
                            continue
                    except Exception:
                        pass
                    self._read_field(node, name, attribute)
                if places.is_custom:
                    self._read_custom(node)
            add_offset(len(states))

    def _read_field(self, node: Any, name: str, attribute: str) -> None:
        try:
            value = getattr(node, attribute)
        except RuntimeError:  # only a list of tensors raises, once it is freed
            self._row(name, None, NONE, _FREED)
            return
        if isinstance(value, tuple):
            for position, item in enumerate(value):
                self._read(f"{name}[{position}]", item)
        else:
            self._read(name, value)

    def _read_custom(self, node: Any) -> None:
        try:
            saved = private.custom_saved(node)
        except RuntimeError:
            self._unknown += 1
        else:
            for position, item in enumerate(saved):
                self._read(f"saved_tensors[{position}]", item)
        for name, value in vars(node).items():
            for place, tensor in _tensors_in(value, f"ctx.{name}"):
                self._tensor(place, tensor, _HELD)

    def _read(self, name: str, saved: Any) -> None:
        """The rows for a handle on a saved tensor."""
        data, hook = saved.data, saved.unpack_hook
        if hook is not None:
            self._packed(name, data, hook)
        elif data is not None:
            self._tensor(name, data, _HELD)
        else:
            self._row(name, None, NONE, _FREED if private.is_freed(saved) else _UNDEFINED)

    def _packed(self, name: str, packed: object, hook: object) -> None:
        """The rows for what a pack hook returned."""
        frame = private.checkpoint_frame(hook)
        if frame is not None:
            is_new = id(frame) not in self._frames
            self._row(name, self._checkpointed_spec(frame, packed), NONE, _PACKED)
            for position, item in enumerate(private.checkpoint_inputs(frame) if is_new else ()):
                self._read(f"checkpoint[{position}]", item)
            return
        tensors = tuple(_tensors_in(packed, name))
        if not tensors:
            self._row(name, None, NONE, _PACKED)
        for place, tensor in tensors:
            self._tensor(place if len(tensors) > 1 else name, tensor, _PACKED)

    def _checkpointed_spec(self, frame: Any, holder: object) -> TensorSpec | None:
        """What a checkpoint noted about the tensor in whose place `holder` stands."""
        if id(frame) not in self._frames:
            noted = {id(place): data for place, data in private.checkpoint_holders(frame)}
            self._frames[id(frame)] = frame, noted
        data = self._frames[id(frame)][1].get(id(holder))
        # A checkpoint can be told to note nothing, or something of the user's.
        if not isinstance(data, Mapping) or not {"shape", "dtype", "device"} <= data.keys():
            return None
        return spec_of(SimpleNamespace(**data))

    def _tensor(self, name: str, tensor: torch.Tensor, state: int) -> None:
        """A row for a tensor, and one for each tensor that its data are in."""
        address, parts = _place(tensor)
        storage = NONE
        if address is not None:
            known = self._known_storages.get(address)
            storage = self._new_storage(address, tensor) if known is None else known
        self._append(name, self._spec_code(tensor), storage, state)
        for part, inner in parts:
            self._tensor(f"{name}.{part}", inner, state)

    def _spec_code(self, tensor: torch.Tensor) -> int:
        try:
            key = (tensor.shape, tensor.dtype, tensor.device)
            code = self._known_specs.get(key)
            if code is None:
                code = self._known_specs[key] = self._number(spec_of(tensor))
        except Exception:  # symbols cannot be hashed, a nested tensor has no shape
            code = self._number(spec_of(tensor))
        return code

    def _number(self, spec: TensorSpec | None) -> int:
        return self._spec_numbers.setdefault(spec, len(self._spec_numbers))

    def _new_storage(self, address: int, tensor: torch.Tensor) -> int:
        nbytes = tensor.untyped_storage().nbytes()
        if type(nbytes) is not int:  # symbolic, as the dimensions of the fake tensor are
            nbytes = 0
        key = nbytes, address not in self._borrowed
        storage = self._storage_of_size.get(key)
        if storage is None:
            storage = self._storage_of_size[key] = Storage(*key)
        number = self._known_storages[address] = len(self._all_storages)
        self._all_storages.append(storage)
        return number

    def _row(self, name: str, spec: TensorSpec | None, storage: int, state: int) -> None:
        self._append(name, self._number(spec), storage, state)

    def _append(self, name: str, spec_number: int, storage: int, state: int) -> None:
        self._names.append(self._name_numbers.setdefault(name, len(self._name_numbers)))
        self._specs.append(spec_number)
        self._storages.append(storage)
        self._states.append(state)


def _tensors_in(value: object, place: str, depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in a value and in the containers in it, each with where it stands."""
    if isinstance(value, torch.Tensor):
        yield place, value
    elif depth < _NESTING:
        items: Iterator[tuple[object, object]] = iter(())
        if isinstance(value, (list, tuple)):
            items = enumerate(value)
        elif isinstance(value, dict):
            items = iter(value.items())
        for key, item in items:
            yield from _tensors_in(item, f"{place}[{key!r}]", depth + 1)
