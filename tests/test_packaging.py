"""What is installed is whole, and what the project's papers say about it is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import graphviz_cli
from graphviz_cli import registry

REPOSITORY = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
PACKAGE = REPOSITORY / "graphviz_cli"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy: setuptools leaves a build folder beside what it builds, and reuses it.
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "graphviz_cli"):
        subprocess.run(["cp", "-R", REPOSITORY / name, source], check=True)
    done = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    here = {
        path.relative_to(REPOSITORY).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == here


def test_the_wheel_states_its_licence_and_carries_its_text(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert "License-Expression: MIT" in wheel.read(metadata).decode()
    (licence,) = (name for name in wheel.namelist() if name.endswith("/LICENSE"))
    assert wheel.read(licence) == (REPOSITORY / "LICENSE").read_bytes()


def test_the_unpacked_wheel_draws_a_sample_far_from_the_checkout(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    sample = tmp_path / "linear.py"
    sample.write_bytes((REPOSITORY / "samples" / "linear.py").read_bytes())
    where = "import graphviz_cli, sys; sys.stderr.write(graphviz_cli.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    python = [sys.executable, "-P"]
    found = subprocess.run(
        [*python, "-c", where], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert Path(found.stderr).is_relative_to(tmp_path / "site")
    drawn = subprocess.run(
        [*python, "-m", "graphviz_cli", "linear.py"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert "MulBackward0" in drawn.stdout


def test_the_entry_point_is_the_function_that_the_module_runs(wheel):
    (points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "graphviz-cli = graphviz_cli.__main__:main" in wheel.read(points).decode()
    from graphviz_cli import __main__

    assert callable(__main__.main)


def test_the_changelog_tells_of_this_version():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert versions[0] == graphviz_cli.__version__


def test_contributing_gives_a_reason_for_every_dependency_and_for_no_other():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.match(r"[A-Za-z0-9-]+", line)[0] for line in project["dependencies"]}
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = contributing.partition("| package | why |\n|---|---|\n")[2].partition("\n\n")[0]
    assert {line.split("|")[1].strip() for line in table.splitlines()} == wanted


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, table in registry.BUILT_IN.items() for name in table],
)
def test_every_plug_in_of_the_table_loads_and_has_a_title(kind, name):
    plugin = registry.plugin_type(kind, name)
    title, _ = registry.describe(plugin)
    assert title.endswith(".") and title != plugin.__name__


def test_every_sample_begins_with_two_lines_that_say_what_it_teaches():
    for sample in sorted((REPOSITORY / "samples").glob("*.py")):
        first, second, third = sample.read_text(encoding="utf-8").splitlines()[:3]
        assert first.startswith("# ") and second.startswith("# "), sample.name
        assert third.startswith("import "), sample.name
