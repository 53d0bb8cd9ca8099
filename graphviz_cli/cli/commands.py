"""The commands besides the default one: a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from graphviz_cli.cli.streams import Streams

Action = Callable[[Streams], int]
"""A command, ready to run once its arguments are read; returns the exit status."""


class Entry(NamedTuple):
    """A command by name."""

    name: str
    help: str
    place: str
    """The module whose `command(name, help)` makes it; the callback returns an `Action`."""


COMMANDS: tuple[Entry, ...] = (
    Entry(
        "check",
        "The verdict on every parameter, and what is wrong with the graph.",
        "graphviz_cli.cli.check",
    ),
    Entry(
        "why",
        "Why a parameter gets a gradient or none: the path, or what is in the way.",
        "graphviz_cli.cli.why",
    ),
    Entry(
        "watch",
        "Run a whole script and follow every backward call: loss, gradients, graph.",
        "graphviz_cli.cli.watch",
    ),
    Entry(
        "explain",
        "What a backward op computes and saves; a plug-in; or a node of a graph.",
        "graphviz_cli.cli.explain",
    ),
    Entry(
        "list",
        "Name the plug-ins and themes, and their options.",
        "graphviz_cli.cli.list",
    ),
    Entry(
        "doctor",
        "What is installed, what each format will use, and how to get the rest.",
        "graphviz_cli.cli.doctor",
    ),
)
