"""Draw the autograd graph of any PyTorch script, module or model.

`capture_tensors(loss)` gives the graph of tensors at hand, `load` one that was saved; what
exporters and transforms there are, and how to make one, stands in `graphviz_cli.registry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from graphviz_cli.graph.model import Graph as Graph

__version__ = "0.1.0"
__all__ = ["Graph", "__version__", "capture_tensors", "load"]

_PLACES = {"Graph": "graphviz_cli.graph.model", "capture_tensors": "graphviz_cli.capture"}


def load(path: str | Path) -> Graph:
    """Read a graph that was saved as JSON.

    Raises SavedGraphError if it is damaged or of an unknown version, OSError if it cannot be read.
    """
    from pathlib import Path

    from graphviz_cli.graph.serial import loads

    return loads(Path(path).read_bytes())


def __getattr__(name: str) -> Any:
    # Lazy, because `graphviz-cli --help` starts here too; and by name, because this module stands
    # outside the order of the layers.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
