"""Short versions by default; the long ones with RELIABILITY=long (`make test-reliability`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.growing_store import Store
from tests.parts.strict_peer import StrictPeer, strict_peer

LONG = os.environ.get("RELIABILITY") == "long"


def scaled(short: int, long: int) -> int:
    return long if LONG else short


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "mlflow.db")


@pytest.fixture
def peer() -> Iterator[StrictPeer]:
    with strict_peer() as running:
        yield running
