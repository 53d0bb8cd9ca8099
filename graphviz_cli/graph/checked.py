"""Typed access to parsed JSON that says where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

INT32: Final = 2**31 - 1
INT64: Final = 2**63 - 1


class DamageError(Exception):
    """What is wrong with a saved graph, said so that its place can stand before it."""

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.place = place

    def __str__(self) -> str:
        return f"{self.place} {self.text}" if self.place else self.text

    def within(self, place: str) -> DamageError:
        """The same, seen from further outside."""
        joint = "." if self.place and not self.place.startswith("[") else ""
        return DamageError(self.text, f"{place}{joint}{self.place}")


class Checked:
    """An object of the JSON whose members are all known, and access to them by type.

    Every method raises DamageError when a member is missing, has another type or is out of bounds.
    """

    __slots__ = ("members",)

    def __init__(self, members: Any, known: Set[str]) -> None:
        if not isinstance(members, dict):
            raise DamageError("must be an object")
        if not members.keys() <= known:
            unknown = min(members.keys() - known)
            raise DamageError(f"has a member {shortly(unknown)}, which is not known")
        self.members = members

    def text(self, name: str, default: str | None = None) -> str:
        """A text."""
        value = self.members.get(name, default)
        if type(value) is not str:
            raise DamageError("must be text", name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where the member is missing."""
        value = self.items(name)
        if not all(type(item) is str for item in value):
            raise DamageError("must be a list of texts", name)
        return tuple(value)

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """True or false."""
        value = self.members.get(name, default)
        if type(value) is not bool:
            raise DamageError("must be true or false", name)
        return value

    def whole(
        self, name: str, default: int | None = None, *, least: int = 0, most: int = INT32
    ) -> int:
        """A whole number within bounds, both included."""
        value = self.members.get(name, default)
        if type(value) is not int or not least <= value <= most:
            raise DamageError(f"must be a whole number from {least} to {most}", name)
        return value

    def optional(self, name: str, *, least: int = 0) -> int | None:
        """A whole number, or None where the member is missing."""
        return self.whole(name, least=least) if name in self.members else None

    def reference(self, name: str, count: int, what: str) -> int:
        """A position in a table that has `count` rows."""
        value = self.whole(name)
        if value >= count:
            raise DamageError(f"is {what} {value}, but there are only {count}", name)
        return value

    def choice(self, name: str, choices: Mapping[str, E], default: E | None = None) -> E:
        """One of the named choices."""
        value = self.members.get(name, default)
        if not isinstance(value, str) or value not in choices:
            raise DamageError(f"must be one of {', '.join(choices)}", name)
        return choices[value]

    def items(self, name: str) -> list[Any]:
        """A list, empty where the member is missing."""
        value = self.members.get(name, [])
        if not isinstance(value, list):
            raise DamageError("must be a list", name)
        return value

    def rows(self, name: str, parse: Callable[[Any], T]) -> list[T]:
        """Every item of a list parsed."""
        return [
            at(f"{name}[{position}]", parse, row) for position, row in enumerate(self.items(name))
        ]

    def named(self, name: str, parse: Callable[[str, Any], T]) -> Mapping[str, T]:
        """Every member of an object parsed, by its name."""
        value = self.members.get(name, {})
        if not isinstance(value, dict):
            raise DamageError("must be an object", name)
        return MappingProxyType(
            {key: at(f"{name}[{shortly(key)}]", parse, key, row) for key, row in value.items()}
        )


def at(place: str, parse: Callable[..., T], *arguments: Any) -> T:
    """Parse what stands at a place; a DamageError comes out naming that."""
    try:
        return parse(*arguments)
    except DamageError as damage:
        raise damage.within(place) from None


def shortly(text: str) -> str:
    """A name from the file, fit for one line of a message."""
    return ascii(text if len(text) <= 40 else f"{text[:37]}...")
