"""SVG, PDF and PNG by Graphviz, and what happens where it fails, hangs or is missing."""

import io
import os
import shutil
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from graphviz_cli.drawing.draw import draw
from graphviz_cli.drawing.style import THEMES, Style
from graphviz_cli.errors import LayoutTimeoutError, RendererError
from graphviz_cli.exporters import engine as engine_module
from graphviz_cli.exporters.dot import Dot
from graphviz_cli.exporters.engine import Engine, find_engine, fonts_available, require_engine
from graphviz_cli.exporters.graphviz import Pdf, Png, RenderingWarning, Svg
from tests import graphs
from tests.graphs import chain

needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz is not installed: no `dot` on the PATH"
)
needs_wheel = pytest.mark.skipif(
    find_spec("pygraphviz") is None, reason="the extra `render` is not installed: no pygraphviz"
)
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a shell script as `dot`")

ENGINES = [
    pytest.param("dot", marks=needs_dot),
    pytest.param("pygraphviz", marks=needs_wheel),
]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, no_programs: None) -> Engine:
    """Each engine in turn, the other one out of sight."""
    if request.param == "dot":
        os.environ["PATH"] = os.environ["ALL_PROGRAMS"]
    found = find_engine()
    assert found is not None
    assert found.kind == request.param
    return found


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH on which nothing stands."""
    monkeypatch.setenv("ALL_PROGRAMS", os.environ["PATH"])
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that ended, but that nobody has asked about yet, still has a number.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_svg_holds_every_id_label_and_tooltip(engine: Engine) -> None:
    graph = graphs.transformer_block(repeats=12)
    svg = fromstring(Svg().export(graph, Style()))
    diagram = draw(graph, Style())
    ids = {item.get("id") for item in svg.iter()}
    assert {box.id for box in diagram.boxes} | {c.id for c in diagram.clusters} <= ids
    texts = "\n".join((item.text or "").replace("\xa0", " ") for item in svg.iter())
    for box in diagram.boxes:
        assert box.title in texts
        assert all(line in texts for line in box.lines)
        assert all(chip.title in texts for chip in box.chips)
    tooltips = {value for item in svg.iter() for key, value in item.items() if "title" in key}
    assert {box.tooltip for box in diagram.boxes} <= tooltips
    assert {chip.tooltip for box in diagram.boxes for chip in box.chips} <= tooltips


def test_the_pdf_has_one_page_with_the_text(engine: Engine) -> None:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(Pdf().export(graphs.mlp(), Style())))
    (page,) = reader.pages
    assert 200 < page.mediabox.width < 1000
    text = page.extract_text()
    assert "NllLoss" in text
    assert "203.5k params" in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_png_shows_something_on_the_background_of_the_theme(engine: Engine, theme: str) -> None:
    from PIL import Image

    style = Style(theme=THEMES[theme])
    image = Image.open(io.BytesIO(Png().export(graphs.mlp(), style))).convert("RGB")
    colors = image.getcolors(maxcolors=1 << 24)
    assert colors is not None
    _, most = max(colors)
    assert "#{:02X}{:02X}{:02X}".format(*most) == THEMES[theme].background
    assert len(colors) > 50


@needs_dot
def test_the_resolution_of_a_png_can_be_chosen() -> None:
    from PIL import Image

    sizes = [
        Image.open(io.BytesIO(Png(dpi=dpi).export(graphs.mlp(), Style()))).width
        for dpi in (72, 144)
    ]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.02)


def test_two_exports_give_the_same_svg(engine: Engine) -> None:
    first = Svg().export(graphs.mlp(), Style())
    Svg().export(graphs.cut(), Style())
    assert Svg().export(graphs.mlp(), Style()) == first


@needs_dot
def test_a_long_graph_gives_a_page_and_pixels_that_can_be_shown() -> None:
    from PIL import Image
    from pypdf import PdfReader

    Image.MAX_IMAGE_PIXELS = None
    graph = chain(500)
    with pytest.warns(RenderingWarning, match="The PDF is scaled to 5.%"):
        pdf = Pdf().export(graph, Style())
    page = PdfReader(io.BytesIO(pdf)).pages[0]
    assert 14_000 < max(page.mediabox.width, page.mediabox.height) <= 14_400
    with pytest.warns(RenderingWarning, match="dots per inch"):
        png = Png().export(graph, Style())
    assert 20_000 < max(Image.open(io.BytesIO(png)).size) < 32_767


@needs_dot
def test_a_small_graph_is_exported_without_a_warning() -> None:
    if not fonts_available():
        pytest.skip("no fonts are installed, of which the exporter warns")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for exporter in (Svg(), Pdf(), Png()):
            assert exporter.export(graphs.mlp(), Style())


def test_a_graph_of_a_million_ops_is_refused_at_once() -> None:
    graph = chain(1_000_000)
    start = time.perf_counter()
    with pytest.raises(RendererError, match="1,000,000 boxes") as raised:
        Svg().export(graph, Style())
    assert time.perf_counter() - start < 5
    assert "--depth" in (raised.value.hint or "")


def test_chips_do_not_count_as_boxes(engine: Engine) -> None:
    b = graphs.Builder()
    ops = [b.op("SinBackward0", (2,), b.leaf(f"w{k}", 2)) for k in range(20)]
    graph = b.build(b.op("StackBackward0", (20, 2), *ops))
    assert len(graph.nodes) == 41
    assert Svg(limit=21).export(graph, Style())
    with pytest.raises(RendererError, match="21 boxes, and Graphviz gets at most 20"):
        Svg(limit=20).export(graph, Style())


def test_a_layout_that_takes_too_long_is_ended(engine: Engine) -> None:
    # Every op reads all that came before: far too much for any layout.
    b = graphs.Builder()
    ops = [b.op("SinBackward0", (2,), b.leaf("x", 2))]
    for _ in range(250):
        ops.append(b.op("StackBackward0", (2,), *ops[-60:]))
    graph = b.build(ops[-1])
    start = time.perf_counter()
    with pytest.raises(LayoutTimeoutError, match=r"not done after 0\.5 s") as raised:
        Svg(timeout=0.5).export(graph, Style())
    assert time.perf_counter() - start < 10
    assert "--timeout" in (raised.value.hint or "")
    assert raised.value.dot == Dot().export(graph, Style())


@posix_only
def test_what_the_child_started_ends_with_it(tmp_path: Path) -> None:
    program(tmp_path, "dot", f"sleep 300 & echo $! $$ > {tmp_path}/pids; wait")
    with pytest.raises(RendererError):
        Engine("dot", str(tmp_path / "dot")).lay_out("digraph {}", timeout=1)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    deadline = time.monotonic() + 5
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, pids))


@posix_only
def test_a_failing_graphviz_is_quoted(tmp_path: Path) -> None:
    program(
        tmp_path,
        "dot",
        "cat > /dev/null; echo 'Pango-WARNING: x' >&2; echo 'Error: no' >&2; exit 3",
    )
    with pytest.raises(RendererError, match="Graphviz failed: Error: no"):
        Engine("dot", str(tmp_path / "dot")).lay_out("digraph {}", timeout=10)


@posix_only
def test_a_graphviz_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    program(tmp_path, "dot", "cat > /dev/null")
    with pytest.raises(RendererError, match="Graphviz failed"):
        Engine("dot", str(tmp_path / "dot")).lay_out("digraph {}", timeout=10)


def test_a_dot_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RendererError, match="cannot be run"):
        Engine("dot", str(tmp_path / "dot")).lay_out("digraph {}", timeout=10)


def test_an_invalid_text_is_an_error_of_graphviz(engine: Engine) -> None:
    with pytest.raises(RendererError):
        engine.lay_out("digraph { a -> ", timeout=30)


def test_without_any_graphviz_the_error_says_what_to_install(
    no_programs: None, no_wheel: None, tmp_path: Path
) -> None:
    program(tmp_path, "apt-get", "")
    assert find_engine() is None
    with pytest.raises(RendererError) as raised:
        Pdf().export(graphs.mlp(), Style())
    assert raised.value.exit_code == 5
    assert raised.value.message == "rendering PDF needs Graphviz, and none was found."
    lines = (raised.value.hint or "").splitlines()
    assert lines[0] == "any system   pip install 'graphviz-cli[render]'"
    assert lines[1] == "this system  sudo apt-get install graphviz"
    assert lines[2].startswith("Works now without it:  ")
    assert "-o graph.dot" in lines[2]


def test_on_an_unknown_system_the_error_names_only_the_wheel(
    no_programs: None, no_wheel: None
) -> None:
    with pytest.raises(RendererError) as raised:
        require_engine("PNG")
    assert "this system" not in (raised.value.hint or "")


def test_the_engine_tells_its_version(engine: Engine) -> None:
    assert any(character.isdigit() for character in engine.version())


@posix_only
def test_a_machine_without_fonts_is_noticed(
    no_programs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_FONT_FOLDERS", (str(tmp_path / "fonts"),))
    program(tmp_path, "fc-list", "")
    assert not fonts_available()
    program(tmp_path, "fc-list", "echo /opt/fonts/some.ttf: Some")
    assert fonts_available()
    program(tmp_path, "fc-list", "")
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "some.ttf").touch()
    assert fonts_available()


@needs_dot
def test_a_pdf_without_fonts_is_made_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_FONT_FOLDERS", ())
    dot = shutil.which("dot")
    assert dot is not None
    (tmp_path / "dot").symlink_to(dot)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(RenderingWarning, match="no fonts here: the PDF shows boxes for letters"):
        assert Pdf().export(graphs.mlp(), Style()).startswith(b"%PDF")
