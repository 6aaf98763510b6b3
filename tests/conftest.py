"""How the tests are shared between processes (pytest-xdist), when there are several; and what many of them need."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.parts.scaled import scaled
from tests.parts.strict_peer import StrictPeer, strict_peer

_TESTS = Path(__file__).parent
#: Folders whose tests share nothing that takes time to start.
_NOTHING_SHARED = ("reliability",)
#: Folders with more work than one process should have, and the name of the file with which their second half begins.
_HALVES = {"tracking": "test_m"}
#: The folders with the most work for one process.
_LONGEST = ("tracking", "stack")


class _Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One process runs all tests that share a server: those of a folder with a conftest; else those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0]).relative_to(_TESTS.name)
        if path.parts[0] in _HALVES and len(path.parts) > 1:
            return f"{path.parts[0]} {path.name < _HALVES[path.parts[0]]}"
        shared = (_TESTS / path.parts[0] / "conftest.py").exists() and path.parts[0] not in _NOTHING_SHARED
        return path.parts[0] if shared else str(path)


#: Properties that say nothing of how often they are tried; RELIABILITY=long tries them five times as often.
settings.register_profile("suite", max_examples=scaled(40, 200))
settings.load_profile("suite")


def pytest_configure() -> None:
    """Programs of the tests begin with signals as they are in a terminal, also where nohup ignores some."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


# Not by marks and --dist loadgroup: xdist 3.8 writes them into a field that pytest 9.2 does not read any more.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes one process longest begins first, or the others would wait for it at the end."""
    first = {name: at for at, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: first.get(item.path.parent.name, len(first)))


@pytest.fixture
def peer() -> Iterator[StrictPeer]:
    """A JSON sink that refuses whatever the contract forbids."""
    with strict_peer() as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty directory to run commands in."""
    return tmp_path
