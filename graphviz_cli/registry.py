"""Named plug-ins, ours and others', and the one grammar that asks for them.

A plug-in is a frozen dataclass: its docstring is its help, its fields are its options and one
method does the work. Ours stand in `BUILT_IN`; another distribution adds its own through an entry
point of the group `graphviz_cli.<kind>`.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any, Literal

from graphviz_cli.errors import UsageError

Kind = Literal["exporters", "transforms", "checks", "reports", "probes", "charts"]

BUILT_IN: Mapping[Kind, Mapping[str, str]] = {
    "exporters": {
        "tree": "graphviz_cli.exporters.tree:Tree",
        "svg": "graphviz_cli.exporters.graphviz:Svg",
        "pdf": "graphviz_cli.exporters.graphviz:Pdf",
        "png": "graphviz_cli.exporters.graphviz:Png",
        "dot": "graphviz_cli.exporters.dot:Dot",
        "mermaid": "graphviz_cli.exporters.mermaid:Mermaid",
        "json": "graphviz_cli.exporters.json:Json",
    },
    "transforms": {
        "hide": "graphviz_cli.transforms.hide:Hide",
        "focus": "graphviz_cli.transforms.focus:Focus",
        "gather": "graphviz_cli.transforms.gather:Gather",
        "repeats": "graphviz_cli.transforms.repeats:Repeats",
        "fold": "graphviz_cli.transforms.fold:Fold",
    },
    "checks": {
        "unused-parameter": "graphviz_cli.checks.unused_parameter:UnusedParameter",
        "severed-gradient": "graphviz_cli.checks.severed_gradient:SeveredGradient",
        "frozen-parameter-in-optimizer": (
            "graphviz_cli.checks.frozen_parameter_in_optimizer:FrozenParameterInOptimizer"
        ),
        "modified-saved-tensor": "graphviz_cli.checks.modified_saved_tensor:ModifiedSavedTensor",
        "freed-graph": "graphviz_cli.checks.freed_graph:FreedGraph",
        "non-scalar-root": "graphviz_cli.checks.non_scalar_root:NonScalarRoot",
        "zero-gradient-op": "graphviz_cli.checks.zero_gradient_op:ZeroGradientOp",
        "tensor-kept-on-ctx": "graphviz_cli.checks.tensor_kept_on_ctx:TensorKeptOnCtx",
        "reached-twice-under-reentrant-checkpoint": (
            "graphviz_cli.checks.reached_twice:ReachedTwiceUnderReentrantCheckpoint"
        ),
        "saved-bytes": "graphviz_cli.checks.saved_bytes:SavedBytes",
        "node-count": "graphviz_cli.checks.node_count:NodeCount",
        "forbidden-op": "graphviz_cli.checks.forbidden_op:ForbiddenOp",
        "non-finite": "graphviz_cli.checks.non_finite:NonFinite",
        "zero-gradient": "graphviz_cli.checks.zero_gradient:ZeroGradient",
        "vanishing-gradient": "graphviz_cli.checks.vanishing_gradient:VanishingGradient",
        "exploding-gradient": "graphviz_cli.checks.exploding_gradient:ExplodingGradient",
    },
    "reports": {
        "text": "graphviz_cli.reports.text:Text",
        "json": "graphviz_cli.reports.json:Json",
        "github": "graphviz_cli.reports.github:GitHub",
        "sarif": "graphviz_cli.reports.sarif:Sarif",
        "junit": "graphviz_cli.reports.junit:JUnit",
    },
    "probes": {
        "gradient": "graphviz_cli.capture.probes.gradient:Gradient",
        "gradient-values": "graphviz_cli.capture.probes.gradient_values:GradientValues",
        "backward-time": "graphviz_cli.capture.probes.backward_time:BackwardTime",
        "forward-time": "graphviz_cli.capture.probes.forward_time:ForwardTime",
        "saved-bytes": "graphviz_cli.capture.probes.saved_bytes:SavedBytes",
        "output": "graphviz_cli.capture.probes.output:Output",
        "saved-range": "graphviz_cli.capture.probes.saved_range:SavedRange",
    },
    "charts": {
        "text": "graphviz_cli.charts.text:Text",
        "svg": "graphviz_cli.charts.svg:Svg",
        "html": "graphviz_cli.charts.html:Html",
        "json": "graphviz_cli.charts.json:Json",
    },
}


@cache
def _entry_points(kind: Kind) -> Mapping[str, Callable[[], type]]:
    # Scanning the installed distributions costs tens of milliseconds: done when a name is not ours.
    from importlib.metadata import entry_points

    return {point.name: point.load for point in entry_points(group=f"graphviz_cli.{kind}")}


def names(kind: Kind) -> list[str]:
    """All known names of a kind, ours first, then those of other distributions in order."""
    ours = list(BUILT_IN[kind])
    return ours + sorted(name for name in _entry_points(kind) if name not in ours)


def plugin_type(kind: Kind, name: str) -> type:
    """Load the class of a plug-in.

    Raises UsageError with the closest known names if there is none of this name.
    """
    place = BUILT_IN[kind].get(name)
    if place is not None:
        module, _, attribute = place.partition(":")
        loaded: type = getattr(import_module(module), attribute)
        return loaded
    others = _entry_points(kind)
    if name in others:
        try:
            return others[name]()
        except Exception as error:
            raise UsageError(
                f"The plug-in {name!r} cannot be loaded: {error}",
                hint="It comes from another installed distribution; update or remove that.",
            ) from error
    import difflib

    known = names(kind)
    close = difflib.get_close_matches(name, known, n=1)
    raise UsageError(
        f"There is no {kind[:-1]} named {name!r}.",
        hint=(f"Did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(known)}.",
    )


def name_for_suffix(kind: Literal["exporters", "charts"], suffix: str) -> str:
    """The name of the plug-in that writes files with a suffix such as `.svg`.

    Raises UsageError with the known suffixes if there is none.
    """
    name = suffix.removeprefix(".").lower()
    if name in BUILT_IN[kind]:
        return name
    suffixes: dict[str, str] = {}
    # Ours first: to ask the other distributions costs tens of milliseconds.
    for known in (list(BUILT_IN[kind]), names(kind)):
        for plugin in known:
            suffixes.setdefault(plugin_type(kind, plugin).suffix, plugin)  # type: ignore[attr-defined]
        if suffix.lower() in suffixes:
            return suffixes[suffix.lower()]
    missing = f"No {kind[:-1]} writes files that end in {suffix!r}."
    raise UsageError(
        missing if suffix else "The file has no suffix.",
        hint=f"Known: {' '.join(suffixes)}; or choose the format with -f.",
    )


def describe(plugin: type) -> tuple[str, str]:
    """Title and advice of a plug-in: the first line of its docstring, and the rest."""
    title, _, rest = (inspect.getdoc(plugin) or plugin.__name__).partition("\n")
    return title, rest.strip()


def create(kind: Kind, text: str) -> Any:
    """Make a plug-in from `name` or `name:option=value,option=value`.

    Raises UsageError for an unknown name, an unknown option or a value of the wrong type.
    """
    name, _, options = text.partition(":")
    plugin = plugin_type(kind, name.strip())
    fields = {field.name: field for field in dataclasses.fields(plugin) if field.init}
    hints = typing.get_type_hints(plugin) if options else {}
    values: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in options.split(","))):
        option, equals, value = item.partition("=")
        option = option.strip().replace("-", "_")
        if option not in fields:
            listed = ", ".join(fields) or "none"
            raise UsageError(f"{name!r} has no option {option!r}.", hint=f"Its options: {listed}.")
        values[option] = _converted(f"{name}:{option}", hints[option], value if equals else "true")
    missing = [
        field.name
        for field in fields.values()
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(
            f"{name!r} needs {missing[0]!r}.", hint=f"Write {name}:{missing[0]}=VALUE."
        )
    return plugin(**values)


def _wanted(hint: Any) -> str:
    """What may stand for a type, in words."""
    if typing.get_origin(hint) is Literal:
        return ", ".join(map(str, typing.get_args(hint)))
    return {int: "a whole number", float: "a number", str: "text"}.get(hint, str(hint))


_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _converted(option: str, hint: Any, text: str) -> Any:
    """Turn the text of an option into the type that its field declares."""
    choices: list[str] | None = None
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) < len(typing.get_args(hint)) and text.lower() == "none":
            return None
        for member in members:
            try:
                return _converted(option, member, text)
            except UsageError:
                continue
        wanted = " or ".join(map(_wanted, members))
        raise UsageError(f"{option} cannot be {text!r}.", hint=f"It takes {wanted}.")
    if origin is Literal:
        choices = [str(choice) for choice in typing.get_args(hint)]
        if text in choices:
            return typing.get_args(hint)[choices.index(text)]
    elif isinstance(hint, type) and issubclass(hint, Enum):
        choices = [str(member.value) for member in hint]
        if text in choices:
            return next(member for member in hint if str(member.value) == text)
    elif hint is bool:
        choices = ["true", "false"]
        if text.lower() in ("true", "yes", "1", "on", "false", "no", "0", "off"):
            return text.lower() in ("true", "yes", "1", "on")
    elif hint in (int, float):
        number = text.strip().upper()
        unit = number.lstrip("+-.0123456789E") if hint is int else ""
        try:
            value = float(number.removesuffix(unit)) if unit else hint(number)
            return int(value * _SIZES[unit]) if unit else value
        except (ValueError, KeyError):
            choices = ["a whole number, e.g. 200 or 2GB" if hint is int else "a number"]
    else:
        return text
    raise UsageError(f"{option} cannot be {text!r}.", hint=f"It takes {', '.join(choices)}.")
