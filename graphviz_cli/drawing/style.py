"""How a graph shall look: one value that travels to every exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way the gradient's source is drawn: the letters are Graphviz's `rankdir`."""

    DOWN = "TB"
    """Leaves on top, root at the bottom: the order of the forward pass."""
    UP = "BT"
    RIGHT = "LR"
    LEFT = "RL"


class Arrangement(StrEnum):
    """Which text tree is drawn."""

    MODULES = "modules"
    """An outline by module, in the order of the forward pass."""
    OPS = "ops"
    """The backward ops from the root on, as autograd runs them."""


@dataclass(frozen=True, slots=True)
class Paint:
    """Fill and line colour of one kind of thing, `#rrggbb`; an empty fill is none."""

    fill: str
    line: str


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a picture."""

    name: str
    background: str
    text: str
    dim: str
    """Secondary text."""
    edge: str
    op: Paint
    parameter: Paint
    input: Paint
    constant: Paint
    saved: Paint
    root: Paint
    cut: Paint
    finding: str
    """Frame of what a check has found something about."""
    module: Paint
    module_alternate: str
    """Fill of every second module panel, by depth."""


THEMES: Mapping[str, Theme] = {
    "light": Theme(
        name="light",
        background="#FFFFFF",
        text="#1C2129",
        dim="#5F6B7A",
        edge="#7C8794",
        op=Paint("#F1F3F6", "#8C96A3"),
        parameter=Paint("#CFE6F7", "#0072B2"),
        input=Paint("#CDEDE2", "#00664F"),
        constant=Paint("", "#8C96A3"),
        saved=Paint("#FBE3CC", "#D55E00"),
        root=Paint("#FCE6AE", "#1C2129"),
        cut=Paint("#F6DDEA", "#B0447F"),
        finding="#C62828",
        module=Paint("#F7F8FA", "#C2C9D3"),
        module_alternate="#FFFFFF",
    ),
    "dark": Theme(
        name="dark",
        background="#14171C",
        text="#E6E9EE",
        dim="#9AA5B4",
        edge="#8A95A3",
        op=Paint("#2A303A", "#68727F"),
        parameter=Paint("#12384F", "#56B4E9"),
        input=Paint("#0F3A2D", "#2CC79B"),
        constant=Paint("", "#8C96A3"),
        saved=Paint("#4A2A10", "#FF9D4D"),
        root=Paint("#4A3806", "#FFF3C4"),
        cut=Paint("#43233A", "#E08CC0"),
        finding="#FF6B6B",
        module=Paint("#1B2027", "#414B58"),
        module_alternate="#222831",
    ),
    "print": Theme(
        name="print",
        background="#FFFFFF",
        text="#000000",
        dim="#555555",
        edge="#555555",
        op=Paint("#FFFFFF", "#555555"),
        parameter=Paint("#E0E0E0", "#000000"),
        input=Paint("#F2F2F2", "#000000"),
        constant=Paint("", "#777777"),
        saved=Paint("#BBBBBB", "#444444"),
        root=Paint("#C8C8C8", "#000000"),
        cut=Paint("#FFFFFF", "#000000"),
        finding="#000000",
        module=Paint("#FAFAFA", "#999999"),
        module_alternate="#FFFFFF",
    ),
    "torchviz": Theme(
        name="torchviz",
        background="#FFFFFF",
        text="#000000",
        dim="#444444",
        edge="#000000",
        op=Paint("#D3D3D3", "#808080"),
        parameter=Paint("#ADD8E6", "#000000"),
        input=Paint("#ADD8E6", "#000000"),
        constant=Paint("", "#808080"),
        saved=Paint("#FFA500", "#FFA500"),
        root=Paint("#CAFF70", "#000000"),
        cut=Paint("#FFC0CB", "#000000"),
        finding="#FF0000",
        module=Paint("#FFFFFF", "#808080"),
        module_alternate="#FFFFFF",
    ),
}


@dataclass(frozen=True, slots=True)
class Style:
    """Everything that decides how a graph looks, and nothing that decides what it is."""

    theme: Theme = THEMES["light"]
    direction: Direction = Direction.DOWN
    arrangement: Arrangement = Arrangement.MODULES
    show: frozenset[str] = frozenset()
    """What is shown besides the usual: `saved`, `source`, `dtype`, `views`, `formula`."""
    columns: tuple[str, ...] = ()
    """Columns of the text tree; empty for the usual ones."""
    title: str = ""
    """Overrides the title."""
    heat: str | None = None
    """The annotation that colours the boxes; `saved` is the bytes that an op keeps."""
    color: bool = False
    """Text may carry terminal colours."""
    ascii: bool = False
    """Text keeps to ASCII."""
    width: int | None = None
    """Width of the terminal in characters; None where nothing is ever cut."""
