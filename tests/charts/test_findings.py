"""What is told of a run is what its numbers show, and no more."""

from __future__ import annotations

import math
from dataclasses import replace

from graphviz_cli.charts.findings import findings
from graphviz_cli.charts.panels import curves
from graphviz_cli.charts.turns import changed_at
from graphviz_cli.graph.finding import Finding, Severity
from graphviz_cli.graph.history import History
from tests.charts.histories import Run, adversarial, blowing_up, losses, training


def about(history: History, check: str) -> list[Finding]:
    return [finding for finding in findings(history) if finding.check == check]


def told(history: History, check: str) -> str:
    (finding,) = about(history, check)
    return finding.message


def test_one_graph_is_told_in_one_sentence() -> None:
    assert told(losses(*range(1000)), "graph") == "1,000 steps had one graph (3 ops, 4 edges)."


def test_a_change_is_told_with_its_step_and_its_difference() -> None:
    first, second = about(training(), "graph")
    assert first.message.startswith("step 17: the graph changed (from 23 ops, 24 edges to 25 and")
    assert first.hint == "+ Tanh (net.py:12)\n+ Mul (net.py:13)"
    assert second.message.startswith("step 601: the graph changed back to that of step 1 ")


def test_a_change_between_measured_steps_is_not_pinned_to_one() -> None:
    run = Run(every=10)
    run.structure(3)
    run.structure(5)
    for k in range(8):
        run.step(structure=int(k >= 4))
    assert told(run.build(), "graph").startswith("between step 31 and step 41: the graph changed")


def test_two_losses_that_take_turns_change_nothing() -> None:
    messages = [finding.message for finding in about(adversarial(), "graph")]
    assert messages == [
        "100 steps from errD had one graph (40 ops, 41 edges).",
        "100 steps from errG had one graph (60 ops, 61 edges).",
    ]


def test_a_smaller_last_batch_is_no_change_of_the_graph() -> None:
    run = Run()
    run.structure(6)
    run.structure(6, difference=["~ shapes differ in 9 nodes: 16×… became 4×…"], form=0)
    for k in range(35):
        run.step(structure=int(k % 7 == 6))
    graph, shapes = about(run.build(), "graph")
    assert graph.message == "35 steps had one graph (6 ops, 7 edges)."
    assert shapes.message.startswith(
        "The same graph had other shapes in 5 of 35 steps, at first in"
    )
    assert "step 7. Batches" in shapes.message
    assert shapes.hint == "~ shapes differ in 9 nodes: 16×… became 4×…"
    assert changed_at(run.build()) == []


def test_a_change_among_steps_of_all_shapes_is_told_as_the_only_one() -> None:
    run = Run()
    for k in range(40):
        frozen = k >= 20
        difference = ["- w gets no gradient any more"] if k == 20 else ["~ shapes"]
        run.step(structure=run.structure(6 - frozen, difference=difference, form=int(frozen)))
    change, shapes = about(run.build(), "graph")
    assert change.message.startswith("step 21: the graph changed (from 6 ops, 7 edges to 5 and 6)")
    assert change.hint == "- w gets no gradient any more"
    assert "in 38 of 40 steps, at first in step 2." in shapes.message
    assert changed_at(run.build()) == [21]


