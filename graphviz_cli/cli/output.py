"""The one place that writes results: whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from graphviz_cli.cli.streams import Streams, reason, write_all
from graphviz_cli.errors import OutputError


class Destination(NamedTuple):
    """A place for a result: a file, or a descriptor of this process."""

    name: str
    """As the user wrote it."""
    path: Path | None = None
    """Absolute, so that a program which changes the working folder does not move it."""
    descriptor: int = 1

    @property
    def is_stdout(self) -> bool:
        """Whether it is what the process was given as stdout."""
        return self.path is None and self.descriptor == 1


STDOUT = Destination("-")


def destination(text: str) -> Destination:
    """Read what was given to -o. Raises OutputError if the working folder is gone."""
    if text in ("-", "/dev/stdout"):
        return Destination(text)
    if text == "/dev/stderr":
        return Destination(text, descriptor=2)
    if match := re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", text):
        return Destination(text, descriptor=int(match[1]))
    try:
        return Destination(text, Path(os.path.abspath(text)))  # noqa: PTH100 - resolve() follows links
    except OSError as error:
        raise _cannot_write(text, error) from error


def check(target: Destination) -> None:
    """Raise OutputError if a write is bound to fail, before minutes are spent on the result."""
    if target.path is None:
        return
    try:
        status = target.path.stat()
    except FileNotFoundError:
        status = None
    except OSError as error:
        raise _cannot_write(target.name, error) from error
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise OutputError(f"Cannot write {target.name}: it is a folder.")
    if status is not None and not stat.S_ISREG(status.st_mode):
        return
    folder = Path(os.path.realpath(target.path)).parent
    if not folder.is_dir():
        raise OutputError(
            f"Cannot write {target.name}: there is no folder {folder.name}.",
            hint=f"mkdir -p {Path(target.name).parent}",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"Cannot write {target.name}: its folder does not allow a new file.",
            hint=f"Choose another folder, or write to stdout: -o - > {target.name}",
        )


def write(target: Destination, data: bytes, streams: Streams) -> None:
    """Write a result to its place.

    A file is replaced in one step, keeping its permissions; if anything goes wrong, it is left as
    it was. Raises OutputError, and BrokenPipeError when the reader of a pipe has gone.
    """
    if target.is_stdout:
        streams.write(data)
        return
    try:
        if target.path is None:
            write_all(target.descriptor, data)
        else:
            _write_path(target.path, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _cannot_write(target.name, error) from error


def _cannot_write(name: str, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {name}: {reason(error)}.")


def _write_path(path: Path, data: bytes) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        _fill(os.open(path, os.O_WRONLY | os.O_CLOEXEC), data)
        return
    real = Path(os.path.realpath(path))
    temporary, descriptor = _temporary_beside(real)
    try:
        _fill(descriptor, data)
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(real)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary_beside(path: Path) -> tuple[Path, int]:
    for name in _names():
        temporary = path.with_name(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return temporary, os.open(temporary, flags, 0o666)
        except FileExistsError:
            continue
    raise AssertionError("names never end")


def _names() -> Iterator[str]:
    return (f".graphviz-cli-{os.getpid()}-{number}.tmp" for number in count())


def _fill(descriptor: int, data: bytes) -> None:
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)
