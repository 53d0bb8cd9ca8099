"""The programs of samples/errors: torch's real error, its line, and the op that is to blame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import REPOSITORY, Run

FOLDER = REPOSITORY / "samples" / "errors"


class Case(NamedTuple):
    sample: str
    torchs: str
    """What torch says."""
    told: str
    """What is made of it."""
    line: int
    """The line that raised, or that warned."""
    names: tuple[str, ...] = ()
    """The nodes that are marked."""
    options: tuple[str, ...] = ()
    status: int = 3


CASES = [
    Case(
        "no_history",
        "element 0 of tensors does not require grad",
        "the gradient is lost at detach() at no_history.py:11",
        12,
        ("detach",),
    ),
    Case(
        "not_a_scalar",
        "grad can be implicitly created only for scalar outputs",
        "losses has the shape [8]",
        11,
        ("NllLossBackward0",),
    ),
    Case(
        "second_time",
        "Trying to backward through the graph a second time",
        "shared (ExpBackward0), made at second_time.py:7",
        11,
        ("ExpBackward0",),
        ("--step", "2"),
    ),
    Case(
        "modified_in_place",
        "has been modified by an inplace operation",
        "y (ExpBackward0) at modified_in_place.py:7",
        10,
        ("ExpBackward0",),
        ("--step", "2"),
    ),
    Case(
        "leaf_in_place",
        "a leaf Variable that requires grad is being used in an in-place operation",
        "The leaf critic.weight is changed in place",
        10,
        ("critic.weight",),
    ),
    Case(
        "to_numpy",
        "Can't call numpy() on Tensor that requires grad",
        "prediction (AddmmBackward0) at to_numpy.py:9 carries a gradient",
        10,
        ("AddmmBackward0",),
    ),
    Case(
        "checkpoint_without_gradient",
        "None of the inputs have requires_grad=True",
        "A reentrant checkpoint got no input that requires a gradient",
        11,
        ("CheckpointFunction",),
        status=1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sample)
def test_the_report_names_the_line_and_the_op(run: Run, case: Case) -> None:
    ran = run("check", f"{case.sample}.py", "--report", "json", *case.options, cwd=FOLDER)
    assert ran.returncode == case.status, ran.stderr
    assert case.torchs in ran.stderr.decode()
    findings = json.loads(ran.stdout)["findings"]
    (finding,) = (f for f in findings if f["check"] == "autograd-error")
    assert case.told in finding["message"]
    assert (finding["file"], finding["line"]) == (f"{case.sample}.py", case.line)
    assert finding["hint"]
    assert set(case.names) <= set(finding["names"])


def test_every_sample_of_an_error_is_here() -> None:
    assert {path.stem for path in Path(FOLDER).glob("*.py")} == {case.sample for case in CASES}
