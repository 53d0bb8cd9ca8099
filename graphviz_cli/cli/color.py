"""Whether a stream gets colours, decided in one place."""

from __future__ import annotations

from collections.abc import Mapping


def wants_color(choice: str, environment: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Decide by `--color`, then NO_COLOR, FORCE_COLOR or CLICOLOR_FORCE, CLICOLOR, the terminal.

    An empty variable counts as unset, as no-color.org and bixense.com/clicolors say.
    """
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    forcing = (environment.get("FORCE_COLOR", ""), environment.get("CLICOLOR_FORCE", ""))
    if any(value not in ("", "0") for value in forcing):
        return True
    if environment.get("CLICOLOR") == "0":
        return False
    return is_terminal and environment.get("TERM") != "dumb"
