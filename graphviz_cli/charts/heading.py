"""What a run was, in a title and a few facts: the head of every chart."""

from __future__ import annotations

from graphviz_cli.drawing.format import counted, visible
from graphviz_cli.graph.history import Ending, History

_ENDINGS = {
    Ending.ENOUGH: "stopped when asked",
    Ending.INTERRUPTED: "interrupted",
    Ending.FAILED: "the program failed",
}


def title_of(history: History) -> str:
    """The name of the script or the model."""
    return visible(history.title or history.target)


def facts_of(history: History) -> tuple[str, ...]:
    """What follows the title, one fact each."""
    calls = counted(history.calls, "backward call")
    if history.every > 1:
        calls += f", {len(history.steps):,} measured (every {history.every:,})"
    facts = [calls]
    if history.ending in _ENDINGS:
        facts.append(_ENDINGS[history.ending])
    if history.torch:
        facts.append(f"torch {visible(history.torch)}")
    if history.device:
        facts.append(visible(history.device))
    return tuple(facts)


def root_text(root: str) -> str:
    """The name of what a backward call started from; a tensor without a name is `the root`."""
    return visible(root) or "the root"
