"""What the user named and how it shall be run: read from text, without torch."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphviz_cli.errors import GraphvizCliError, NoGraphError, TargetError, UsageError
from graphviz_cli.graph.history import History
from graphviz_cli.graph.model import Graph

if TYPE_CHECKING:
    from graphviz_cli.capture.probes import Probe

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_NOT_A_PROGRAM = {
    ".pt": "weights", ".pth": "weights", ".bin": "weights", ".ckpt": "weights",
    ".safetensors": "weights", ".onnx": "an exported model", ".pt2": "an exported model",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """A script, a module that is run like one, or an attribute of either.

    Exactly one of `path` and `module` is set; `attribute` may be dotted and indexed
    (`models.0.encoder`), and is None where the whole program is run.
    """

    text: str
    path: Path | None = None
    module: str | None = None
    attribute: str | None = None

    @property
    def is_program(self) -> bool:
        """The whole of it is run, as Python would."""
        return self.attribute is None

    @property
    def shown(self) -> str:
        """The text as given, but no absolute path: results must not depend on the machine."""
        if self.path is None or not self.path.is_absolute():
            return self.text
        try:
            shown = self.path.relative_to(Path.cwd()).as_posix()
        except (ValueError, OSError):
            shown = self.path.name
        return shown if self.attribute is None else f"{shown}:{self.attribute}"


@dataclass(frozen=True, slots=True)
class Request:
    """How a target shall be run.

    `inputs` are the specifications of a module's inputs (`ids=int64:2x32<50257`), `arguments` the
    `key=value` for a class or a function, `script_args` the arguments of a program. `root` names
    the tensor to start from, `step` the backward call at which a program is stopped, from 1.
    `probes` measure the run; a backward pass is made if one of them needs it, which starts at each
    root from what `grad_outputs` says (`ones`, `sum`, `mean`, numbers or a file; `NAME=...` for one
    root), else from what the program's own call was given.
    `cuts` says whether the places where the gradient is lost are looked for.
    `seed` None leaves the random numbers, `train` None the mode of a module as they are.
    """

    inputs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    root: str | None = None
    device: str = "auto"
    seed: int | None = 0
    train: bool | None = None
    step: int | None = None
    script_args: tuple[str, ...] = ()
    cuts: bool = True
    probes: tuple[Probe, ...] = ()
    grad_outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Captured:
    """A graph, and what went wrong in the user's program, if anything did.

    With a failure the graph is what had been built until then, and marked as partial.
    """

    graph: Graph
    failure: TargetError | None = None


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """Which backward calls of a program are measured.

    Those with the numbers 1, 1 + `every`, 1 + 2 * `every` and so on. The program is stopped once
    call `until` has run. Raises UsageError for a number below 1.
    """

    every: int = 1
    until: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or (self.until is not None and self.until < 1):
            raise UsageError("Backward calls count from 1.", hint="Give a larger number.")


@dataclass(frozen=True, slots=True)
class Watched:
    """What was measured of a run, and what ended it before its time."""

    history: History
    failure: TargetError | None = None


def parse_target(text: str) -> Target:
    """Read `script.py`, `file.py:attr`, `pkg.mod` or `pkg.mod:attr`.

    A folder that holds a `__main__.py` is a program, as for Python; one that is a package is run
    as such. Raises UsageError if there is no such file, or if the text is none of these.
    """
    if not text:
        raise UsageError(
            "The TARGET is empty.", hint="Name a script, FILE.py:NAME or a saved graph."
        )
    whole = Path(text)
    if os.path.lexists(text):
        if (whole / "__init__.py").is_file() and text.isidentifier():
            return Target(text, module=text)
        return Target(text, path=_program(whole))
    left, colon, attribute = text.rpartition(":")
    if not colon or "/" in attribute or os.sep in attribute:
        left, colon, attribute = text, "", ""
    place = Path(left)
    is_file = place.suffix == ".py" or "/" in left or os.sep in left or (colon and place.is_file())
    if colon and not left:
        raise UsageError(
            f"{text!r} names no file.", hint="Write FILE.py:NAME or PACKAGE.MODULE:NAME."
        )
    if colon and not attribute:
        raise UsageError(
            f"No name follows the colon in {text!r}.",
            hint=f"{left}:NAME takes a module, a class, a function or a tensor; {left} runs it.",
        )
    if is_file:
        if not place.exists():
            raise _missing(place)
        if place.is_dir():
            raise UsageError(
                f"{left} is a folder.", hint=f"Name a file in it: {place.as_posix()}/FILE.py:NAME."
            )
        return Target(text, path=place, attribute=attribute or None)
    if not _MODULE.fullmatch(left):
        raise _missing(place)
    return Target(text, module=left, attribute=attribute or None)


def read_source(path: Path) -> bytes:
    """The bytes of a program, by `io.open_code`.

    Raises UsageError where it cannot be read, TargetError where it is not text, and NoGraphError
    where it is empty.
    """
    import io

    try:
        with io.open_code(os.path.abspath(path)) as file:  # noqa: PTH100 - resolves no link
            source = file.read()
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if not source.strip():
        raise NoGraphError(f"{path} is empty.")
    if b"\0" in source:
        kind = _NOT_A_PROGRAM.get(path.suffix)
        raise TargetError(
            f"{path} is not a Python program: it holds binary data.",
            hint=f"It looks like {kind}, and those hold no autograd graph: name the program that "
            "makes the model."
            if kind
            else None,
        )
    return source


def _program(path: Path) -> Path:
    if path.is_dir():
        if (path / "__main__.py").is_file():
            return path
        scripts = sorted(entry.name for entry in path.glob("*.py"))[:3]
        raise UsageError(
            f"{path} is a folder without a __main__.py.",
            hint=f"Name a script in it, e.g. {(path / scripts[0]).as_posix()}."
            if scripts
            else "Name a script.",
        )
    if path.suffix == ".ipynb":
        raise UsageError(
            f"{path} is a notebook.",
            hint="Convert it first: jupyter nbconvert --to script, then name the .py file.",
        )
    if not path.exists():
        raise UsageError(f"{path} is a link to a file that does not exist.")
    return path


def _missing(path: Path) -> GraphvizCliError:
    folder = path.parent
    if folder.is_dir():
        names = sorted(entry.stem for entry in folder.iterdir() if entry.suffix == ".py")
        close = difflib.get_close_matches(path.stem, names, n=1)
        some = [f"{name}.py" for name in names[:3]] + ["..."] * (len(names) > 3)
        hint = f"Its folder holds {', '.join(some)}" if some else "Its folder holds no script."
        if close:
            hint = f"Did you mean {(folder / close[0]).as_posix()}.py?"
    else:
        hint = f"There is no folder {folder.as_posix()} either."
    return UsageError(f"There is no file {path.as_posix()}.", hint=hint)
