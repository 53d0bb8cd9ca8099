"""README.md is run: every command of it works as it stands, and prints what is printed there.

`make golden` puts what is printed now onto the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
README = REPOSITORY / "README.md"


@dataclass(frozen=True)
class Step:
    """A command and, where the page shows one, what appears on the terminal."""

    command: str
    shown: str


def sessions() -> list[list[Step]]:
    """The fenced `console` blocks of the page, where commands begin with `$`."""
    page = README.read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        steps = []
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            steps.append(Step(command.partition("  # ")[0].strip(), shown))
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
def test_a_session_of_the_readme_works_as_it_stands(
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
        assert done.returncode == 0, f"{step.command}\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        if step.shown and request.config.getoption("--accept"):
            shown, printed = (f"$ {step.command}\n{t}" for t in (step.shown, done.stdout))
            page = README.read_text(encoding="utf-8").replace(shown, printed)
            README.write_text(page, encoding="utf-8")
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


def test_the_readme_shows_every_exit_code_and_every_exporter():
    from graphviz_cli import errors, registry

    page = README.read_text(encoding="utf-8")
    codes = set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE))
    own = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert codes == {"0", "1", "130", *map(str, own)}
    for name in registry.BUILT_IN["exporters"]:
        assert f"`{name}`" in page, name


def test_every_file_that_the_papers_link_to_is_there():
    for paper in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        page = (REPOSITORY / paper).read_text(encoding="utf-8")
        for target in re.findall(r"(?:\]\(|src=\")(?!https?:|#)([^)#\"]+)", page):
            assert (REPOSITORY / target).exists(), f"{paper} links to {target}"
