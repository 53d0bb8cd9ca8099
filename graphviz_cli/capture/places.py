"""Where in the user's own code something happened."""

from __future__ import annotations

import sys

from graphviz_cli.capture.callers import is_library, outward
from graphviz_cli.capture.frames import Site
from graphviz_cli.capture.source import Sources
from graphviz_cli.graph.model import SourceLocation


def place_of_failure(error: BaseException) -> SourceLocation | None:
    """The user's expression that raised: the innermost one outside of libraries."""
    site, entry = None, error.__traceback__
    while entry is not None:
        if not is_library(entry.tb_frame.f_code):
            site = Site(entry.tb_frame.f_code, entry.tb_lasti)
        entry = entry.tb_next
    return None if site is None else Sources().location(site)


def place_of_caller() -> SourceLocation | None:
    """The user's expression that is running: the innermost one outside of libraries."""
    for frame in outward(sys._getframe()):
        if not is_library(frame.f_code):
            return Sources().location(Site(frame.f_code, frame.f_lasti))
    return None
