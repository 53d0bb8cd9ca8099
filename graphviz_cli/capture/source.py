"""What the user wrote: the expression at an instruction, and the variable that receives it."""

from __future__ import annotations

import ast
import io
import linecache
import os
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

from graphviz_cli.capture.frames import Site
from graphviz_cli.graph.model import SourceLocation

Span = tuple[int, int, int, int]
"""First and last line, from 1; first column and the one after the last, from 0, in UTF-8 bytes."""

SINGLE = -1
"""In place of a mask of outputs: the value is one tensor."""
CHANGED = -2
"""In place of a mask of outputs: there is no value, a tensor was changed (`x[0] = y`)."""

_TEXT_LENGTH = 120
_NAME_LENGTH = 40
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_NOTEBOOK_FOLDER = "ipykernel_"
_LINE_BREAK = re.compile(r"(?<=[(\[{])\s*\n\s*|\s*\n\s*(?=[.)\]}])")
"""Between lines that need no space between them."""


class Sources:
    """Reads the user's source files.

    Relative file names start at the folder in which the program began, and what can be imported
    is looked for where that was possible then.
    """

    def __init__(self) -> None:
        try:
            self._folder = os.getcwd()  # noqa: PTH109 - deleted under us, it stays a text
        except FileNotFoundError:
            self._folder = ""
        self._search_path = [os.path.join(self._folder, entry) for entry in sys.path]  # noqa: PTH118
        self._files: dict[str, SourceFile] = {}

    def location(self, site: Site, mask: int = SINGLE) -> SourceLocation:
        """The expression that `site` evaluates, or the assignment if `mask` is CHANGED.

        There are no columns where Python was told not to keep them (`-X no_debug_ranges`), and no
        text where the source is not to be had. `end_column` is the one after the last character.
        """
        file = self._file(site)
        span = _span(site)
        if span is None:
            line = next(islice(site.code.co_positions(), site.lasti // 2, None))[0]
            line = line or site.code.co_firstlineno
            return SourceLocation(file.shown_as, line, function=site.code.co_qualname)
        span = file.assignment(span) if mask == CHANGED else file.whole(span)
        first, last, start, end = span
        return SourceLocation(
            file=file.shown_as,
            line=first,
            column=file.characters(first, start) + 1,
            end_line=last,
            end_column=file.characters(last, end) + 1,
            function=site.code.co_qualname,
            text=_shortened(file.text(span), _TEXT_LENGTH),
        )

    def variables(self, site: Site, mask: int) -> tuple[str, ...]:
        """The variables to which the value of the expression at `site` is bound.

        `mask` says what the value is: SINGLE, CHANGED, or that it is a tuple, with bit k set if its
        element k is an output of the op in question. Empty unless the whole of what is assigned is
        this expression.
        """
        span = _span(site)
        if span is None:
            return ()
        file = self._file(site)
        targets = file.changed(span) if mask == CHANGED else file.targets(span)
        return tuple(dict.fromkeys(name for target in targets for name in _names(target, mask)))

    def _file(self, site: Site) -> SourceFile:
        name = site.code.co_filename
        file = self._files.get(name)
        if file is None:
            shown_as = _shown_as(name, self._folder, self._search_path)
            file = self._files[name] = SourceFile(name, shown_as)
        return file


class SourceFile:
    """The lines of a file, or of a notebook's cell; there are none where they cannot be had."""

    def __init__(self, name: str, shown_as: str) -> None:
        self.shown_as = shown_as
        self._name = name

    @cached_property
    def _lines(self) -> list[str]:
        return linecache.getlines(self._name)

    @cached_property
    def _tree(self) -> ast.Module:
        try:
            return ast.parse("".join(self._lines))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.Module([], [])

    def characters(self, line: int, column: int) -> int:
        """How many characters of a line come before a column that counts bytes."""
        if line > len(self._lines) or self._lines[line - 1].isascii():
            return column
        return len(self._lines[line - 1].encode()[:column].decode(errors="replace"))

    def text(self, span: Span) -> str:
        """What stands there, on one line and without comments."""
        first, last, start, end = span
        lines = [line.encode() for line in self._lines[first - 1 : last]]
        if len(lines) != last - first + 1:
            return ""
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
        text = b"".join(lines).decode(errors="replace")
        if len(lines) > 1:
            text = _LINE_BREAK.sub("", _without_comments(text).replace("\\\n", "\n"))
        return " ".join(text.split())

    def whole(self, span: Span) -> Span:
        """The span of the whole expression, where Python gives that of its end only.

        It places a method call that goes over several lines at the name of the method:
        `update_start_location_to_match_attr` in Python/compile.c.
        """
        line = self._lines[span[0] - 1 : span[0]]
        if line and line[0].encode()[: span[2]].rstrip().endswith(b"."):
            for node in self._nodes(span[0]):
                if isinstance(node, ast.Call) and span in _spans(node):
                    return _spans(node)[0]
        return span

    def assignment(self, span: Span) -> Span:
        """The span of the assignment to what stands at `span`, if there is one."""
        for node in self._nodes(span[0]):
            if isinstance(node, ast.Assign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(span in _spans(target) for target in targets):
                    return _spans(node)[0]
        return span

    def targets(self, span: Span) -> Iterator[ast.expr]:
        """What the value of the expression at `span` is assigned to."""
        for node in self._nodes(span[0]):
            pairs: list[tuple[ast.expr, ast.expr | ast.stmt]] = []
            if isinstance(node, ast.Assign):
                pairs += [(target, node.value) for target in node.targets]
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                pairs.append((node.target, node.value))
            elif isinstance(node, ast.AugAssign):
                pairs.append((node.target, node))
            # Grows while it is read: by the two sides of a condition, by the parts of a tuple.
            for target, value in pairs:
                if span in _spans(value):
                    yield target
                elif isinstance(value, ast.IfExp):
                    pairs += [(target, value.body), (target, value.orelse)]
                elif isinstance(value, ast.Tuple | ast.List):
                    pairs += _matched(target, value)

    def changed(self, span: Span) -> Iterator[ast.expr]:
        """The tensor that an assignment to `x[...]` at `span` changes."""
        for node in self._nodes(span[0]):
            if isinstance(node, ast.Subscript) and span in _spans(node):
                yield node.value

    def _nodes(self, line: int) -> Iterator[ast.AST]:
        """The syntax tree's nodes in all statements around a line, less those in other lines'."""
        around: list[ast.AST] = [self._tree]
        for part in around:
            nodes = [part]
            for node in nodes:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.stmt):
                        if child.lineno <= line <= (child.end_lineno or child.lineno):
                            around.append(child)
                    else:
                        nodes.append(child)
            yield from nodes


def _span(site: Site) -> Span | None:
    first, last, start, end = next(islice(site.code.co_positions(), site.lasti // 2, None))
    if first is None or last is None or start is None or end is None:
        return None
    return first, last, start, end


def _spans(node: ast.expr | ast.stmt) -> tuple[Span, ...]:
    """Where an expression stands; of a method call over several lines also where Python puts it."""
    last, end = node.end_lineno or node.lineno, node.end_col_offset or 0
    whole = (node.lineno, last, node.col_offset, end)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        line, column = node.func.end_lineno or node.lineno, node.func.end_col_offset or 0
        if line != node.lineno:
            return whole, (line, last, column - len(node.func.attr.encode()), end)
    return (whole,)


def _matched(
    target: ast.expr, value: ast.Tuple | ast.List
) -> list[tuple[ast.expr, ast.expr | ast.stmt]]:
    """The pairs of `a, b = x, y`; none where a star hides what goes where."""
    if not isinstance(target, ast.Tuple | ast.List) or len(target.elts) != len(value.elts):
        return []
    if any(isinstance(part, ast.Starred) for part in (*target.elts, *value.elts)):
        return []
    return list(zip(target.elts, value.elts))


def _names(target: ast.expr, mask: int) -> Iterator[str]:
    """The variables in a target that hold outputs of the op."""
    if isinstance(target, ast.Name | ast.Attribute | ast.Subscript):
        name = " ".join(ast.unparse(target).split())
        if name != "_":
            yield _shortened(name, _NAME_LENGTH)
    elif isinstance(target, ast.Tuple | ast.List) and mask >= 0:
        starred = any(isinstance(part, ast.Starred) for part in target.elts)
        if starred and mask & (mask + 1):
            return  # some element is no output, and the star hides which
        for position, part in enumerate(target.elts):
            if isinstance(part, ast.Starred):
                yield from _names(part.value, SINGLE)
            elif starred or mask >> position & 1:
                yield from _names(part, SINGLE)


def _without_comments(text: str) -> str:
    """The text of an expression without the comments between its lines."""
    # In parentheses, since the expression may need those around it to go over several lines.
    lines = f"({text}\n)".splitlines(keepends=True)
    try:
        for token in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column] + "\n"
    except (tokenize.TokenError, SyntaxError):
        return text
    return "".join(lines)[1:].rstrip().removesuffix(")")


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _shown_as(name: str, folder: str, search_path: Iterable[str]) -> str:
    """The name of a source file without what differs from machine to machine.

    Relative to the folder of installed packages, else to the folder in which the program began,
    else to the nearest folder from which it could be imported; else its bare name.
    """
    path = Path(os.path.normpath(os.path.join(folder, name)))  # noqa: PTH118
    is_cell = path.name.startswith("<") or path.parent.name.startswith(_NOTEBOOK_FOLDER)
    if is_cell or not path.is_absolute():
        return path.name
    for position in range(len(path.parts) - 1, 0, -1):
        if path.parts[position - 1] in _PACKAGE_FOLDERS:
            return "/".join(path.parts[position:])
    importable = sorted(search_path, key=len, reverse=True)
    for base in map(Path, (folder, sysconfig.get_path("stdlib"), *importable)):
        if not base.is_absolute():
            continue
        for file, place in ((path, base), (path.resolve(), base.resolve())):
            if file.is_relative_to(place):
                return file.relative_to(place).as_posix()
    return path.name
