"""`graphviz-cli list`: the plug-ins and themes that can be named."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from enum import Enum

import click

from graphviz_cli import registry
from graphviz_cli.cli.commands import Action
from graphviz_cli.cli.streams import Streams
from graphviz_cli.drawing.style import THEMES
from graphviz_cli.errors import GraphvizCliError

THEMES_KIND = "themes"
_NARROWEST = 18


def command(name: str, help: str) -> click.Command:
    """`graphviz-cli list [KIND]`."""
    kind = click.Argument(["kind"], required=False, type=click.Choice(listable()))
    return click.Command(name, params=[kind], callback=_list, help=help)


def _list(kind: str | None) -> Action:
    def action(streams: Streams) -> int:
        streams.write(listing(listable() if kind is None else (kind,)).encode())
        return 0

    return action


def listable() -> tuple[str, ...]:
    """What can be listed: every kind of plug-in, and the themes."""
    return (*registry.BUILT_IN, THEMES_KIND)


def listing(kinds: Iterable[str]) -> str:
    """A paragraph for each kind: names, titles, suffixes and options."""
    return "\n".join("\n".join(_paragraph(kind)) + "\n" for kind in kinds)


def _paragraph(kind: str) -> Iterator[str]:
    if kind == THEMES_KIND:
        yield "themes (--theme NAME):"
        for theme in THEMES.values():
            yield f"  {theme.name:<18} text {theme.text} on {theme.background}"
        return
    known = typing.cast(registry.Kind, kind)
    yield f"{kind}:"
    width = max(_NARROWEST, *map(len, registry.names(known)))
    for name in registry.names(known):
        try:
            plugin = registry.plugin_type(known, name)
        except GraphvizCliError as error:
            yield f"  {name:<{width}} {error.message}"
            continue
        title, _ = registry.describe(plugin)
        suffix = getattr(plugin, "suffix", "")
        yield f"  {name:<{width}} {title}" + (f" ({suffix})" if suffix else "")
        options = ",".join(map(_option, (f for f in dataclasses.fields(plugin) if f.init)))
        if options:
            yield f"  {'':<{width}} {name}:{options}"


def _option(field: dataclasses.Field[object]) -> str:
    if field.default is dataclasses.MISSING:
        return f"{field.name}=..."
    default = field.default.value if isinstance(field.default, Enum) else field.default
    return f"{field.name}={str(default).lower() if isinstance(default, bool) else default}"
