"""What the kinds of cuts are called in a sentence, and what to do about each."""

from __future__ import annotations

from dataclasses import dataclass

from graphviz_cli.graph.model import Node


@dataclass(frozen=True, slots=True)
class CutWords:
    """How to speak of a kind of cut."""

    place: str
    """Follows "the gradient is lost"."""
    cure: str
    """What to do if the gradient is wanted."""
    is_deliberate: bool = False
    """A program says it in order to lose the gradient."""
    escape: str = ""
    """The call by which the value leaves torch, so that nothing can be seen of it any more."""


def cut_words(cut: Node) -> CutWords:
    """The words for a CUT node, by its name."""
    return _WORDS.get(cut.name) or CutWords(
        f"in {cut.name}", "Use an op that autograd can differentiate."
    )


def _escape(call: str) -> CutWords:
    return CutWords(
        f"in {call}, which hands the value to Python",
        "Go on with the tensor itself, and convert only what is logged.",
        escape=call,
    )


_NO_GRAD = "Move the computation out of the block without gradients if the gradient is wanted."

_WORDS = {
    "detach": CutWords(
        "at detach()",
        "Drop detach() if the gradient is wanted; freeze the parameters if it is not.",
        is_deliberate=True,
    ),
    "no_grad": CutWords("under torch.no_grad()", _NO_GRAD, is_deliberate=True),
    "inference_mode": CutWords("under torch.inference_mode()", _NO_GRAD, is_deliberate=True),
    "set_grad_enabled": CutWords(
        "under torch.set_grad_enabled(False)", _NO_GRAD, is_deliberate=True
    ),
    ".data": CutWords("at .data", "Use the tensor itself: .data hides what follows from autograd."),
    "torch.tensor": CutWords(
        "in torch.tensor(), which copies the value without its history",
        "Use the tensor itself; join several with torch.stack().",
    ),
    "new leaf": CutWords(
        "where a new leaf is made of the value",
        "Keep the computed tensor: a Parameter made of it starts anew.",
    ),
    "copy_": CutWords(
        "in copy_() without gradients", "Assign the tensor itself instead of copying its value."
    ),
    "deepcopy": CutWords("in copy.deepcopy()", "Use the tensor itself, or clone() it."),
    "mark_non_differentiable": CutWords(
        "at an output that a custom Function marks as non-differentiable",
        "Return the gradient of that output in backward(), and do not mark it.",
    ),
    "once_differentiable": CutWords(
        "in a backward() that is @once_differentiable",
        "Drop @once_differentiable, and write the backward() in differentiable ops.",
    ),
    "integer output": CutWords(
        "where the result is an integer or a truth value",
        "Use a soft form: softmax for argmax, sigmoid for a comparison, no .long().",
    ),
    "non-differentiable": CutWords(
        "in an op without a derivative", "Use an op that has one, or a straight-through estimator."
    ),
    "CheckpointFunction": CutWords(
        "in a reentrant checkpoint none of whose inputs requires a gradient",
        "Call checkpoint(..., use_reentrant=False), or let an input require a gradient.",
    ),
    "item": _escape(".item()"),
    "tolist": _escape(".tolist()"),
    "numpy": _escape("numpy"),
    "float()": _escape("float()"),
    "int()": _escape("int()"),
    "bool()": _escape("bool()"),
    "complex()": _escape("complex()"),
    "dlpack": _escape("DLPack"),
}
