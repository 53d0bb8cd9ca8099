"""Only a part of the graph, with what it is connected to."""

from __future__ import annotations

import difflib
from array import array
from dataclasses import dataclass, replace

from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import NONE, Annotation, Graph
from graphviz_cli.graph.operations import induced_subgraph
from graphviz_cli.graph.pruning import pruned
from graphviz_cli.transforms.contraction import contracted
from graphviz_cli.transforms.paths import matching_calls

_MOST_SUGGESTED = 3
_MOST_SEARCHED = 2000


@dataclass(frozen=True, slots=True)
class Focus:
    """Show only some module calls, and what they are connected to.

    `module` is a pattern for their paths: `*` and `?` as in file names, `2..5` for numbers,
    alternatives separated by `|`. What lies around them is there as far as it is directly connected
    to them: other calls as one box each, ops and leaves as they are. The annotation `border` marks
    it. The calls that match become the outermost ones, so a depth counts from them.
    """

    module: str

    def apply(self, graph: Graph) -> Graph:
        """The part of the graph that matches, with its border.

        Raises UsageError if no call matches, or none of those that do has an op or a leaf in it.
        """
        if not matching_calls(graph.modules, self.module):
            raise self._nothing(graph)
        graph = contracted(graph, _Part(graph, self.module).elsewhere)
        part = _Part(graph, self.module)
        modules = graph.nodes.modules
        inside = {n for n, module in enumerate(modules) if module != NONE and part.inside[module]}
        if not inside:
            raise UsageError(f"There is no backward op in {self.module!r}.")
        feeding, using = set(), set()
        for source, target in zip(graph.edges.sources, graph.edges.targets):
            if source in inside and target not in inside:
                feeding.add(target)
            elif target in inside and source not in inside:
                using.add(source)
        border: dict[int, float | int | str] = {}
        for node in sorted(feeding | using):
            ways = [(node in feeding, "feeds this part"), (node in using, "uses this part")]
            border[node] = " and ".join(way for holds, way in ways if holds)
        graph = graph.annotated(Annotation("border", border))
        graph = induced_subgraph(_uprooted(graph, part.around), inside | feeding | using)
        provenance = graph.provenance
        title = f"{provenance.title or provenance.target} {self.module}".strip()
        return pruned(replace(graph, provenance=replace(provenance, title=title)))

    def _nothing(self, graph: Graph) -> UsageError:
        """That nothing matches, and what was perhaps meant."""
        paths = [*dict.fromkeys(call.path for call in graph.modules if call.path)]
        close = difflib.get_close_matches(self.module, paths[:_MOST_SEARCHED], _MOST_SUGGESTED)
        hint = None
        if close:
            hint = f"Did you mean {' or '.join(map(repr, close))}?"
        elif paths:
            listed = ", ".join(paths[:_MOST_SUGGESTED])
            hint = f"Its modules: {listed}{', ...' if len(paths) > _MOST_SUGGESTED else '.'}"
        return UsageError(f"No module matches {self.module!r}.", hint=hint)


class _Part:
    """Which calls of a graph match a pattern, and how the others lie to them."""

    def __init__(self, graph: Graph, pattern: str) -> None:
        parents = [NONE if call.parent is None else call.parent for call in graph.modules]
        matching = matching_calls(graph.modules, pattern)
        self.around: set[int] = set()
        """The calls around those that match, unless they match themselves."""
        self.inside = bytearray(len(parents))
        """The calls that match, and those within them."""
        self.elsewhere: list[int] = []
        """The outermost of all other calls."""
        for call in range(len(parents)):
            outer = call
            while outer != NONE and outer not in matching:
                outer = parents[outer]
            self.inside[call] = outer != NONE
        for call in matching:
            outer = parents[call]
            while outer != NONE and not self.inside[outer]:
                self.around.add(outer)
                outer = parents[outer]
        for call, parent in enumerate(parents):
            is_apart = not self.inside[call] and call not in self.around
            if is_apart and (parent == NONE or parent in self.around):
                self.elsewhere.append(call)


def _uprooted(graph: Graph, around: set[int]) -> Graph:
    """Without some of the outermost calls: what is directly in them is in none."""
    nodes = graph.nodes
    modules = array("i", [NONE if module in around else module for module in nodes.modules])
    calls = (
        replace(call, parent=None) if call.parent in around else call for call in graph.modules
    )
    return replace(graph, nodes=replace(nodes, modules=modules), modules=tuple(calls))
