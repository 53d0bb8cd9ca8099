"""Which probes a run is measured with, from the options of a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphviz_cli import registry
from graphviz_cli.errors import UsageError

_USUAL = "gradient"
_VALUES = "gradient-values"


def probes_of(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """New probes: those that `--probe` names, and those that what is to be seen needs.

    Raises UsageError for a probe that there is not, and for `--grad-output` without a backward
    pass.
    """
    texts = list(options["probe"])
    names = {text.partition(":")[0].strip() for text in texts}
    if options["backward"] or names:
        wanted = [*_seen(options), *((_USUAL,) if options["backward"] and not names else ())]
        texts += [name for name in dict.fromkeys(wanted) if name not in names]
    probes = tuple(registry.create("probes", text) for text in texts)
    if options["grad_output"] and not any(probe.needs_backward for probe in probes):
        raise UsageError(
            "--grad-output says where a backward pass starts, and none is run.",
            hint="Add --backward.",
        )
    return probes


def _seen(options: Mapping[str, Any]) -> Iterator[str]:
    """The probes whose annotations colours, columns or arrows show."""
    known = registry.names("probes")
    shown = [options.get("heat"), *_words(options.get("columns") or ())]
    yield from (name for name in known if name in shown)
    if "time" in shown:
        yield "backward-time"
    if "values" in _words(options.get("show") or ()):
        yield _VALUES


def _words(values: Sequence[str]) -> list[str]:
    return [word.strip() for value in values for word in value.split(",")]
