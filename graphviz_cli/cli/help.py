"""What `--help` prints, without click: importing that costs as much as starting Python."""

from __future__ import annotations

import os
import sys

from graphviz_cli.cli.commands import COMMANDS
from graphviz_cli.cli.options import OPTIONS, Option

_USAGE = """\
Usage: graphviz-cli TARGET [OPTIONS] [-- SCRIPT_ARGS...]
       graphviz-cli COMMAND

Draw the autograd graph of any PyTorch script, module or model: as a text tree
on stdout, or as files with -o.

TARGET:
  script.py                  a script, run with the arguments after "--"
  file.py:attr, pkg.mod:attr a module, a Module class, a function or a tensor
  pkg.mod                    run like `python -m`
  graph.json, -              a saved graph, from a file or stdin
"""

_EXAMPLES = """\
Examples:
  graphviz-cli model.py                          the text tree on the terminal
  graphviz-cli train.py -o net.svg -- --epochs 1 at the first backward() call
  graphviz-cli nets.py:UNet -a depth=4 -i 1x3x256x256 -o unet.pdf
  graphviz-cli torchvision.models:resnet18 -i 8x3x224x224 -o r18.svg -o r18.json
  graphviz-cli r18.json --depth 2 -o overview.png
  graphviz-cli check train.py                    what gets no gradient, and why
  graphviz-cli why train.py encoder.weight       the way to it, or what is in it
  graphviz-cli watch train.py -o run.html        a whole run, step by step

Defaults may stand in [tool.graphviz-cli] of pyproject.toml (depth = 2) and in
the environment (GRAPHVIZ_CLI_DEPTH=2).
"""


def help_text() -> str:
    """The help of the default command and the names of the others."""
    width = _width()
    parts = [_USAGE]
    sections = dict.fromkeys(option.section for option in OPTIONS)
    for section in sections:
        rows = [
            (_spelling(option), option.help)
            for option in OPTIONS
            if option.section == section and not option.hidden
        ]
        if section == "General":
            rows.append(("-V, --version", "Print the version."))
            rows.append(("-h, --help", "Print this."))
        parts.append(_table(section, rows, width))
    parts.append(_table("Other commands", [(entry.name, entry.help) for entry in COMMANDS], width))
    parts.append(_EXAMPLES)
    return "\n".join(parts)


def _spelling(option: Option) -> str:
    text = ", ".join(option.flags)
    if option.opposite:
        text += f" / {option.opposite}"
    return f"{text} {option.value}" if option.value else text


def _table(title: str, rows: list[tuple[str, str]], width: int) -> str:
    # Here and not above, since every command imports this module and most print no help.
    from textwrap import wrap

    indent = 4 + min(24, max(len(term) for term, _ in rows))
    lines = [f"{title}:"]
    for term, text in rows:
        wrapped = wrap(text, width - indent)
        if len(term) + 4 <= indent:
            lines.append(f"  {term.ljust(indent - 2)}{wrapped.pop(0)}")
        else:
            lines.append(f"  {term}")
        lines.extend(" " * indent + line for line in wrapped)
    return "\n".join(lines) + "\n"


def _width() -> int:
    try:
        return max(60, min(100, os.get_terminal_size(sys.__stdout__.fileno()).columns))  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):
        return 80
