"""What the command writes as data fits the schemas that are published for it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from graphviz_cli import registry
from graphviz_cli.charts.json import SCHEMA_VERSION

REPOSITORY = Path(__file__).parents[2]
SAMPLES = REPOSITORY / "samples"


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((REPOSITORY / f"docs/{name}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("sample", ["nan_gradient", "unused_parameter"])
def test_a_graph_with_all_that_probes_can_measure_fits_its_schema(run, sample: str) -> None:
    probes = [word for name in registry.BUILT_IN["probes"] for word in ("--probe", name)]
    ran = run(SAMPLES / f"{sample}.py", "--backward", *probes, "-f", "json")
    graph = json.loads(ran.stdout)
    assert {"gradient", "output", "saved-range", "backward-time"} <= set(graph["annotations"])
    validator("graph").validate(graph)


def test_a_run_fits_its_schema(run) -> None:
    ran = run("watch", SAMPLES / "changing_graph.py", "-f", "json")
    history = json.loads(ran.stdout)
    assert len(history["structures"]) == 2 and history["findings"]
    validator("history").validate(history)


def test_a_run_with_nan_that_ends_in_an_error_fits_its_schema(run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import torch\n"
        "w = torch.zeros(3, requires_grad=True)\n"
        "w.sqrt().mul(0).sum().backward()\n"
        "torch.autograd.grad((w * 2).sum(), w)\n"
        "(w * w).backward(torch.ones(3))\n"
        "raise ValueError\n"
    )
    history = json.loads(run("watch", "train.py", "-f", "json").stdout)
    assert history["ending"] == "failed"
    assert history["steps"]["gradient"] == ["nan", None, "nan"]
    validator("history").validate(history)


def test_every_member_of_a_run_is_described_and_a_wrong_one_refused(run) -> None:
    known = validator("history")
    assert known.schema["properties"]["schema"]["const"] == SCHEMA_VERSION
    ran = run("watch", SAMPLES / "training_loop.py", "--until", "2", "-f", "json")
    history = json.loads(ran.stdout)
    for wrong in (
        {"kind": "graph"},
        {"ending": "soon"},
        {"steps": {**history["steps"], "loss": ["high"]}},
        {"more": 1},
    ):
        assert not known.is_valid({**history, **wrong}), wrong
