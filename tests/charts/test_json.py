"""The data of a run can be read back."""

from __future__ import annotations

import json
import math

from graphviz_cli.charts.json import Json
from graphviz_cli.charts.style import ChartStyle
from graphviz_cli.graph.history import History
from tests.charts.histories import Run, adversarial, hostile, losses, training


def read(history: History) -> dict[str, object]:
    def refuse(name: str) -> float:
        raise AssertionError(name)

    data: dict[str, object] = json.loads(Json().chart(history, ChartStyle()), parse_constant=refuse)
    return data


def test_the_columns_are_what_was_measured() -> None:
    history = training(50)
    data = read(history)
    assert (data["kind"], data["schema"], data["calls"], data["ending"]) == (
        "history", 1, 50, "done",
    )  # fmt: skip
    steps = data["steps"]
    assert isinstance(steps, dict)
    for name in ("number", "loss", "gradient", "clipped", "held", "kept", "own_seconds"):
        assert steps[name] == [getattr(step, name) for step in history.steps]
    leaves = data["leaves"]
    assert isinstance(leaves, list)
    assert [leaf["name"] for leaf in leaves] == list(history.structures[0].leaves)
    assert leaves[2]["norms"] == [step.leaves[2] for step in history.steps]


def test_what_is_not_finite_is_a_word() -> None:
    steps = read(losses(1.0, math.nan, math.inf, -math.inf, None))["steps"]
    assert isinstance(steps, dict)
    assert steps["loss"] == [1.0, "nan", "inf", "-inf", None]


def test_a_leaf_has_null_where_it_is_not_in_the_graph_or_got_no_gradient() -> None:
    leaves = read(adversarial(4))["leaves"]
    assert isinstance(leaves, list)
    assert leaves[0]["norms"] == [0.5, 0.4, 0.5, 0.4]
    assert [norm is None for norm in leaves[2]["norms"]] == [True, False, True, False]
    run = Run()
    run.structure(3, ["a"])
    run.step(norms=[None])
    leaves = read(run.build())["leaves"]
    assert isinstance(leaves, list)
    assert leaves[0]["norms"] == [None]


def test_structures_have_digests_and_differences_but_no_graphs() -> None:
    structures = read(training(50))["structures"]
    assert isinstance(structures, list)
    assert structures[1]["difference"] == ["+ Tanh (net.py:12)", "+ Mul (net.py:13)"]
    assert structures[1]["first"] == 17
    assert "graph" not in structures[1]


def test_hostile_names_come_back_and_equal_runs_give_equal_bytes() -> None:
    leaves = read(hostile())["leaves"]
    assert isinstance(leaves, list)
    assert [leaf["name"] for leaf in leaves] == list(hostile().structures[0].leaves)
    style = ChartStyle()
    assert Json().chart(hostile(), style) == Json().chart(hostile(), style)
