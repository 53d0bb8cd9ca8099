"""Small hand-built graphs, and a strategy for random valid ones with hostile names."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from graphviz_cli.graph.model import (
    Annotation,
    Combine,
    Edge,
    EdgeTable,
    Graph,
    ModuleCall,
    Node,
    NodeKind,
    NodeTable,
    Operator,
    Provenance,
    Role,
    Root,
    SavedState,
    SavedTensor,
    SourceLocation,
    Storage,
    TensorSpec,
)

ADDMM = Operator(
    schema="addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1) -> Tensor",
    inputs=("self", "mat1", "mat2"),
    outputs=("result",),
    formulas=(
        "maybe_multiply(grad, beta.conj())",
        "mm_mat1_backward(grad, mat2, mat1.sym_sizes(), mat1.sym_strides(), mat1.layout(), 1)",
        "mm_mat2_backward(grad, mat1, mat2.sym_sizes(), mat2.sym_strides(), mat2.layout(), 1)",
    ),
)


def spec(*shape: int | str, dtype: str = "float32", device: str = "cpu") -> TensorSpec:
    return TensorSpec(shape, dtype, device)


@dataclass
class Builder:
    """Builds a graph in the order of the forward pass; `build` numbers it as a capture would."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    modules: list[ModuleCall] = field(default_factory=list)
    storages: list[Storage] = field(default_factory=list)
    ops: int = 0

    def module(self, path: str, type: str, parent: int | None = None, *, repeats: int = 1) -> int:
        nth = sum(call.path == path for call in self.modules)
        self.modules.append(ModuleCall(path, type, parent, nth, repeats))
        return len(self.modules) - 1

    def leaf(
        self,
        name: str | tuple[str, ...],
        *shape: int | str,
        role: Role | None = Role.PARAMETER,
        module: int | None = None,
        kind: NodeKind = NodeKind.LEAF,
    ) -> int:
        output = spec(*shape)
        node = Node(
            len(self.nodes),
            kind,
            "AccumulateGrad" if kind is NodeKind.LEAF else "",
            (name,) if isinstance(name, str) else name,
            role,
            (output,),
            module,
            size=0,
            parameters=(output.numel or 0) if role is Role.PARAMETER else 0,
        )
        self.nodes.append(node)
        return node.id

    def constant(
        self, name: str, *shape: int | str, role: Role | None = None, module: int | None = None
    ) -> int:
        return self.leaf(name, *shape, role=role, module=module, kind=NodeKind.CONSTANT)

    def op(
        self,
        name: str,
        shape: Sequence[int | str] | Sequence[TensorSpec],
        *inputs: int | tuple[int, int] | None,
        module: int | None = None,
        **facts: Any,
    ) -> int:
        """An op whose inputs are nodes, (node, output_nr) pairs, or None for one without gradient.

        `saves` gives names and shapes of saved tensors; other facts are fields of Node.
        """
        saves: dict[str, Sequence[int]] = facts.pop("saves", {})
        saved = []
        for saved_name, saved_shape in saves.items():
            saved_spec = spec(*saved_shape)
            self.storages.append(Storage(saved_spec.nbytes or 0, True))
            saved.append(
                SavedTensor(saved_name, saved_spec, len(self.storages) - 1, SavedState.HELD)
            )
        given = tuple(output for output in shape if isinstance(output, TensorSpec))
        sizes = [size for size in shape if not isinstance(size, TensorSpec)]
        node = Node(
            len(self.nodes),
            facts.pop("kind", NodeKind.FUNCTION),
            name,
            outputs=given or (spec(*sizes),),
            module=module,
            sequence_nr=self.ops,
            saved=tuple(saved),
            **facts,
        )
        self.ops += 1
        self.nodes.append(node)
        for input_nr, source in enumerate(inputs):
            if source is not None:
                target, output_nr = source if isinstance(source, tuple) else (source, 0)
                self.edges.append(Edge(node.id, target, input_nr, output_nr))
        return node.id

    def cut(self, what: str, tensor: int | None, module: int | None = None, **facts: Any) -> int:
        """A place where the gradient is lost: `what` is `detach`, `no_grad`, ..."""
        inputs = () if tensor is None else (tensor,)
        shape = () if tensor is None else self.nodes[tensor].outputs
        cut = self.op(what, shape, *inputs, module=module, kind=NodeKind.CUT, size=0, **facts)
        self.nodes[cut] = replace(self.nodes[cut], sequence_nr=None)
        self.ops -= 1
        return cut

    def repeat(self, repeats: int) -> None:
        """Let every node made so far inside a module stand for `repeats` equal ones."""
        for node in [node for node in self.nodes if node.module is not None]:
            saved = []
            for number in range(repeats):
                for tensor in node.saved:
                    place = tensor.storage
                    if number and place is not None:
                        self.storages.append(self.storages[place])
                        place = len(self.storages) - 1
                    saved.append(replace(tensor, storage=place))
            self.nodes[node.id] = replace(
                node,
                size=node.size * repeats,
                parameters=node.parameters * repeats,
                saved=tuple(saved),
            )

    def build(self, *roots: int, title: str = "", names: Sequence[str] = ("loss",)) -> Graph:
        """The graph of everything that the roots reach, and of leaves that no edge touches."""
        successors: list[list[Edge]] = [[] for _ in self.nodes]
        for edge in self.edges:
            successors[edge.source].append(edge)
        order: dict[int, int] = {}
        queue = deque(roots)
        while queue:
            node = queue.popleft()
            if node not in order:
                order[node] = len(order)
                queue.extend(edge.target for edge in successors[node])
        touched = {node for edge in self.edges for node in (edge.source, edge.target)}
        alone = (
            node for node in self.nodes if node.size == 0 and node.id not in touched | set(order)
        )
        for node in sorted(alone, key=lambda node: node.names):
            order[node.id] = len(order)
        ranks = sorted(nr for node in order if (nr := self.nodes[node].sequence_nr) is not None)
        rank = {nr: k for k, nr in enumerate(ranks)}
        storages: dict[int, int] = {}
        nodes = []
        for old, new in order.items():
            node = self.nodes[old]
            saved = tuple(
                replace(tensor, storage=storages.setdefault(tensor.storage, len(storages)))
                for tensor in node.saved
                if tensor.storage is not None
            )
            nr = None if node.sequence_nr is None else rank[node.sequence_nr]
            nodes.append(replace(node, id=new, sequence_nr=nr, saved=saved))
        edges = [
            replace(edge, source=order[edge.source], target=order[edge.target])
            for old in order
            for edge in successors[old]
        ]
        return Graph(
            nodes=NodeTable.of(nodes),
            edges=EdgeTable.of(edges),
            roots=tuple(
                Root(names[k] if k < len(names) else f"output.{k}", order[root])
                for k, root in enumerate(roots)
            ),
            modules=tuple(self.modules),
            storages=tuple(self.storages[old] for old in storages),
            provenance=Provenance(target="model.py", title=title, torch="2.13.0", device="cpu"),
        )


