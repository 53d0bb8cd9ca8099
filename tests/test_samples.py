"""Every sample, run by the command as a user runs it: its golden text and its pictures.

`make golden` accepts what comes out now.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from pypdf import PdfReader

from graphviz_cli import load
from graphviz_cli.cli.request import View
from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.style import Style

SAMPLES = Path(__file__).parent.parent / "samples"
GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = (".txt", ".dot", ".mmd", ".json", ".svg", ".pdf", ".png")
STATUS = {"non_scalar": 3}
"""Exit status of the samples whose point is that torch raises; the others end with 0."""

LARGEST_PAGE = 14_400
"""Points: what common readers of PDF can show."""

SCRIPTS = sorted(path.stem for path in SAMPLES.glob("*.py") if path.stem != "hf")
"""The samples that run by themselves; hf.py holds factories, which test_readme.py draws."""

Drawn = Callable[[str, str], Path]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graphviz_cli", *map(str, arguments)],
        cwd=SAMPLES,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """The file of a sample with a suffix; each sample runs once, for all formats."""

    @cache
    def folder(sample: str) -> Path:
        place = tmp_path_factory.mktemp(sample)
        outputs = [word for suffix in SUFFIXES for word in ("-o", place / f"{sample}{suffix}")]
        done = run(f"{sample}.py", *outputs)
        assert done.returncode == STATUS.get(sample, 0), done.stderr
        by_ops = run(place / f"{sample}.json", "--by", "ops", "-o", place / f"{sample}.ops.txt")
        assert by_ops.returncode == 0, by_ops.stderr
        return place

    return lambda sample, suffix: folder(sample) / f"{sample}{suffix}"


each_sample = pytest.mark.parametrize(
    "sample",
    # One worker draws a sample and then runs all tests of it.
    [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in SCRIPTS],
)


@each_sample
@pytest.mark.parametrize("suffix", [".txt", ".ops.txt", ".dot", ".mmd"])
def test_what_a_sample_prints_is_the_golden_text(sample, suffix, drawn, request):
    golden = GOLDEN / f"{sample}{suffix}"
    printed = drawn(sample, suffix).read_bytes()
    if request.config.getoption("--accept"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(printed)
    accepted = golden.read_bytes() if golden.exists() else b""
    if printed != accepted:
        lines = difflib.unified_diff(
            accepted.decode().splitlines(), printed.decode().splitlines(), "golden", "now", n=1
        )
        pytest.fail("\n".join([*lines][:60]) + "\n(make golden accepts it)", pytrace=False)


def test_there_is_no_golden_file_without_a_sample():
    assert {path.name.partition(".")[0] for path in GOLDEN.iterdir()} == set(SCRIPTS)


@each_sample
def test_the_page_of_a_sample_can_be_shown_by_common_readers(sample, drawn):
    (page,) = PdfReader(drawn(sample, ".pdf")).pages
    width, height = page.mediabox.width, page.mediabox.height
    assert 0 < max(width, height) <= LARGEST_PAGE


@each_sample
def test_the_page_of_a_sample_says_its_name(sample, drawn):
    (page,) = PdfReader(drawn(sample, ".pdf")).pages
    assert f"{sample}.py" in page.extract_text().replace("\n", "")


@each_sample
def test_the_picture_of_a_sample_is_not_blank(sample, drawn):
    with Image.open(drawn(sample, ".png")) as picture:
        assert min(picture.size) > 50
        colors = picture.convert("RGB").getcolors(maxcolors=picture.width * picture.height)
        ink = sum(count for count, color in colors if max(color) < 100)
        paper = max(count for count, _ in colors)
    assert ink > 200, "no dark text"
    assert paper < 0.99 * sum(count for count, _ in colors), "hardly anything is drawn"


@each_sample
def test_the_svg_of_a_sample_holds_every_id_and_every_label(sample, drawn):
    tree = ElementTree.parse(drawn(sample, ".svg"))
    ids = {element.get("id") for element in tree.iter()}
    texts = {"".join(element.itertext()).replace("\xa0", " ").strip() for element in tree.iter()}
    diagram = draw(View().apply(load(drawn(sample, ".json")), "boxes").graph, Style())
    assert diagram.boxes
    for box in diagram.boxes:
        assert box.id in ids
        assert any(box.title in text for text in texts), box.title
        for chip in box.chips:
            assert any(id and chip.id in id for id in ids), chip.id
            assert any(chip.title in text for text in texts), chip.title
    for cluster in diagram.clusters:
        assert cluster.id in ids
        assert any(cluster.title in text for text in texts), cluster.title


@pytest.mark.parametrize("sample", ["chain_rule", "checkpoint", "transformer", "lstm"])
def test_another_run_writes_the_same_bytes(sample, drawn, tmp_path):
    suffixes = (".json", ".txt", ".dot", ".mmd")
    outputs = [word for suffix in suffixes for word in ("-o", tmp_path / f"{sample}{suffix}")]
    # Another order of sets, and everything at another address.
    done = run(f"{sample}.py", *outputs, PYTHONHASHSEED="1234")
    assert done.returncode == 0, done.stderr
    for suffix in suffixes:
        again = (tmp_path / f"{sample}{suffix}").read_bytes()
        assert again == drawn(sample, suffix).read_bytes(), suffix


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ("non_scalar", "RuntimeError: grad can be implicitly created only for scalar outputs"),
        ("second_backward", "RuntimeError: Trying to backward through the graph a second time"),
    ],
)
def test_a_sample_that_raises_shows_the_error_of_torch_and_not_our_frames(sample, words):
    done = run(f"{sample}.py", "--step", "2")
    assert done.returncode == 3
    assert words in done.stderr
    assert f"{sample}.py" in done.stderr and "graphviz_cli" not in done.stderr
