"""The arguments as click reads them: a default command, and the others by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from graphviz_cli import __version__
from graphviz_cli.cli import config
from graphviz_cli.cli.commands import COMMANDS, Action
from graphviz_cli.cli.help import help_text
from graphviz_cli.cli.options import OPTIONS, Option
from graphviz_cli.cli.streams import Streams
from graphviz_cli.errors import UsageError

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_FOR_PROGRAMS = ("input", "arg", "root", "step", "device", "seed", "train", "cuts",
    "backward", "probe", "grad_output",
)  # fmt: skip
"""Options that say how a target is run, which a saved graph is not."""


def parse(arguments: list[str]) -> Action | None:
    """What the arguments ask for; None where click has already answered (`list --help`).

    Raises UsageError for what cannot be understood.
    """
    group = click.version_option(__version__, "-V", "--version")(
        _Commands("graphviz-cli", context_settings=_CONTEXT)
    )
    try:
        action = group.main(arguments, prog_name="graphviz-cli", standalone_mode=False)
    except click.ClickException as error:
        raise UsageError(error.format_message(), hint=_help_of(error)) from error
    except click.Abort:
        raise KeyboardInterrupt from None
    return action if callable(action) else None


class _Commands(click.Group):
    """A group with a default: the first word is a command only if it is the name of one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = (*self.list_commands(ctx), "draw", "-h", "--help", "-V", "--version")
        if not (args and args[0] in own) and (args or not ctx.resilient_parsing):
            args = ["draw", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "draw":
            return _draw_command()
        for entry in COMMANDS:
            if entry.name == cmd_name:
                module = import_module(entry.place)
                command: click.Command = module.command(entry.name, entry.help)
                command.context_settings.update(_CONTEXT)
                return command
        return None

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(help_text())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        draw = _draw_command()
        with draw.make_context("draw", [], parent=ctx, resilient_parsing=True) as inner:
            items = draw.shell_complete(inner, incomplete)
            if not incomplete.startswith("-"):
                items += target().shell_complete(inner, incomplete)
        return super().shell_complete(ctx, incomplete) + items


class TargetCommand(click.Command):
    """A command on a target, whose defaults also come from the environment and a file."""

    allow_extra_args = True  # refused by us, who know what they may have been meant for

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; those after `--` are the script's. Raises UsageError."""
        ctx.meta["script_arguments"] = ()
        if "--" in args:
            place = args.index("--")
            ctx.meta["script_arguments"] = tuple(args[place + 1 :])
            args = args[:place]
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        if "-h" not in args and "--help" not in args:
            config.check_environment(os.environ)
            ctx.default_map = config.file_defaults(_working_folder())
        try:
            super().parse_args(ctx, args)
        except click.BadParameter as error:
            message = error.format_message().rstrip(".") + "."
            raise UsageError(message + _origin(error), hint=_help_of(error)) from error

        if ctx.args:
            raise _too_many(ctx)
        return ctx.args


def _too_many(context: click.Context) -> UsageError:
    """The error for a word that is left over."""
    argument = next(p for p in context.command.params if isinstance(p, click.Argument))
    word, extra = argument.human_readable_name, context.args[0]
    given = context.params[argument.name or ""]
    command = "graphviz-cli" if context.info_name == "draw" else f"graphviz-cli {context.info_name}"
    hint = f"Arguments of a script come after --: {command} {given} -- {extra}"
    if word != "TARGET":
        hint = f"A graph to look into follows --in: {command} {given} --in {extra}"
    elif context.info_name == "draw":
        import difflib

        names = [entry.name for entry in COMMANDS]
        if close := difflib.get_close_matches(given, names, n=1):
            hint = f"Did you mean graphviz-cli {close[0]} {extra}?"
    return UsageError(f"There is one {word} at a time, and {extra!r} is too many.", hint=hint)


class _Draw(TargetCommand):
    """The default command."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(help_text())


def _draw_command() -> click.Command:
    return _Draw(
        "draw",
        context_settings=_CONTEXT,
        params=[target(), *map(click_option, OPTIONS)],
        callback=_draw,
    )


def target() -> click.Argument:
    """The TARGET of a command."""
    return click.Argument(["target"], type=click.Path())


def click_option(option: Option) -> click.Option:
    """An option as click takes it."""
    attributes: dict[str, Any] = {"envvar": option.variable, "default": option.default}
    if option.value:
        attributes["metavar"] = option.value
    spelling = [*option.flags, option.name]
    if option.kind == "flag":
        spelling[-2] += f"/{option.opposite}" if option.opposite else ""
        attributes["is_flag"] = True
    elif option.kind == "format":
        attributes["shell_complete"] = _complete_format
    else:
        attributes["type"] = _type(option)
    if option.repeatable or option.kind == "list":
        attributes.update(multiple=True, default=())
    return click.Option(spelling, help=option.help, hidden=option.hidden, **attributes)


def _type(option: Option) -> Any:
    if option.kind == "list":
        return _words_of(option.choices)
    if option.choices:
        return click.Choice(option.choices)
    types: Mapping[str, Any] = {
        "path": click.Path(),
        "whole": click.INT,
        "positive": click.IntRange(min=1),
        "seconds": click.FloatRange(min=0, min_open=True),
        "depth": _depth,
    }
    return types.get(option.kind)


def _depth(text: str | int) -> int | str:
    if text in ("auto", "all"):
        return text
    try:
        depth = int(text)
    except ValueError:
        depth = -1
    if depth < 0:
        raise click.BadParameter(f"{text!r} is not a number from 0 on, auto or all.")
    return depth


def _words_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """Check words separated by commas; without choices, all are right."""

    def words(text: str) -> str:
        for word in filter(None, map(str.strip, text.split(","))):
            if choices and word not in choices:
                raise click.BadParameter(f"{word!r} is not one of {', '.join(choices)}.")
        return text

    return words


def _complete_format(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from graphviz_cli import registry

    known = registry.names("exporters")
    return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def _help_of(error: click.ClickException) -> str:
    """Which help lists the options of the command that was used wrongly."""
    context = getattr(error, "ctx", None)
    names = [entry.name for entry in COMMANDS]
    command = f" {context.info_name}" if context and context.info_name in names else ""
    return f"graphviz-cli{command} --help shows all options."


def _origin(error: click.BadParameter) -> str:
    """Where a wrong value stands, if not on the command line."""
    if error.ctx is None or error.param is None or error.param.name is None:
        return ""
    source = error.ctx.get_parameter_source(error.param.name)
    if source is ParameterSource.ENVIRONMENT:
        return f" It comes from {error.param.envvar}."
    if source is ParameterSource.DEFAULT_MAP:
        return " It comes from [tool.graphviz-cli] in pyproject.toml."
    return ""


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def _draw(**options: Any) -> Action:
    context = click.get_current_context()
    target = options["target"]
    refuse_for_saved_graph(context, options)

    def action(streams: Streams) -> int:
        from graphviz_cli.cli.draw import draw
        from graphviz_cli.cli.request import request

        streams.use(options, os.environ)
        return draw(request(target, options, streams, os.environ), streams)

    return action


def refuse_for_saved_graph(context: click.Context, options: dict[str, Any]) -> None:
    """Raise UsageError for an option that says how to run what is not run.

    The arguments of a script, which follow `--`, are added to the options.
    """
    from graphviz_cli.cli.request import is_saved_graph

    target = options["target"]
    options["script_arguments"] = context.meta["script_arguments"]
    given = [
        option.flags[-1]
        for option in OPTIONS
        if option.name in _FOR_PROGRAMS
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if is_saved_graph(target) and (given or options["script_arguments"]):
        what = given[0] if given else "An argument after --"
        raise UsageError(
            f"{what} needs a program to run, and {target} is a saved graph.",
            hint="It was decided when the graph was saved.",
        )