def test_a_graph_that_comes_back_with_other_shapes_has_come_back() -> None:
    run = Run()
    for form in (0, 1, 0):
        run.structure(5 + form, form=form)
    for k in range(12):
        run.step(structure=k // 4)
    _, back, _ = about(run.build(), "graph")
    assert back.message == "step 9: the graph changed back to that of step 1 (5 ops, 6 edges)."


def test_a_difference_to_another_root_is_not_shown() -> None:
    run = Run()
    for ops in (3, 4, 5):
        run.structure(ops, difference=["+ Sin"])
    for k in range(8):
        run.step(structure=k % 2 if k != 4 else 2, root="ab"[k % 2])
    run.structures[2] = replace(run.structures[2], other=4)
    found = about(run.build(), "graph")
    assert any("step 5" in finding.message for finding in found)
    assert not any("Sin" in finding.hint for finding in found)


def test_graphs_that_never_repeat_are_one_finding() -> None:
    run = Run()
    for k in range(40):
        run.step(structure=run.structure(12 + (k * 7) % 46))
    text = told(run.build(), "graph")
    assert text.startswith("Each of 40 steps had a graph of its own: 12 to ")


def test_graphs_that_take_turns_are_one_finding() -> None:
    run = Run()
    run.structure(3)
    run.structure(5)
    for k in range(100):
        run.step(structure=k % 2)
    text = told(run.build(), "graph")
    assert text.startswith("100 steps had 2 graphs that took turns (99 changes): ")
    assert "3 ops, 4 edges in 50 steps" in text


def test_gradients_that_nothing_clears_are_a_warning() -> None:
    run = Run()
    run.structure(3, ["a", "b"])
    for k in range(10):
        run.step(kept=2 if k else 0)
    (finding,) = about(run.build(), "kept-gradient")
    assert finding.severity is Severity.WARNING
    assert "from step 2 on, in 9 of 10 steps, up to 2 leaves" in finding.message
    assert "zero_grad()" in finding.hint


def test_gradients_that_only_one_of_two_losses_meets_are_a_note() -> None:
    history = adversarial()
    steps = [replace(step, kept=2 * (step.root == "errG")) for step in history.steps]
    (finding,) = about(replace(history, steps=steps), "kept-gradient")
    assert finding.severity is Severity.NOTE
    assert "Only calls from errG met such gradients, none from errD." in finding.message


def test_the_first_nan_is_found_with_its_leaves() -> None:
    first = findings(blowing_up())[0]
    assert (first.check, first.severity) == ("non-finite", Severity.ERROR)
    assert first.message == (
        "step 57: the gradient norm became NaN while the loss was still 6.7: that of b and c "
        "(2 of 3 leaves). So it is in 44 of 100 steps, up to the last."
    )
    assert first.hint.startswith("graphviz-cli check train.py --step 57 -c non-finite names")
    again = findings(replace(blowing_up(), arguments=("--name", "a b")))[0]
    assert "--step 57 -c non-finite -- --name 'a b' names the op" in again.hint


def test_an_infinity_that_passes_is_a_warning() -> None:
    (finding,) = about(losses(1.0, math.inf, 1.0), "non-finite")
    assert finding.severity is Severity.WARNING
    assert finding.message == "step 2: the loss became infinite."


def test_clipping_is_told_with_its_medians() -> None:
    run = Run()
    run.structure(3)
    for k in range(10):
        norm = 4.0 if k < 7 else 0.5
        run.step(gradient=norm, clipped=min(norm, 1.0))
    expected = "Clipping cut the gradient norm in 7 of 10 steps: from 4 to 1 (medians)."
    assert told(run.build(), "clipping") == expected


def test_unscaled_gradients_are_not_called_clipped() -> None:
    run = Run()
    run.structure(3)
    for k in range(10):
        run.step(gradient=1024.0 * (k + 1), clipped=float(k + 1))
    assert told(run.build(), "clipping").startswith("Gradients were divided by 1.02e+03 before")


def test_norms_that_stay_are_not_clipped() -> None:
    run = Run()
    run.structure(3)
    run.step(gradient=1.0, clipped=1.0 - 1e-9)
    assert not about(run.build(), "clipping")


def test_leaves_without_gradient_and_with_zero_gradient_are_named() -> None:
    run = Run()
    run.structure(3, ["missing", "zero", "once", "well"])
    for k in range(3):
        run.step(norms=[None, 0.0, None if k else 1.0, 1.0])
    history = run.build()
    assert told(history, "missing-gradient").startswith("missing never got a gradient")
    assert told(history, "zero-gradient") == "The gradient of zero was exactly zero in all 3 steps."


def test_calls_whose_gradients_cannot_be_told_accuse_no_leaf() -> None:
    run = Run()
    run.structure(3, ["a"])
    run.step(norms=[None], gradient=None)
    assert not about(run.build(), "missing-gradient")


def test_steps_that_leave_no_gradient_are_told_with_the_reason() -> None:
    run = Run()
    run.structure(3)
    for k in range(4):
        run.step(root="ab"[k % 2], **({"norms": [None], "gradient": None} if k % 2 else {}))
    assert told(run.build(), "no-gradient").startswith("No step from b left a gradient in .grad")
    assert not about(losses(1.0), "no-gradient")


def test_norms_that_are_nan_before_and_at_the_optimizers_step_are_one_curve() -> None:
    run = Run()
    run.structure(3)
    run.step(gradient=math.nan, clipped=math.nan)
    assert [len(panel.series) for panel in curves(run.build())] == [1, 1]


def test_a_loss_and_a_gradient_that_become_nan_together_share_a_verb() -> None:
    run = Run()
    run.structure(3)
    run.step(math.nan, [math.nan])
    expected = "step 1: the loss and the gradient norm became NaN."
    assert told(run.build(), "non-finite") == expected


def test_graphs_that_never_come_back_do_not_take_turns() -> None:
    run = Run()
    for k in range(60):
        run.step(structure=run.structure(5) if k % 10 == 0 else k // 10)
    text = told(run.build(), "graph")
    assert text.startswith("60 steps had 6 graphs one after the other (5 changes): ")


def test_a_graph_that_grows_is_a_warning() -> None:
    run = Run()
    for k in range(20):
        run.step(structure=run.structure(10 + 5 * k), held=1000 * (k + 1))
    (finding,) = about(run.build(), "growing-graph")
    assert finding.severity is Severity.WARNING
    assert "step 1 to step 20: 10 to 105 ops, 1.0 kB to 20.0 kB held" in finding.message
    assert "detach()" in finding.hint


def test_sequences_of_changing_length_do_not_grow() -> None:
    run = Run()
    for k in range(20):
        run.step(structure=run.structure(10 + (k * 7) % 11), held=1000 + (k * 7) % 11)
    assert not about(run.build(), "growing-graph")


def test_the_cost_of_measuring_is_told() -> None:
    text = told(losses(1.0, 2.0, 3.0), "cost")
    assert text == "Measuring took 1 ms a step, the watched program 10 ms (medians)."


def test_a_run_without_backward_calls_is_told() -> None:
    (finding,) = findings(Run().build())
    assert finding.message == "No backward call was measured."


def test_the_gravest_come_first() -> None:
    ranks = [finding.severity.rank for finding in findings(blowing_up())]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 1