def linear(b: Builder, path: str, x: int, sizes: tuple[int, int, int], parent: int | None) -> int:
    """`nn.Linear` on a batch: sizes are batch, features in, features out."""
    batch, features_in, features_out = sizes
    call = b.module(path, "Linear", parent)
    weight = b.leaf(f"{path}.weight", features_out, features_in, module=call)
    bias = b.leaf(f"{path}.bias", features_out, module=call)
    transposed = b.op("TBackward0", (features_in, features_out), weight, module=call)
    return b.op(
        "AddmmBackward0",
        (batch, features_out),
        bias,
        x,
        transposed,
        module=call,
        saves={"mat1": (batch, features_in), "mat2": (features_in, features_out)},
        source=SourceLocation("model.py", 12, 9, 12, 30, "forward", f"self.{path}(x)"),
    )


def mlp() -> Graph:
    """Two linear layers, a ReLU between them, and a loss outside the model; x is a leaf."""
    b = Builder()
    top = b.module("", "MLP")
    x = b.leaf("x", 64, 784, role=Role.INPUT)
    h = linear(b, "fc1", x, (64, 784, 256), top)
    act = b.module("act", "ReLU", top)
    h = b.op("ReluBackward0", (64, 256), h, module=act, saves={"result": (64, 256)}, names=("h",))
    h = linear(b, "head", h, (64, 256, 10), top)
    h = b.op("LogSoftmaxBackward0", (64, 10), h, saves={"result": (64, 10)})
    loss = b.op(
        "NllLossBackward0",
        (),
        h,
        names=("loss",),
        saves={"self": (64, 10), "target": (64,)},
        source=SourceLocation("train.py", 30, 8, 30, 40, "", "F.cross_entropy(model(x), y)"),
    )
    return replace(b.build(loss, title="MLP"), operators={"AddmmBackward0": ADDMM})


