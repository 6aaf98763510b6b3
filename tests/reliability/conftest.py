"""What tests of reliability share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.growing_store import Store
from tests.parts.strict_peer import StrictPeer, strict_peer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "mlflow.db")


@pytest.fixture
def peer() -> Iterator[StrictPeer]:
    with strict_peer() as running:
        yield running
