"""Draw every sample into samples/gallery, with an index of the pictures (`make demo`)."""

from __future__ import annotations

import html
import re
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "samples"
GALLERY = SAMPLES / "gallery"
SUFFIXES = (".svg", ".pdf", ".png", ".json", ".txt")
CHARTS = (".svg", ".html", ".json", ".txt")

RAISING = frozenset({"non_scalar"})
"""Samples whose point is that torch raises; the command then ends with 3, its files written."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the command is told to draw, and the name of the files that come of it."""

    name: str
    target: str
    arguments: tuple[str, ...] = ()
    status: int = 0
    command: tuple[str, ...] = ()
    """`watch`, or nothing."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files."""
        return CHARTS if self.command else SUFFIXES

    @property
    def line(self) -> str:
        """What a visitor types to see it."""
        words = (*self.command, f"samples/{self.target}", *self.arguments)
        return shlex.join(("graphviz-cli", *words))

    @property
    def about(self) -> str:
        """The comment that the sample begins with, in HTML."""
        lines = (SAMPLES / self.target.partition(":")[0]).read_text(encoding="utf-8").splitlines()
        text = html.escape(" ".join(line.removeprefix("# ") for line in lines[:2]))
        return re.sub(r"`(.*?)`", r"<code>\1</code>", text)


def pictures() -> list[Picture]:
    """Every script among the samples, then those that are factories only."""
    scripts = sorted(path.stem for path in SAMPLES.glob("*.py") if path.stem != "hf")
    tokens = ("-i", "input_ids=int64:2x32<1000")
    return [
        *(Picture(name, f"{name}.py", status=3 if name in RAISING else 0) for name in scripts),
        Picture("nan_gradient_measured", "nan_gradient.py", ("--backward", "--heat", "gradient")),
        Picture("changing_graph_watched", "changing_graph.py", command=("watch",)),
        Picture("resnet50", "resnet.py:model", ("-a", "depth=50", "-i", "1x3x64x64")),
        *(Picture(name, f"hf.py:{name}", tokens) for name in ("gpt2", "bert", "llama")),
        Picture("t5", "hf.py:t5", (*tokens, "-i", "decoder_input_ids=int64:2x16<1000")),
        Picture("vit", "hf.py:vit", ("-i", "2x3x32x32")),
    ]


def draw(picture: Picture) -> tuple[Picture, str | None]:
    """Run the command on one target; the text is what went wrong, if anything did."""
    files = [f"gallery/{picture.name}{suffix}" for suffix in picture.suffixes]
    words = [*picture.command, picture.target, *picture.arguments]
    words += [word for file in files for word in ("-o", file)]
    command = [sys.executable, "-m", "graphviz_cli", *words]
    done = subprocess.run(command, cwd=SAMPLES, capture_output=True, text=True, check=False)
    missing = [
        suffix for suffix in picture.suffixes if not (GALLERY / (picture.name + suffix)).exists()
    ]
    if done.returncode != picture.status or missing:
        return picture, f"status {done.returncode}, missing {missing}\n{done.stderr}"
    return picture, None


def index(drawn: list[Picture]) -> str:
    """A page that shows every picture and links to its other formats."""
    entries = []
    for picture in drawn:
        links = " · ".join(f'<a href="{picture.name}{s}">{s[1:]}</a>' for s in picture.suffixes)
        entries.append(
            f"<section><h2>{html.escape(picture.name)}</h2><p>{picture.about}</p>"
            f"<p><code>{html.escape(picture.line)}</code></p>"
            f'<a href="{picture.name}.svg"><img src="{picture.name}.svg" alt="" loading="lazy"></a>'
            f"<p>{links}</p></section>"
        )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>graphviz-cli: the samples</title>
<style>
body {{ font: 15px/1.45 sans-serif; margin: 2rem; color: #1c2129; background: #fff; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1.5rem; }}
section {{ border: 1px solid #c2c9d3; border-radius: 8px; padding: 1rem; }}
h2 {{ margin: 0; font-size: 1.1rem; }}
code {{ font-size: 0.85em; overflow-wrap: anywhere; }}
img {{ max-width: 100%; max-height: 24rem; }}
</style>
<h1>The samples, drawn</h1>
<main>{"".join(entries)}</main>
</html>
"""


def main() -> int:
    """Draw all, two at a time; 1 if one of them failed."""
    shutil.rmtree(GALLERY, ignore_errors=True)
    GALLERY.mkdir()
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = []
        for picture, problem in pool.map(draw, pictures()):
            results.append((picture, problem))
            print(f"{'FAILED' if problem else 'drawn '}  {picture.name}", flush=True)
    for picture, problem in results:
        if problem:
            print(f"\n{picture.name}: {problem}", file=sys.stderr)
    good = [picture for picture, problem in results if not problem]
    (GALLERY / "index.html").write_text(index(good), encoding="utf-8")
    seconds = time.monotonic() - started
    print(f"{len(good)} of {len(results)} targets drawn in {seconds:.0f} s.")
    print(f"Open {GALLERY.relative_to(SAMPLES.parent) / 'index.html'} in a browser.")
    return int(len(good) < len(results))


if __name__ == "__main__":
    sys.exit(main())
