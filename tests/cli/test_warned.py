"""Listening to torch's warnings without changing what the user sees."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from graphviz_cli.cli.warned import Warned


def test_a_warning_of_torchs_is_heard_with_the_users_line_and_still_shown() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with Warned() as warned:
            checkpoint(torch.exp, torch.ones(3), use_reentrant=True)
            warnings.warn("not torch's", stacklevel=1)
    ((text, place),) = warned.messages
    assert text.startswith("None of the inputs have requires_grad=True")
    assert place is not None and place.file.endswith("test_warned.py")
    assert place.text == "checkpoint(torch.exp, torch.ones(3), use_reentrant=True)"
    assert [str(warning.message) for warning in shown] == [text, "not torch's"]


def test_what_a_program_puts_in_place_of_showwarning_stays() -> None:
    before = warnings.showwarning

    def own(*args: object, **options: object) -> None:
        """The program's own way to show warnings."""

    try:
        with Warned():
            warnings.showwarning = own
        assert warnings.showwarning is own
    finally:
        warnings.showwarning = before


def test_nothing_is_left_behind() -> None:
    before = warnings.showwarning
    with Warned():
        assert warnings.showwarning is not before
    assert warnings.showwarning is before


@pytest.mark.parametrize("command", [(), ("watch",)])
def test_warnings_stand_at_the_lines_where_python_has_them(
    run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Those from torch's C++ code, which knows only the innermost line of Python."""
    program = tmp_path / "train.py"
    program.write_text(
        "import torch\n"
        "x = torch.ones(1, requires_grad=True)\n"
        "for _ in range(2):\n"
        "    y = x.std()\n"
        "y = torch.nn.Flatten(0)(x).var() + y\n"
        "y.backward()\n"
    )
    plain = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert plain.stderr.count("UserWarning") == 2
    told = run(*command, program, "-q").stderr.decode()
    assert told == plain.stderr
