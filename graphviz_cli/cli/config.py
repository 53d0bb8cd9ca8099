"""Defaults from the user's pyproject.toml and environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graphviz_cli.cli.options import (
    CHECK_OPTIONS,
    ENVIRONMENT_PREFIX,
    OPTIONS,
    WATCH_OPTIONS,
    Option,
)
from graphviz_cli.cli.streams import reason
from graphviz_cli.errors import UsageError

_TABLE = "graphviz-cli"
_ALL = (*OPTIONS, *CHECK_OPTIONS, *WATCH_OPTIONS)


def file_defaults(folder: Path) -> dict[str, Any]:
    """The values of `[tool.graphviz-cli]` in the nearest pyproject.toml, by option name.

    Raises UsageError for a damaged file, an unknown key or a value of the wrong type.
    """
    for parent in (folder, *folder.parents):
        path = parent / "pyproject.toml"
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UsageError(f"Cannot read {path}: {reason(error)}.") from error
        return _values(path, data) if _TABLE.encode() in data else {}
    return {}


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise UsageError for a variable of ours that sets nothing."""
    known = {option.variable for option in _ALL}
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            raise UsageError(f"The variable {name} sets no option.", hint=_similar(name, known))


def _values(path: Path, data: bytes) -> dict[str, Any]:
    import tomllib

    try:
        tools = tomllib.loads(data.decode()).get("tool")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}.") from error
    table = tools.get(_TABLE, {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"tool.{_TABLE} in {path} is no table.", hint=f"[tool.{_TABLE}]")
    options = {option.key: option for option in _ALL}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in options:
            raise UsageError(
                f"[tool.{_TABLE}] in {path} has a key {key!r} that sets no option.",
                hint=_similar(key, options),
            )
        option = options[key]
        if not _fits(option, value):
            raise UsageError(
                f"[tool.{_TABLE}] in {path}: {key} cannot be {value!r}.",
                hint=f"It takes {_wanted(option)}.",
            )
        several = option.repeatable or option.kind == "list"
        values[option.name] = [value] if several and isinstance(value, str) else value
    return values


def _fits(option: Option, value: object) -> bool:
    if option.kind == "flag":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if option.kind in ("whole", "positive"):
        return isinstance(value, int)
    if option.kind == "seconds":
        return isinstance(value, int | float)
    if option.kind == "depth":
        return isinstance(value, int | str)
    if isinstance(value, list):
        several = option.repeatable or option.kind == "list"
        return several and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _wanted(option: Option) -> str:
    if option.kind == "flag":
        return "true or false"
    if option.kind in ("whole", "positive", "seconds"):
        return "a number"
    if option.repeatable or option.kind == "list":
        return "a text or a list of texts"
    return " or ".join(option.choices) if option.choices else "a text"


def _similar(name: str, known: Iterable[str]) -> str:
    import difflib

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(names)}."
