"""`graphviz-cli explain`: a backward op, a plug-in, or this very node of a graph."""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import click

from graphviz_cli import registry
from graphviz_cli.cli.clock import Clock
from graphviz_cli.cli.columns_of_text import entry
from graphviz_cli.cli.commands import Action
from graphviz_cli.cli.obtain import obtain
from graphviz_cli.cli.options import OPTIONS
from graphviz_cli.cli.parser import TargetCommand, click_option, refuse_for_saved_graph
from graphviz_cli.cli.report import report
from graphviz_cli.cli.request import is_saved_graph, program_of
from graphviz_cli.cli.streams import Streams
from graphviz_cli.cli.threads import limit_the_wait
from graphviz_cli.drawing.format import counted
from graphviz_cli.errors import UsageError
from graphviz_cli.graph.model import Operator

_USES = {
    "exporters": "-f {}, or -o FILE{}",
    "transforms": "applied by the options of the section View",
    "checks": "graphviz-cli check TARGET -c {}",
    "reports": "graphviz-cli check TARGET --report {}",
    "probes": "--probe {}",
    "charts": "graphviz-cli watch TARGET -f {}, or -o FILE{}",
}
"""How a plug-in of a kind is asked for; the suffix of an exporter follows its name."""

_ADVICE = """\
NAME is a backward op (AddmmBackward0, MulBackward), a forward op of torch (addmm, mul.Scalar) or a
plug-in (svg, fold).

With --in it is a node of that target's graph: a name as the text tree shows it (fc1/AddmmBackward0,
fc1.weight), a variable of the program, the path of a module, or a backward op."""


def command(name: str, help: str) -> click.Command:
    """`graphviz-cli explain NAME [--in TARGET]`."""
    rows = [row for row in OPTIONS if row.section in ("What to run", "General")]
    return TargetCommand(
        name,
        params=[
            click.Argument(["name"]),
            click.Option(
                ["--in", "target"],
                type=click.Path(),
                metavar="TARGET",
                help="A program or a saved graph that has the node.",
            ),
            *(click_option(row) for row in rows if row.name != "ascii"),
        ],
        callback=_explain,
        help=f"{help}\n\n{_ADVICE}",
    )


def _explain(**options: Any) -> Action:
    context = click.get_current_context()
    name = options["name"]
    if options["target"] is None:
        given = [
            option.flags[-1]
            for option in OPTIONS
            if option.section == "What to run"
            and context.get_parameter_source(option.name) is click.core.ParameterSource.COMMANDLINE
        ]
        if given or context.meta["script_arguments"]:
            what = given[0] if given else "An argument after --"
            raise UsageError(
                f"{what} needs a program to run.",
                hint=f"Name it: graphviz-cli explain {name} --in TARGET",
            )

        def tell(streams: Streams) -> int:
            streams.use(options, os.environ)
            streams.write(explanation(name).encode())
            return 0

        return tell
    refuse_for_saved_graph(context, options)

    def show(streams: Streams) -> int:
        streams.use(options, os.environ)
        return _explain_in(name, options, streams)

    return show


def _explain_in(name: str, options: dict[str, Any], streams: Streams) -> int:
    from graphviz_cli.cli.node_facts import node_facts

    target = options["target"]
    program = None if is_saved_graph(target) else program_of(target, options)
    streams.divert()
    obtained = obtain(target, program, streams, Clock(streams, enabled=options["verbose"]))
    lines = node_facts(obtained.graph, name)
    streams.write(("\n".join(lines) + "\n").encode())
    status = 0
    if obtained.failure is not None:
        report(streams, obtained.failure)
        status = obtained.failure.exit_code
    if program is not None and obtained.graph.provenance.step is not None:
        limit_the_wait(streams, status)
    return status


def explanation(name: str) -> str:
    """What is known of a name, a paragraph for everything that bears it.

    Raises UsageError with the closest names if nothing does.
    """
    paragraphs = [*_plugins(name), *_ops(name)]
    if not paragraphs:
        from graphviz_cli.capture.meaning import close_names

        known = {plugin for kind in registry.BUILT_IN for plugin in registry.names(kind)}
        close = difflib.get_close_matches(name.lower(), sorted(known), n=2, cutoff=0.6)
        close += close_names(name)
        hint = f"Did you mean {', '.join(close)}?" if close else ""
        if name.endswith("Backward"):
            own = "Without a number it may be a torch.autograd.Function of a program"
            hint = f"{hint} {own}: graphviz-cli explain {name} --in TARGET".strip()
        raise UsageError(
            f"There is no backward op and no plug-in named {name!r}.",
            hint=hint or "graphviz-cli list names the plug-ins; a node of a graph needs --in.",
        )
    return "\n\n".join("\n".join(lines) for lines in paragraphs) + "\n"


