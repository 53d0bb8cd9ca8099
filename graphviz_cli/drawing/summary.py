"""What a graph is, in one line: the title of a picture and the first line of a tree."""

from __future__ import annotations

from dataclasses import dataclass

from graphviz_cli.drawing.format import bytes_text, count_text, counted, shortened, visible
from graphviz_cli.graph.model import NONE, Graph, NodeKind, held_bytes

_VECTOR = 60
_MOST_VECTORS = 3


@dataclass(frozen=True, slots=True)
class Summary:
    """A graph in numbers; those of a folded graph tell what was captured."""

    title: str
    nodes: int
    edges: int
    ops: int
    """Backward ops that were captured, also those that cannot be seen any more."""
    parameters: int
    """Elements of all parameters."""
    held: int
    """Bytes that only the graph keeps alive."""
    folded_ops: int
    """Backward ops inside folded modules."""
    folded_modules: int
    hidden_views: int
    """View ops hidden in the op whose output they view, those in folded modules not counted."""
    cuts: int
    """Cuts of which several are drawn as one."""
    drawn_cuts: int
    blocks: int
    """Equal blocks that are drawn once for several of them."""
    drawn_blocks: int
    vectors: tuple[str, ...]
    """What the backward pass started from, for each root."""
    marks: tuple[str, ...]
    """What must be known to read the numbers rightly, a sentence each."""

    def facts(self) -> tuple[str, ...]:
        """What follows the title, one fact each."""
        size = f"{counted(self.nodes, 'node')}, {counted(self.edges, 'edge')}"
        if self.folded_ops or self.hidden_views or self.cuts or self.blocks:
            size = f"{counted(self.ops, 'backward op')}, drawn as {counted(self.nodes, 'node')}"
        facts = [size]
        if self.parameters:
            facts.append(f"{count_text(self.parameters)} params")
        if self.held:
            facts.append(f"{bytes_text(self.held)} saved for backward")
        return (*facts, *(f"backward from {vector}" for vector in self.vectors))

    def hidden(self) -> tuple[str, ...]:
        """What cannot be seen, and the option that shows it."""
        hidden = []
        if self.folded_ops:
            modules = counted(self.folded_modules, "module")
            hidden.append(f"{counted(self.folded_ops, 'op')} folded into {modules} (--depth all)")
        if self.hidden_views:
            hidden.append(f"{counted(self.hidden_views, 'view op')} hidden (--show views)")
        if self.cuts:
            hidden.append(f"{self.cuts:,} cuts drawn as {self.drawn_cuts:,} (--no-repeats)")
        if self.blocks:
            once = f"{self.blocks:,} equal blocks drawn as {self.drawn_blocks:,}"
            hidden.append(f"{once} (--no-repeats)")
        return tuple(hidden)


def summarise(graph: Graph) -> Summary:
    """Count a graph, in one pass over its columns."""
    nodes, provenance = graph.nodes, graph.provenance
    folded = nodes.ids(NodeKind.MODULE)
    views = _counts(graph, "views", NodeKind.FUNCTION)
    cuts = _counts(graph, "cuts", NodeKind.CUT)
    repeats = [graph.modules[call].repeats for call in _calls(graph)]
    marks = []
    if provenance.estimated:
        marks.append("estimated: captured with tensors that hold no data")
    if provenance.partial:
        marks.append("partial: the target failed before it was done")
    return Summary(
        title=visible(provenance.title or provenance.target),
        nodes=len(nodes),
        edges=len(graph.edges),
        ops=sum(nodes.sizes),
        parameters=sum(nodes.parameters),
        held=held_bytes(graph),
        folded_ops=sum(nodes.sizes[node] for node in folded),
        folded_modules=len(folded),
        hidden_views=sum(views),
        cuts=sum(cuts),
        drawn_cuts=len(cuts),
        blocks=sum(count for count in repeats if count > 1),
        drawn_blocks=sum(count > 1 for count in repeats),
        vectors=_shown(provenance.vectors),
        marks=tuple(marks),
    )


def _counts(graph: Graph, name: str, kind: NodeKind) -> list[int]:
    """The values of an annotation that counts what was merged, at the nodes of a kind."""
    known, kinds = graph.annotations.get(name), graph.nodes.kinds
    values = {} if known is None else known.values
    return [
        count for node, count in values.items() if isinstance(count, int) and kinds[node] is kind
    ]


def _shown(vectors: tuple[str, ...]) -> tuple[str, ...]:
    """As many as there is room for in a line."""
    texts = [shortened(visible(vector), _VECTOR) for vector in vectors[:_MOST_VECTORS]]
    rest = len(vectors) - len(texts)
    return (*texts, f"{counted(rest, 'more root')}") if rest else tuple(texts)


def _calls(graph: Graph) -> list[int]:
    """The module calls that can still be seen: those with a node, and those around them."""
    seen = set()
    for call in dict.fromkeys(graph.nodes.modules):
        outer: int | None = None if call == NONE else call
        while outer is not None and outer not in seen:
            seen.add(outer)
            outer = graph.modules[outer].parent
    return sorted(seen)