def transformer_block(*, repeats: int = 1) -> Graph:
    """A pre-norm transformer block with two residuals; as one that stands for `repeats` of them."""
    b = Builder()
    top = b.module("", "Transformer")
    path = "h.0" if repeats == 1 else f"h.0..{repeats - 1}"
    block = b.module(path, "Block", top, repeats=repeats)
    x = b.leaf("x", 4, 8, 16, role=Role.INPUT)

    def norm(name: str, h: int) -> int:
        call = b.module(f"{path}.{name}", "LayerNorm", block)
        weight = b.leaf(f"{path}.{name}.weight", 16, module=call)
        bias = b.leaf(f"{path}.{name}.bias", 16, module=call)
        return b.op(
            "NativeLayerNormBackward0",
            (4, 8, 16),
            h,
            weight,
            bias,
            module=call,
            saves={"input": (4, 8, 16), "result1": (4, 8, 1), "result2": (4, 8, 1)},
        )

    attention = b.module(f"{path}.attn", "Attention", block)
    h = norm("ln1", x)
    qkv = linear(b, f"{path}.attn.qkv", h, (32, 16, 48), attention)
    split = b.op("SplitBackward0", [spec(4, 8, 16)] * 3, qkv, module=attention)
    k = b.op("TransposeBackward0", (4, 16, 8), (split, 1), module=attention)
    scores = b.op(
        "BmmBackward0", (4, 8, 8), (split, 0), k, module=attention, saves={"self": (4, 8, 16)}
    )
    scores = b.op("DivBackward0", (4, 8, 8), scores, module=attention)
    scores = b.op(
        "MaskedFillBackward0", (4, 8, 8), scores, module=attention, saves={"mask": (8, 2)}
    )
    weights = b.op(
        "SoftmaxBackward0", (4, 8, 8), scores, module=attention, saves={"result": (4, 8, 8)}
    )
    mixed = b.op(
        "BmmBackward0",
        (4, 8, 16),
        weights,
        (split, 2),
        module=attention,
        saves={"self": (4, 8, 8), "mat2": (4, 8, 16)},
    )
    projected = linear(b, f"{path}.attn.proj", mixed, (32, 16, 16), attention)
    x1 = b.op("AddBackward0", (4, 8, 16), x, projected, module=block, names=("x",))
    feed_forward = b.module(f"{path}.mlp", "MLP", block)
    h = linear(b, f"{path}.mlp.fc1", norm("ln2", x1), (32, 16, 64), feed_forward)
    h = b.op("GeluBackward0", (4, 8, 64), h, module=feed_forward, saves={"self": (4, 8, 64)})
    h = linear(b, f"{path}.mlp.fc2", h, (32, 64, 16), feed_forward)
    x2 = b.op("AddBackward0", (4, 8, 16), x1, h, module=block, names=("x",))
    b.repeat(repeats)
    loss = b.op("MeanBackward0", (), x2, names=("loss",))
    return b.build(loss, title="Transformer")


