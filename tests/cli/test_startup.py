"""What is not needed is not imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import environment

SHOW_MODULES = """
import sys
from graphviz_cli.__main__ import main
status = main()
print("modules:", *sys.modules, file=sys.stderr)
sys.exit(status)
"""


def modules_of(*arguments, cwd):
    ran = subprocess.run(
        [sys.executable, "-c", SHOW_MODULES, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.rpartition("modules: ")[2].split())


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_what_is_asked_most_waits_for_nothing(tmp_path, argument):
    loaded = modules_of(argument, cwd=tmp_path)
    assert not loaded & {"torch", "click", "dataclasses", "graphviz_cli.graph.model"}


@pytest.mark.parametrize("arguments", [["list"], ["doctor"]])
def test_the_other_commands_do_not_load_torch(tmp_path, arguments):
    assert "torch" not in modules_of(*arguments, cwd=tmp_path)


@pytest.mark.parametrize("suffix", ["svg", "txt", "json"])
def test_a_saved_graph_is_drawn_without_torch_and_what_others_need(saved, suffix):
    loaded = modules_of(saved, "-o", f"net.{suffix}", cwd=saved.parent)
    assert not loaded & {"torch", "rich", "yaml", "graphviz", "graphviz_cli.capture"}
    assert "graphviz_cli.checks.torch_errors" not in loaded


def test_the_public_names_are_there_and_torch_waits_for_the_one_that_needs_it(saved):
    program = (
        "import sys, graphviz_cli as g\n"
        f"graph = g.load({str(saved)!r})\n"
        "assert isinstance(graph, g.Graph) and len(graph.nodes) == 36\n"
        "assert 'torch' not in sys.modules\n"
        "capture_tensors = g.capture_tensors\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "assert len(capture_tensors(torch.ones(2, requires_grad=True) * 2).nodes) == 2\n"
        "assert not hasattr(g, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)
