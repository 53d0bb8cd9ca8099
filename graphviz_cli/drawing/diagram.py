"""What a picture shows, as plain data: what is said stands here, how it is written elsewhere.

All text is on one line and free of control characters; exporters only escape it. Arrows run the
way of the forward pass, from the op that makes a tensor to the one that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Look(StrEnum):
    """What kind of thing is shown; an exporter has a shape and a colour for each."""

    OP = "op"
    MODULE = "module"
    PARAMETER = "parameter"
    INPUT = "input"
    CONSTANT = "constant"
    CUT = "cut"
    ABSENT = "absent"
    """A list of leaves that no gradient reaches."""


@dataclass(frozen=True, slots=True)
class Tint:
    """A colour that stands for a value, and the colour in which text on it can be read."""

    fill: str
    ink: str


@dataclass(frozen=True, slots=True)
class Chip:
    """A small leaf inside the box of the op that uses it."""

    id: str
    look: Look
    title: str
    detail: str = ""
    tooltip: str = ""
    shared: bool = False
    """The same leaf stands at other boxes too."""
    finding: bool = False
    """A check has found something about it."""
    tint: Tint | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a list inside a box: what, which kind, how much."""

    title: str
    detail: str = ""
    amount: str = ""
    saved: bool = False
    """It is a tensor that was saved for backward."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node of the picture."""

    id: str
    look: Look
    title: str
    variable: str = ""
    """What the user calls the result."""
    note: str = ""
    """Follows the title in grey: the class of a module."""
    lines: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    chips: tuple[Chip, ...] = ()
    tooltip: str = ""
    cluster: int | None = None
    """Index into `Diagram.clusters`."""
    root: bool = False
    saves: bool = False
    """It keeps tensors for backward."""
    repeats: int = 1
    """How many equal consecutive ones it stands for."""
    finding: bool = False
    """A check has found something about it; which one stands among the lines."""
    tint: Tint | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A panel around the boxes of a module call."""

    id: str
    title: str
    note: str = ""
    tooltip: str = ""
    parent: int | None = None
    """Index into `Diagram.clusters`, always a smaller one."""
    depth: int = 0
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Arrow:
    """From the box that makes a tensor to the one that uses it, by their ids."""

    source: str
    target: str
    count: int = 1
    """How many edges it stands for."""
    main: bool = False
    """It comes from the input that took the longest way: the line to draw straight."""
    views: int = 0
    """How many view ops were hidden at its tail."""
    broken: bool = False
    """No gradient flows along it."""
    blocked: bool = False
    """No gradient gets past its head."""
    unasked: bool = False
    """No gradient flows along it, and none is asked for: it comes from a constant."""
    labels: tuple[str, ...] = ()
    """What flows along each edge, of one or two lines; empty where nothing is to be said."""
    tooltip: str = ""


class Sign(StrEnum):
    """What a legend explains besides the looks."""

    ROOT = "root"
    SAVED = "saved"
    SHARED = "shared"
    REPEATED = "repeated"
    VIEWS = "views"
    PANEL = "panel"
    FLOW = "flow"
    FINDING = "finding"


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of the legend."""

    sign: Look | Sign | Tint
    text: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """A picture: boxes come in the order of the forward pass."""

    title: str
    facts: tuple[str, ...] = ()
    """What follows the title, one fact each."""
    hidden: tuple[str, ...] = ()
    """What is not shown, and how to see it."""
    remarks: tuple[str, ...] = ()
    """What must be known to read it rightly, one sentence each."""
    boxes: tuple[Box, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    arrows: tuple[Arrow, ...] = ()
    legend: tuple[Key, ...] = ()