def tied() -> Graph:
    """An embedding whose weight is also that of the output layer, under two names."""
    b = Builder()
    top = b.module("", "LanguageModel")
    embedding = b.module("wte", "Embedding", top)
    weight = b.leaf(("wte.weight", "lm_head.weight"), 50257, 768, module=embedding)
    h = b.op("EmbeddingBackward0", (64, 768), weight, module=embedding)
    h = b.op("ReluBackward0", (64, 768), h, module=top, saves={"result": (64, 768)})
    head = b.module("lm_head", "Linear", top)
    logits = b.op("MmBackward0", (64, 50257), h, weight, module=head, saves={"self": (64, 768)})
    return b.build(b.op("SumBackward0", (), logits, names=("loss",)), title="LanguageModel")


def unrolled(steps: int = 8) -> Graph:
    """A recurrent cell over `steps` steps: every step uses the same three parameters."""
    b = Builder()
    top = b.module("", "RNN")
    w_input = b.leaf("weight_ih", 32, 16, module=top)
    w_hidden = b.leaf("weight_hh", 32, 32, module=top)
    bias = b.leaf("bias", 32, module=top)
    h: int | None = None
    for _ in range(steps):
        new = b.op("MmBackward0", (4, 32), None, w_input, module=top, saves={"self": (4, 16)})
        if h is not None:
            h = b.op("MmBackward0", (4, 32), h, w_hidden, module=top, saves={"self": (4, 32)})
            new = b.op("AddBackward0", (4, 32), new, h, module=top)
        new = b.op("AddBackward0", (4, 32), new, bias, module=top)
        h = b.op("TanhBackward0", (4, 32), new, module=top, saves={"result": (4, 32)})
    return b.build(b.op("MeanBackward0", (), h, names=("loss",)), title="RNN")


def cut() -> Graph:
    """y is detached on its way to the second term of the loss."""
    b = Builder()
    w = b.leaf("w", 4, 4)
    y = b.op("MulBackward0", (4, 4), w, names=("y",), saves={"other": (4, 4)})
    detached = b.cut(
        "detach", y, source=SourceLocation("cut.py", 5, 5, 5, 15, "loss_of", "y.detach()")
    )
    difference = b.op("SubBackward0", (4, 4), y, detached)
    loss = b.op("PowBackward0", (4, 4), difference, saves={"self": (4, 4)})
    loss = b.op("MeanBackward0", (), loss, names=("loss",))
    return b.build(loss, title="cut.py")


def unreached() -> Graph:
    """A head that takes no part, a frozen layer, and a buffer."""
    b = Builder()
    top = b.module("", "Model")
    used = b.module("fc", "Linear", top)
    weight = b.leaf("fc.weight", 8, 8, module=used)
    y = b.op("MmBackward0", (2, 8), None, weight, module=used, saves={"self": (2, 8)})
    unused = b.module("head", "Linear", top)
    b.leaf("head.weight", 8, 4, module=unused)
    b.leaf("head.bias", 4, module=unused)
    b.constant("stem.weight", 3, 8, role=Role.PARAMETER, module=top)
    scale = b.constant("scale", 8, role=Role.BUFFER, module=top)
    y = b.op("MulBackward0", (2, 8), y, scale, module=top, saves={"other": (8,)})
    return b.build(b.op("SumBackward0", (), y, names=("loss",)), title="Model")


def square() -> Graph:
    """x * x: two edges between the same two nodes."""
    b = Builder()
    x = b.leaf("x", 3, role=Role.INPUT)
    y = b.op("ExpBackward0", (3,), x, saves={"result": (3,)})
    y = b.op("MulBackward0", (3,), y, y, saves={"self": (3,), "other": (3,)})
    return b.build(b.op("SumBackward0", (), y, names=("loss",)), title="square.py")


