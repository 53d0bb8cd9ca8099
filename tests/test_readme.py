"""README.md and docs/*.md are run: every command works as it stands, and prints what is shown.

`make golden` puts what is printed now onto the pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent
README = REPOSITORY / "README.md"
PAGES = (README, *sorted((REPOSITORY / "docs").glob("*.md")))


@dataclass(frozen=True)
class Step:
    """A command and, where the page shows one, what appears on the terminal."""

    page: Path
    command: str
    shown: str

    @property
    def status(self) -> int:
        """The exit status to expect: `check` ends with 1 where it shows an error."""
        fails = "check" in self.command and "--exit-zero" not in self.command
        return int(fails and "\nerror: " in self.shown)


def sessions() -> list[list[Step]]:
    """The fenced `console` blocks of the pages, where commands begin with `$`."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            steps = []
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, shown = part.partition("\n")
                steps.append(Step(page, command.partition("  # ")[0].strip(), shown))
            found.append(steps)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the samples in it, as a reader has it after cloning."""
    shutil.copytree(
        REPOSITORY / "samples",
        tmp_path / "samples",
        ignore=shutil.ignore_patterns("gallery", "__pycache__"),
    )
    return tmp_path


@pytest.mark.parametrize(
    "steps", [pytest.param(steps, id=steps[0].command) for steps in sessions()]
)
def test_a_session_of_a_page_works_as_it_stands(
    steps: list[Step], folder: Path, request: pytest.FixtureRequest
):
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    for step in steps:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", step.command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == step.status, f"{step.command}\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        if step.shown and request.config.getoption("--accept"):
            shown, printed = (f"$ {step.command}\n{t}" for t in (step.shown, done.stdout))
            page = step.page.read_text(encoding="utf-8").replace(shown, printed)
            step.page.write_text(page, encoding="utf-8")
        elif step.shown:
            assert done.stdout == step.shown
        for name in re.findall(r"(?:-o|>) (\S+)", step.command):
            assert (folder / name).stat().st_size, name


def test_the_python_of_the_readme_runs(folder: Path):
    page = README.read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "AddmmBackward0 (5, 1)" in done.stdout


def test_the_check_of_the_docs_finds_what_it_says():
    import torch

    from graphviz_cli import capture_tensors

    page = (REPOSITORY / "docs/checks.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    x = torch.ones(2, requires_grad=True)
    found = [
        finding.message
        for graph in map(capture_tensors, (x.double() * 2, x * 2))
        for finding in names["NoDoubles"]().check(graph)
    ]
    assert found == [
        "MulBackward0 is in double precision.",
        "ToCopyBackward0 is in double precision.",
    ]


def test_the_readme_shows_every_exit_code_and_every_exporter():
    from graphviz_cli import errors, registry

    page = README.read_text(encoding="utf-8")
    codes = set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE))
    own = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert codes == {"0", "1", "130", *map(str, own)}
    for name in registry.BUILT_IN["exporters"]:
        assert f"`{name}`" in page, name


def test_every_page_of_the_docs_is_run():
    assert {step.page.name for steps in sessions() for step in steps} == {p.name for p in PAGES}


def test_every_file_that_the_papers_link_to_is_there():
    for paper in (*PAGES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"):
        page = paper.read_text(encoding="utf-8")
        for target in re.findall(r"(?:\]\(|src=\")(?!https?:|#)([^)#\"]+)", page):
            assert (paper.parent / target).exists(), f"{paper.name} links to {target}"
