"""Real replicas, as processes, on a real PostgreSQL."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.parts import databases
from tests.parts.command import Daemon, continuous
from tests.parts.databases import PostgresServer
from tests.parts.states import drop
from tests.parts.strict_peer import StrictPeer

#: Seconds: the shortest lease that a busy machine keeps.
LEASE = 3.0


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with databases.postgres_server() as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> str:
    """The URL of a database that nobody has used."""
    drop(server.url)
    return server.url


@dataclass
class Replicas:
    """``continuous``, as many times as a test wants, in one environment."""

    directory: Path
    environment: Mapping[str, str]
    running: list[Daemon] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self) -> Daemon:
        """One more; it listens by then."""
        place = self.directory / f"replica-{next(self._numbers)}"
        place.mkdir()
        daemon = self._stack.enter_context(continuous(cwd=place, env=self.environment))
        self.running.append(daemon)
        return daemon

    def kill(self, daemon: Daemon, number: signal.Signals = signal.SIGKILL) -> None:
        """It is gone by then."""
        self.running.remove(daemon)
        daemon.stop(number)

    def owner(self) -> Daemon | None:
        """Who shows MLflow's gauges; None when nobody does. More than one is an error."""
        owners = [daemon for daemon in self.running if "\nmlflow_experiment_runs{" in daemon.get("metrics").text]
        assert len(owners) <= 1, [daemon.log for daemon in owners]
        return owners[0] if owners else None

    def wait_for(self, question: Callable[[], bool], within: float = 90.0) -> None:
        end = time.monotonic() + within
        while not question():
            assert time.monotonic() < end, "\n".join(f"{d.log}:\n{d.log.read_text()[-3000:]}" for d in self.running)
            time.sleep(0.1)

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture
def replicas(database: str, peer: StrictPeer, tmp_path: Path) -> Iterator[Replicas]:
    """Between a store that is still to be named and ``peer``."""
    found = Replicas(
        tmp_path,
        {
            "PRAMATHUS_ENDPOINT": peer.url,
            "PRAMATHUS_API_KEY": peer.token,
            "PRAMATHUS_ENABLED": "true",
            "MLFLOW_EXPORTER_EXPORTERS__FILE__ENABLED": "false",
            "MLFLOW_EXPORTER_EXPORT__INTERVAL": "500ms",
            "MLFLOW_EXPORTER_EXPORT__MAX_EXPERIMENTS": "0",
            "MLFLOW_EXPORTER_STATE__URL": database,
            "MLFLOW_EXPORTER_STATE__LEASE": f"{LEASE}s",
        },
    )
    yield found
    found.stop()