def _plugins(name: str) -> Iterator[list[str]]:
    for kind in registry.BUILT_IN:
        if name in registry.names(kind):
            plugin = registry.plugin_type(kind, name)
            title, advice = registry.describe(plugin)
            use = _USES[kind].format(name, getattr(plugin, "suffix", ""))
            lines = [f"{name}: {kind.removesuffix('s')} of graphviz-cli", *entry("", title)]
            for paragraph in filter(None, advice.split("\n\n")):
                lines += entry("", " ".join(paragraph.split()))
            lines += entry("use", use)
            hints = typing.get_type_hints(plugin)
            for field in dataclasses.fields(plugin):
                if field.init:
                    lines += entry("option", _option(field, hints[field.name]))
            yield lines


def _option(field: dataclasses.Field[Any], hint: Any) -> str:
    kind = _type_text(hint)
    default = field.default.value if isinstance(field.default, Enum) else field.default
    if default is dataclasses.MISSING:
        return f"{field.name}=VALUE ({kind}); must be given"
    shown = str(default).lower() if isinstance(default, bool) else default
    return f"{field.name}={shown} ({kind})"


def _type_text(hint: Any) -> str:
    """What an option takes: its choices, or the name of its type."""
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(str(member.value) for member in hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(map(_type_text, typing.get_args(hint)))
    names = {str: "text", int: "whole number", float: "number", bool: "true | false"}
    if hint in names:
        return names[hint]
    return "none" if hint is type(None) else str(getattr(hint, "__name__", "value"))


def _ops(name: str) -> Iterator[list[str]]:
    from graphviz_cli.capture.meaning import HAND_WRITTEN, backward_ops

    plain = name.removeprefix("torch::autograd::")
    if plain in HAND_WRITTEN:
        yield [
            f"{plain}: backward op that torch writes by hand",
            *entry("", HAND_WRITTEN[plain]),
            *entry("number", "None: only the ops of derivatives.yaml are counted."),
        ]
    for op in backward_ops(name):
        forward = op.operator.schema.partition("(")[0]
        lines = [f"{op.name}: backward op of {forward}"]
        lines += entry("forward", op.operator.schema)
        lines += _formula_lines(op.operator)
        lines += entry("saves", _saves(op.saved))
        if op.is_copy:
            lines += entry("number", f"As of {op.name.removesuffix('_copy')}: the variant of it")
            lines[-1] += " that copies instead of returning a view."
        else:
            lines += _number(op.name, op.number, op.siblings)
        lines += entry("docs", op.documentation or "No public function bears the op's name.")
        yield lines


def _formula_lines(operator: Operator) -> list[str]:
    """The derivative for each input as torch has it; inputs that share one stand together."""
    shared: dict[str, list[str]] = {}
    for name, formula in zip(operator.inputs, operator.formulas):
        shared.setdefault(formula, []).append(name.removesuffix("*"))
    rows = [(", ".join(names), formula) for formula, names in shared.items()]
    width = max((len(names) for names, _ in rows), default=0)
    lines: list[str] = []
    for names, formula in rows:
        text = f"{names.ljust(width)} = {formula}"
        lines += entry("" if lines else "gradients", text, indent=width + 3)
    several = len(operator.outputs) > 1
    meaning = "grads[k] is the gradient that arrives for the k-th result"
    if not several:
        meaning = "grad is the gradient that arrives for the result"
    where = "functions are in torch/csrc/autograd/FunctionsManual.cpp"
    return lines + entry("", f"({meaning}; {where})")


def _saves(saved: Sequence[str]) -> str:
    """What the formulas need of the forward pass."""
    if not saved:
        return "No tensor."
    return f"{', '.join(saved)}: less where an input needs no gradient."


def _number(name: str, number: int, siblings: Sequence[tuple[str, str]]) -> list[str]:
    count = counted(len(siblings), "entry", "entries")
    lines = entry(
        "number",
        f"The {number} is the place among the {count} that torch's derivatives.yaml has for the "
        "op, from 0. It says nothing of depth or order in a graph."
        if len(siblings) > 1
        else f"The {number} is the place among the entries that torch's derivatives.yaml has for "
        "the op: there is only this one. It says nothing of depth or order in a graph.",
    )
    if len(siblings) > 1:
        for other, schema in siblings:
            mark = ">" if other == name else " "
            lines += entry("", f"{mark} {other}  {schema}", indent=4)
    return lines
