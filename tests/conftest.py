"""What all tests share: a clean environment, and the option that accepts golden files."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept", action="store_true", help="write what comes out now into the golden files"
    )


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the developer's own reaches a test, and none reaches the developer's caches."""
    # The workers of one run share the parent of their base folders, and so one cache.
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("GRAPHVIZ_CLI_", "CLICOLOR")) or name in (
                "NO_COLOR",
                "FORCE_COLOR",
                "COLUMNS",
                "GITHUB_ACTIONS",
            ):
                patch.delenv(name)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
