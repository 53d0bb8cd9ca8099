"""Where in the user's code a torch call comes from, cheaply enough to ask at every call.

While the program runs only the code object and the instruction in it are kept; lines, columns and
names are found afterwards, in `source.py`.
"""

from __future__ import annotations

import dis
import linecache
from types import CodeType, FrameType
from typing import Final

from torch.overrides import handle_torch_function

from graphviz_cli.capture import private_calls
from graphviz_cli.capture.callers import begin, is_library, is_ours, is_torch


class Site:
    """An instruction of a code object: where a frame stands when it makes a call."""

    __slots__ = ("code", "is_border", "is_module_call", "is_user", "is_visible", "lasti", "returns")

    def __init__(self, code: CodeType, lasti: int) -> None:
        self.code = code
        self.lasti = lasti
        """Byte offset of the instruction, as `frame.f_lasti`."""
        self.is_module_call = code in _MODULE_CALLS
        self.is_border = self.is_module_call or code is begin.__code__
        """A search for the user's code goes no further out."""
        hidden = code.co_filename.startswith(_GENERATED) or is_torch(code) or is_ours(code)
        self.is_visible = not hidden
        self.is_user = not hidden and not is_library(code)
        self.returns = code in _PASSED_ON or _is_returned(code, lasti)
        """The value of the expression goes to the caller as it is."""


class Unsought:
    """Stands for a site that nobody asked for yet."""


UNSOUGHT: Final = Unsought()

Origin = tuple[int, Site | None, *tuple[Site, ...]]
"""Where an op comes from: the mask that says what value it gave (`Sources.variables`), the site to
show, and the sites whose expression has this very value, innermost first."""


class Sites:
    """All sites that were met."""

    def __init__(self) -> None:
        self._known: dict[int, Site] = {}
        self.ended: int | None = None
        """The id of the frame of the module call that ended last, as long as no other has begun:
        torch may run hooks in it still, outside of the call."""

    def of(self, frame: FrameType) -> Site:
        """The instruction at which `frame` stands."""
        # The bytecode lies inside the code object, so no two instructions share this number while
        # both live, and `_known` keeps them alive. Hashing a code object would cost microseconds.
        key = id(frame.f_code) + frame.f_lasti
        site = self._known.get(key)
        if site is None:
            site = self._known[key] = Site(frame.f_code, frame.f_lasti)
            if site.is_visible:
                # Read now: the program may change its folder, or delete its own files.
                linecache.getlines(site.code.co_filename, frame.f_globals)
        return site

    def origin(
        self, mask: int, frame: FrameType | None, outer_sites: list[Site | Unsought | None]
    ) -> Origin:
        """Where the call that `frame` is making comes from.

        Shown is the innermost site of the user's own code; where there is none, the innermost of
        an installed package; else None. `outer_sites` has an entry for each running module call
        and is filled on the way.
        """
        known = self._known
        shown = library = None
        receivers = []
        passed_on = True
        while frame is not None:
            site = known.get(id(frame.f_code) + frame.f_lasti) or self.of(frame)
            if site.is_border and id(frame) != self.ended:
                if shown is None and site.is_module_call:
                    around = self._site_around(frame, outer_sites)
                    if library is None or (around is not None and around.is_user):
                        library = around
                break
            if site.is_visible:
                if passed_on:
                    receivers.append(site)
                if shown is None:
                    if site.is_user:
                        shown = site
                    elif library is None:
                        library = site
            if passed_on:
                passed_on = site.returns
            if not passed_on and shown is not None:
                break
            frame = frame.f_back
        return (mask, shown or library, *receivers)

    def receivers(self, mask: int, frame: FrameType | None) -> Origin:
        """The origin, without a site to show, of the value that `frame` is about to receive."""
        known = self._known
        receivers = []
        while frame is not None:
            site = known.get(id(frame.f_code) + frame.f_lasti) or self.of(frame)
            if site.is_border:
                break
            if site.is_visible:
                receivers.append(site)
            if not site.returns:
                break
            frame = frame.f_back
        return (mask, None, *receivers)

    def _site_around(
        self, frame: FrameType | None, outer_sites: list[Site | Unsought | None]
    ) -> Site | None:
        """The site to show of what is around the innermost running module call.

        `frame` is torch's for that call. What is found is noted in `outer_sites`, so that it is
        sought once per module call and not once per op.
        """
        found: Site | None = None
        libraries: list[Site | None] = []
        while frame is not None and len(libraries) < len(outer_sites):
            known = outer_sites[-1 - len(libraries)]
            if not isinstance(known, Unsought):
                found = known
                break
            libraries.append(None)
            frame = frame.f_back
            while frame is not None and not (site := self.of(frame)).is_border:
                if site.is_user:
                    found, frame = site, None
                    break
                if site.is_visible and libraries[-1] is None:
                    libraries[-1] = site
                frame = frame.f_back
            if frame is not None and not site.is_module_call:
                break
        for depth, library in zip(range(len(libraries), 0, -1), reversed(libraries)):
            if found is None or not found.is_user:
                found = library or found
            outer_sites[-depth] = found
        return found


def _is_returned(code: CodeType, lasti: int) -> bool:
    """Whether the next thing done with the value of an instruction is to return it."""
    bytecode = code.co_code
    following = lasti + 2
    while following < len(bytecode) and bytecode[following] == _CACHE:
        following += 2
    return following < len(bytecode) and bytecode[following] == _RETURN_VALUE


_CACHE = dis.opmap["CACHE"]
_RETURN_VALUE = dis.opmap["RETURN_VALUE"]
_GENERATED = ("<frozen ", "<eval_with_key>")
"""Modules inside the interpreter, and code that torch.fx writes."""
_MODULE_CALLS = private_calls.module_call_code()
_PASSED_ON = (handle_torch_function.__code__, *private_calls.decorator_code())
"""Of functions that give what another one gave them."""
