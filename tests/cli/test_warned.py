"""Listening to torch's warnings without changing what the user sees."""

from __future__ import annotations

import warnings

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
