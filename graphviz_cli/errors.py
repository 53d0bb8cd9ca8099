"""Everything that can be told to the user in one sentence, with a hint."""

from typing import ClassVar


class GraphvizCliError(Exception):
    """A condition that the user can act on.

    `message` is one sentence that says what is wrong, `hint` what to do about it. `exit_code` is
    the status with which the command ends.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GraphvizCliError):
    """The command line, or an argument of the Python API, cannot be understood."""


class SavedGraphError(GraphvizCliError):
    """A saved graph is damaged, or of a version that this program does not know."""


class OutputError(GraphvizCliError):
    """A result cannot be written where it should go."""


class TargetError(GraphvizCliError):
    """The target could not be loaded or run.

    When the user's own code raised, it is the `__cause__`, its traceback cut down to the user's
    frames.
    """

    exit_code = 3


class NoGraphError(GraphvizCliError):
    """The target ran, but no tensor that it left behind carries a graph."""

    exit_code = 4


class RendererError(GraphvizCliError):
    """Graphviz is missing, failed, or took too long."""

    exit_code = 5


class LayoutTimeoutError(RendererError):
    """Graphviz took too long; `dot` is the text that it was given, for a layout by hand."""

    def __init__(self, message: str, *, hint: str, dot: bytes) -> None:
        super().__init__(message, hint=hint)
        self.dot = dot
