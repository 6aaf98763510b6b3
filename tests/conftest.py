"""How the tests are shared between processes (pytest-xdist), when there are several."""

from __future__ import annotations

from pathlib import Path

import pytest

_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process runs all tests that share a server: those of a folder with a conftest; else those of a file."""
    for item in items:
        path = item.path.relative_to(_TESTS)
        shared = (_TESTS / path.parts[0] / "conftest.py").exists()
        item.add_marker(pytest.mark.xdist_group(path.parts[0] if shared else str(path)))
