"""Errors: one line and a hint."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from graphviz_cli.cli import app
from graphviz_cli.cli.report import report, say_error
from graphviz_cli.cli.streams import Streams
from graphviz_cli.errors import TargetError, UsageError


def test_a_hint_of_several_lines_is_indented(capfd):
    say_error(Streams({}), "Nothing to draw.", "one\ntwo")
    assert capfd.readouterr().err == "error: Nothing to draw.\n  one\n  two\n"


def test_colour_marks_the_word_error_and_nothing_of_the_message(capfd):
    streams = Streams({})
    streams.color = True
    say_error(streams, "Nothing to draw.")
    assert capfd.readouterr().err == "\x1b[1;31merror:\x1b[0m Nothing to draw.\n"


def test_what_stderr_cannot_encode_is_escaped(capfd):
    streams = Streams({})
    streams.err_encoding = "ascii"
    say_error(streams, "There is no ‘naïve’.")
    assert capfd.readouterr().err == "error: There is no \\u2018na\\xefve\\u2019.\n"


def test_the_users_exception_comes_first_and_as_python_shows_it(capfd):
    try:
        try:
            raise ExceptionGroup("several", [KeyError("inner")])
        except ExceptionGroup as group:
            raise ValueError("outer") from group
    except ValueError as error:
        failure = TargetError("net.py raised ValueError.")
        failure.__cause__ = error
    report(Streams({}), failure)
    text = capfd.readouterr().err
    assert "KeyError: 'inner'" in text
    assert text.endswith("ValueError: outer\nerror: net.py raised ValueError.\n")


def test_what_caused_an_error_of_ours_is_not_shown(capfd):
    try:
        raise UsageError("Cannot read net.json.") from OSError("detail")
    except UsageError as error:
        report(Streams({}), error)
    assert capfd.readouterr().err == "error: Cannot read net.json.\n"


def test_the_programs_own_excepthook_shows_its_exception(capfd, monkeypatch):
    monkeypatch.setattr("sys.excepthook", lambda kind, error, tb: os.write(1, str(error).encode()))
    failure = TargetError("net.py raised ValueError.")
    failure.__cause__ = ValueError("shape")
    report(Streams({}), failure)
    out, err = capfd.readouterr()
    assert out == "shape" and err == "error: net.py raised ValueError.\n"


def test_an_excepthook_that_fails_hides_nothing(capfd, monkeypatch):
    monkeypatch.setattr("sys.excepthook", lambda: None)
    failure = TargetError("net.py raised ValueError.")
    failure.__cause__ = ValueError("shape")
    report(Streams({}), failure)
    assert "ValueError: shape" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (KeyError("x"), 70, "Internal error: KeyError: 'x'"),
        (RecursionError("deep"), 70, "Internal error: RecursionError: deep"),
        (MemoryError(), 70, "not enough memory"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_no_traceback_of_ours_reaches_the_user(capfd, monkeypatch, raised, status, words):
    def fail(arguments, streams):
        raise raised

    monkeypatch.setattr(app, "_run", fail)
    assert app.run(["net.json"], Streams({})) == status
    text = capfd.readouterr().err
    assert words in text and "Traceback" not in text


def test_verbose_shows_where_this_program_failed(capfd, monkeypatch):
    monkeypatch.setattr(app, "_run", lambda arguments, streams: {}["missing"])
    assert app.run(["net.json", "-v"], Streams({})) == 70
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    "listens",
    [
        "",
        "torch.nn.modules.module.register_module_forward_hook(lambda *given: None)",
        "net.inner.register_forward_pre_hook(lambda *given: None)",
        "net.register_full_backward_hook(lambda *given: None)",
    ],
)
def test_a_traceback_through_modules_is_that_of_plain_python(run, tmp_path, listens):
    program = f"""
import torch
class Inner(torch.nn.Module):
    def forward(self, x):
        return x @ torch.ones(7, 7)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner = torch.nn.Linear(3, 3), Inner()
    def forward(self, x):
        return self.inner(self.first(x))
net = Net()
{listens}
net(torch.ones(2, 3)).sum().backward()
"""
    script = tmp_path / "net.py"
    script.write_text(program)
    plain = subprocess.run([sys.executable, script], stderr=subprocess.PIPE, check=False)
    told = run(script).stderr
    assert told == plain.stderr + b"error: net.py raised RuntimeError.\n"
