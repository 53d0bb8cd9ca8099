"""The one grammar that asks for plug-ins."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import pytest

from graphviz_cli import registry
from graphviz_cli.errors import UsageError


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Sample:
    """A title.

    And advice.
    """

    depth: int | Literal["auto", "all"] = "auto"
    limit: int = 0
    share: float = 0.5
    loud: bool = False
    colour: Colour = Colour.RED
    name: str | None = None


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"sample": "tests.test_registry:Sample"}
    monkeypatch.setitem(registry.BUILT_IN, "transforms", table)  # type: ignore[arg-type]
    monkeypatch.setitem(globals(), "Sample", Sample)
    monkeypatch.setattr(registry, "import_module", lambda _: __import__("sys").modules[__name__])


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sample", Sample()),
        ("sample:depth=3", Sample(depth=3)),
        ("sample:depth=all,loud", Sample(depth="all", loud=True)),
        ("sample:limit=2GB,share=.25", Sample(limit=2 * 10**9, share=0.25)),
        ("sample:limit=1e3", None),
        ("sample:loud=no,colour=red,name=x", Sample(name="x")),
        ("sample:name=none", Sample()),
    ],
)
def test_options_take_the_type_of_their_field(text: str, expected: Sample | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match="cannot be"):
            registry.create("transforms", text)
    else:
        assert registry.create("transforms", text) == expected


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("smaple", "no transform named 'smaple'", "Did you mean 'sample'"),
        ("sample:deep=1", "no option 'deep'", "depth, limit"),
        ("sample:depth=x", "cannot be 'x'", "a whole number or auto, all"),
        ("sample:loud=perhaps", "cannot be 'perhaps'", "true, false"),
        ("sample:colour=blue", "cannot be 'blue'", "red"),
        ("sample:limit=2 parsecs", "cannot be", "2GB"),
    ],
)
def test_a_wrong_option_is_told_with_what_would_be_right(
    text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        registry.create("transforms", text)
    assert hint in (caught.value.hint or "")


def test_a_suffix_finds_its_exporter_in_any_case() -> None:
    assert registry.name_for_suffix("exporters", ".SVG") == "svg"


def test_a_docstring_is_split_into_title_and_advice() -> None:
    assert registry.describe(Sample) == ("A title.", "And advice.")