def folded() -> Graph:
    """What folding makes of a model whose module A calls B and goes on: A -> B -> A is a cycle."""
    b = Builder()
    top = b.module("", "Outer")
    first, second = b.module("a", "A", top), b.module("b", "B", top)
    x = b.leaf("x", 2, 16, role=Role.INPUT)
    module = NodeKind.MODULE
    inner = b.op(
        "B",
        (2, 16),
        module=second,
        kind=module,
        names=("b",),
        size=5,
        parameters=1234567,
        saves={"self": (2, 16)},
    )
    outer = b.op(
        "A", (2, 16), inner, x, module=first, kind=module, names=("a",), size=12, parameters=80
    )
    b.edges.append(Edge(inner, outer))
    loss = b.op("MeanBackward0", (), outer, names=("loss",))
    nodes = [replace(n, sequence_nr=None) if n.kind is module else n for n in b.nodes]
    b.nodes = nodes
    return b.build(loss, title="Outer")


def views() -> Graph:
    """What hiding leaves of x.view(...).t() @ w: the op carries the annotation `views`."""
    b = Builder()
    w = b.leaf("w", 4, 4)
    h = b.op("MulBackward0", (4, 4), w, size=3, saves={"other": (4, 4)})
    y = b.op("MmBackward0", (2, 4), h)
    graph = b.build(b.op("SumBackward0", (), y, names=("loss",)), title="views.py")
    producer = next(node.id for node in graph.nodes if node.size == 3)
    return graph.annotated(Annotation("views", {producer: 2}, combine=Combine.SUM))


def chain(length: int) -> Graph:
    """`length` ops in a row, made without the builder: it may be a million."""
    from array import array

    from graphviz_cli.graph.model import NONE, Column, SavedTable

    total = length + 1
    vector = (spec(8),)
    nodes = NodeTable(
        kinds=Column((NodeKind.FUNCTION, NodeKind.LEAF), array("i", [0] * length + [1])),
        names=Column(("SinBackward0", "AccumulateGrad"), array("i", [0] * length + [1])),
        user_names=Column(((), ("x",)), array("i", [0] * length + [1])),
        roles=Column((None, Role.INPUT), array("i", [0] * length + [1])),
        outputs=Column((vector,), array("i", [0]) * total),
        modules=array("i", [NONE]) * total,
        sources=Column((None,), array("i", [0]) * total),
        sequence_nrs=array("i", [*range(length - 1, -1, -1), NONE]),
        saved=SavedTable(
            array("i", [0]) * (total + 1),
            Column((), array("i")),
            Column((), array("i")),
            array("i"),
            Column((), array("i")),
        ),
        sizes=array("i", [1] * length + [0]),
        parameters=array("q", [0]) * total,
    )
    edges = EdgeTable(
        array("i", range(length)),
        array("i", range(1, total)),
        array("i", [0]) * length,
        array("i", [0]) * length,
    )
    return Graph(nodes, edges, (Root("loss", 0),), provenance=Provenance(title="chain.py"))


def hostile() -> Graph:
    """Every name holds something that a writer of text formats could trip over."""
    b = Builder()
    names = [*HOSTILE_NAMES]
    top = b.module('a"b', "<Class & Co>")
    x = b.leaf(names[0], 2, role=Role.INPUT, module=top)
    for name in names[1:]:
        parameter = b.leaf(name, 2, module=top)
        x = b.op(f"{name}Backward0", (2,), x, parameter, module=top, names=(name,))
    return b.build(x, title='t"<&>\n\\N', names=(names[1],))


