"""CONTRIBUTING.md's worked example, worked: one new file and one table line make an exporter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


def blocks() -> list[tuple[str, str]]:
    """Language and text of every fenced block of the page."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has the page's exporter, and a saved graph."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(REPOSITORY / "graphviz_cli", folder / "graphviz_cli")
    file, line = (text for language, text in blocks() if language == "python")
    (folder / "graphviz_cli/exporters/counts.py").write_text(file, encoding="utf-8")
    table = folder / "graphviz_cli/registry.py"
    before = table.read_text(encoding="utf-8")
    json_line = '        "json": "graphviz_cli.exporters.json:Json",\n'
    assert json_line in before
    table.write_text(before.replace(json_line, json_line + line), encoding="utf-8")
    shutil.copy(REPOSITORY / "samples/chain_rule.py", folder)
    run(folder, "chain_rule.py", "-o", "graph.json")
    return folder


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "graphviz_cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_new_exporter_writes_to_stdout(extended):
    assert run(extended, "graph.json", "-f", "counts") == (
        "3\tAccumulateGrad\n1\tAddBackward0\n1\tMulBackward0\n1\tSubBackward0\n"
    )


def test_its_fields_are_its_options(extended):
    assert run(extended, "graph.json", "-f", "counts:least=2") == "3\tAccumulateGrad\n"


def test_its_suffix_chooses_it(extended):
    run(extended, "graph.json", "-o", "graph.counts")
    assert (extended / "graph.counts").read_text().startswith("3\tAccumulateGrad\n")


def test_it_is_listed_with_its_title(extended):
    assert "How often each backward op occurs" in run(extended, "list")


def test_another_distribution_registers_it_by_an_entry_point(extended, tmp_path):
    (file, _), (entry_point,) = (
        [text for language, text in blocks() if language == wanted] for wanted in ("python", "toml")
    )
    section, line = entry_point.strip().replace('"', "").splitlines()
    group = section.removeprefix("[project.entry-points.").removesuffix("]")
    information = tmp_path / "my_package-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[{group}]\n{line}\n")
    (tmp_path / "my_package.py").write_text(file, encoding="utf-8")
    shutil.copytree(REPOSITORY / "graphviz_cli", tmp_path / "graphviz_cli")
    shutil.copy(extended / "graph.json", tmp_path)
    assert run(tmp_path, "graph.json", "-f", "counts:least=2") == "3\tAccumulateGrad\n"
