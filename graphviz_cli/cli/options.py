"""The options of the default command, as rows that the parser, the help and the settings read."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["text", "list", "path", "format", "whole", "seconds", "positive", "depth", "flag"]
Section = Literal["What to run", "Output", "View", "General", "Check", "Watch"]

ENVIRONMENT_PREFIX = "GRAPHVIZ_CLI_"


class Option(NamedTuple):
    """One option.

    `flags` are its spellings, the long one last; a flag that has an opposite carries it in
    `opposite`. A "list" takes values separated by commas and may be repeated.
    """

    flags: tuple[str, ...]
    section: Section
    help: str
    value: str = ""
    """What stands for its value in the help; empty for a flag."""
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    default: str | int | float | bool | None = None
    opposite: str = ""
    repeatable: bool = False
    hidden: bool = False

    @property
    def key(self) -> str:
        """Its name in a settings file."""
        return self.flags[-1].removeprefix("--")

    @property
    def name(self) -> str:
        """Its name as a Python identifier."""
        return self.key.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return ENVIRONMENT_PREFIX + self.name.upper()


OPTIONS: tuple[Option, ...] = (
    Option(
        ("-i", "--input"),
        "What to run",
        'Input of a module: a shape ("8x3x224x224"), or a name, a type, a shape and a bound '
        '("ids=int64:2x32<50257"). Repeatable.',
        value="[NAME=]SPEC",
        repeatable=True,
    ),
    Option(
        ("-a", "--arg"),
        "What to run",
        "Argument of a Module class or a function, e.g. -a depth=12. Repeatable.",
        value="KEY=VALUE",
        repeatable=True,
    ),
    Option(
        ("-r", "--root"),
        "What to run",
        'Tensor to start from: a variable, or an output such as "logits"; "all" takes every one. '
        "[default: the loss, else what no other tensor is computed from]",
        value="NAME",
    ),
    Option(
        ("--step",),
        "What to run",
        "Take the graph at the N-th backward call of a script. [default: 1]",
        value="N",
        kind="positive",
    ),
    Option(
        ("--device",),
        "What to run",
        "auto, cpu, cuda or cuda:N; auto is CUDA when available. [default: auto]",
        value="NAME",
        default="auto",
    ),
    Option(
        ("--seed",),
        "What to run",
        "Seed of torch's random numbers. [default: 0]",
        value="N",
        kind="whole",
        default=0,
    ),
    Option(
        ("--train",),
        "What to run",
        "Put the module into training or evaluation mode first. [default: leave it]",
        kind="flag",
        opposite="--eval",
    ),
    Option(
        ("--cuts",),
        "What to run",
        "Look for the places where the gradient is lost. [default: cuts]",
        kind="flag",
        opposite="--no-cuts",
        default=True,
    ),
    Option(
        ("--backward",),
        "What to run",
        "Run the backward pass and measure its gradients; .grad is left as it was.",
        kind="flag",
        default=False,
    ),
    Option(
        ("--probe",),
        "What to run",
        "Measure with gradient, gradient-values, backward-time, forward-time, saved-bytes, or "
        "another that `list probes` names. Repeatable. [default: gradient, with --backward]",
        value="NAME[:OPTION=VALUE]",
        repeatable=True,
    ),
    Option(
        ("--grad-output",),
        "What to run",
        "Where the backward pass starts: ones, sum, mean, numbers (1,0.1), a .pt or .npy file; "
        "NAME=... for one root. Repeatable. [default: as the script's call, else ones]",
        value="[NAME=]VECTOR",
        repeatable=True,
    ),
    Option(
        ("-o", "--output"),
        "Output",
        'Write a file; its suffix tells the format. "-" is stdout. Repeatable.',
        value="FILE",
        kind="path",
        repeatable=True,
    ),
    Option(
        ("-f", "--format"),
        "Output",
        "tree, svg, pdf, png, dot, mermaid, json, or another that `list exporters` names; wins "
        "over the suffix. [default: tree]",
        value="NAME",
        kind="format",
    ),
    Option(("--title",), "Output", "Title of the picture.", value="TEXT", default=""),
    Option(
        ("--timeout",),
        "Output",
        "Give up a layout by Graphviz after so many seconds.",
        value="SECONDS",
        kind="seconds",
    ),
    Option(
        ("-d", "--depth"),
        "View",
        "Levels of modules to open: a number, all, or auto (about 200 boxes). [default: auto]",
        value="N",
        kind="depth",
        default="auto",
    ),
    Option(
        ("-m", "--module"),
        "View",
        'Only these modules, with their border, e.g. "transformer.h.0.*".',
        value="GLOB",
        default="",
    ),
    Option(("--fold",), "View", "Keep these modules closed.", value="GLOB", default=""),
    Option(
        ("--repeats",),
        "View",
        "Draw equal consecutive blocks once. [default: repeats]",
        kind="flag",
        opposite="--no-repeats",
        default=True,
    ),
    Option(
        ("--show",),
        "View",
        "Also show: views, saved, source, dtype, formula, values; several with commas.",
        value="WHAT",
        kind="list",
        choices=("views", "saved", "source", "dtype", "formula", "values"),
    ),
    Option(
        ("--by",),
        "View",
        "Text tree: an outline by modules, or the ops in autograd's order. [default: modules]",
        value="modules|ops",
        choices=("modules", "ops"),
        default="modules",
    ),
    Option(
        ("-c", "--columns"),
        "View",
        "Columns of the text tree, e.g. shape,dtype,params,saved,source.",
        value="NAMES",
        kind="list",
    ),
    Option(
        ("--direction",),
        "View",
        "Where the forward pass runs in a picture. [default: down]",
        value="down|up|right|left",
        choices=("down", "up", "right", "left"),
        default="down",
    ),
    Option(
        ("--heat",),
        "View",
        "Colour by a fact: memory (bytes kept for backward), gradient, time, or another that a "
        "probe has measured.",
        value="NAME",
    ),
    Option(
        ("--theme",),
        "View",
        "auto (light), light, dark, print or torchviz. [default: auto]",
        value="NAME",
        choices=("auto", "light", "dark", "print", "torchviz"),
        default="auto",
    ),
    Option(
        ("--color",),
        "General",
        "Also by NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, CLICOLOR=0. [default: auto]",
        value="auto|always|never",
        choices=("auto", "always", "never"),
        default="auto",
    ),
    Option(
        ("--ascii",),
        "General",
        "Draw the tree with ASCII only; automatic where stdout cannot encode the rest.",
        kind="flag",
        default=False,
    ),
    Option(("-q", "--quiet"), "General", "No notes on stderr.", kind="flag", default=False),
    Option(
        ("-v", "--verbose"),
        "General",
        "Timings, and a traceback if this program fails.",
        kind="flag",
        default=False,
    ),
    Option(
        ("--fast-start",),
        "General",
        "Keep the garbage collector away from the modules of torch.",
        kind="flag",
        opposite="--no-fast-start",
        default=True,
        hidden=True,
    ),
)

CHECK_OPTIONS: tuple[Option, ...] = (
    Option(
        ("-c", "--check"),
        "Check",
        "A check, with its options: saved-bytes:max=2GB. Repeatable; `all` stands for every one "
        "that needs no option. [default: all]",
        value="NAME[:OPTION=VALUE]",
        repeatable=True,
    ),
    Option(
        ("--report",),
        "Check",
        "text, json, github, sarif or junit, to stdout or to a file. Repeatable; github comes by "
        "itself under GITHUB_ACTIONS=true. [default: text]",
        value="NAME[:FILE]",
        repeatable=True,
    ),
    Option(
        ("--fail-on",),
        "Check",
        "The least severity that makes the command exit with 1. [default: error]",
        value="error|warning|note",
        choices=("error", "warning", "note"),
        default="error",
    ),
    Option(
        ("--exit-zero",),
        "Check",
        "Exit with 0 whatever is found.",
        kind="flag",
        default=False,
    ),
)
"""The options that `check` has besides those on what to run."""

WATCH_OPTIONS: tuple[Option, ...] = (
    Option(
        ("--every",),
        "Watch",
        "Measure each N-th backward call only. [default: 1]",
        value="N",
        kind="positive",
        default=1,
    ),
    Option(
        ("--until",),
        "Watch",
        "Stop the program once its N-th backward call is done. [default: its end]",
        value="N",
        kind="positive",
    ),
)
"""The options that `watch` has besides."""