HOSTILE_NAMES = (
    'say "hi"', "<b>bold</b>", "a&b &amp; &lt;", "\\n\\l\\r\\G\\N\\E\\T\\H\\L", "two\nlines",
    "tab\tbell\x07", "end\\", "]]>", "a[0]", "-->", "</script>", "%% comment", "#quot;",
    ";{}[]()|`'",
    "naïve 変数 😀 \u202ertl", " leading and trailing ", "x" * 300, "end", "graph", "", "class",
)  # fmt: skip

hostile_text = st.one_of(
    st.sampled_from(HOSTILE_NAMES),
    st.text(
        alphabet=st.sampled_from(list("ab.0\"'<>&\\nlrGNETHL\n\t {}[]()|;#%é変😀")), max_size=12
    ),
    st.text(max_size=12),
)

specs = st.builds(
    TensorSpec,
    st.none() | st.lists(st.integers(0, 5000) | st.just("j1"), max_size=4).map(tuple),
    st.sampled_from(["float32", "bfloat16", "int64", "bool", "complex64", "quint4x2"]),
    st.sampled_from(["cpu", "cuda:0", "meta"]),
)

_NAMES = st.sampled_from(
    ["AddBackward0", "AddmmBackward0", "ViewBackward0", "TBackward0", "MyFunctionBackward"]
)

_SOURCES = st.none() | st.builds(
    SourceLocation,
    hostile_text,
    st.integers(1, 9999),
    st.none() | st.integers(1, 99),
    function=hostile_text,
    text=hostile_text,
)


@st.composite
def graphs(draw: st.DrawFn, max_ops: int = 12) -> Graph:
    """A valid graph as a capture would make it, of at least one op."""
    b = Builder()
    for k in range(draw(st.integers(0, 5))):
        b.module(
            draw(hostile_text),
            draw(hostile_text),
            draw(st.none() | st.integers(0, k - 1)) if k else None,
        )
    b.modules = [
        replace(call, nth=sum(c.path == call.path for c in b.modules[:k]))
        for k, call in enumerate(b.modules)
    ]
    module = st.none() | st.integers(0, len(b.modules) - 1) if b.modules else st.none()

    for _ in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from([*Role, None]))
        kind = draw(st.sampled_from([NodeKind.LEAF, NodeKind.LEAF, NodeKind.CONSTANT]))
        node = b.leaf("", role=role, module=draw(module), kind=kind)
        output = draw(specs)
        b.nodes[node] = replace(
            b.nodes[node],
            names=tuple(draw(st.lists(hostile_text, max_size=2))),
            outputs=(output,),
            parameters=(output.numel or 0) if role is Role.PARAMETER else 0,
        )
    for _ in range(draw(st.integers(1, max_ops))):
        known = st.integers(0, len(b.nodes) - 1)
        # Mostly what came just before, so that most ops are reached from the last one.
        recent = st.just(len(b.nodes) - 1)
        inputs = draw(st.lists(st.none() | known | recent, min_size=1, max_size=3))
        if draw(st.integers(0, 9)) == 0:
            b.cut(draw(hostile_text), draw(known), draw(module), source=draw(_SOURCES))
            continue
        saves = draw(st.lists(specs, max_size=2))
        first = len(b.storages)
        b.storages.extend(Storage(s.nbytes or 0, draw(st.booleans())) for s in saves)
        op = b.op(
            draw(_NAMES | hostile_text),
            draw(st.lists(specs, min_size=1, max_size=3)),
            *inputs,
            module=draw(module),
            names=tuple(draw(st.lists(hostile_text, max_size=2))),
            source=draw(_SOURCES),
        )
        saved = tuple(
            SavedTensor(draw(hostile_text), s, first + i, draw(st.sampled_from(SavedState)))
            for i, s in enumerate(saves)
        )
        b.nodes[op] = replace(b.nodes[op], saved=saved)
    root = max((n.id for n in b.nodes if n.kind is NodeKind.FUNCTION), default=None)
    if root is None:
        root = b.op("AddBackward0", (2,), 0)
    return b.build(root, title=draw(hostile_text), names=(draw(hostile_text),))
