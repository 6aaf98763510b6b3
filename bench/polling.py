"""Contestants that poll; each answers with how much it did, and times only the polls."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.contest import Timed
from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.cli.commands import app
from mlflow_monitoring_exporter.config.schema import ExportConfig, MlflowConfig
from mlflow_monitoring_exporter.pipeline.poll import Poller
from mlflow_monitoring_exporter.pipeline.queues import Queue
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.transform.projection import SampleProjection

_POLLS = 5


@contextmanager
def polling(uri: str, state: Path, *, queue: bool, shown: bool = False) -> Iterator[Poller]:
    """A poller as the daemon has it; with ``queue`` one exporter gets every point, and gauges may be ``shown``."""
    database = Database(f"sqlite:///{state}")
    ids = Outbox(database).register(["sink"])
    source = open_source(MlflowConfig(tracking_uri=uri), stop=threading.Event(), concurrency=4)
    yield build_poller(
        source,
        ExportConfig(max_experiments=0),
        database=database,
        queues=[Queue("sink", ids["sink"], 500, 10**12, SampleProjection())] if queue else [],
        events=PollEvents(published=(lambda _: None) if shown else None),
        stop=threading.Event(),
    )
    source.close()
    database.close()


def first_poll(uri: str, state: Path, *, queue: bool) -> None:
    """Make a state file that has seen all runs; with ``queue`` all points wait in it."""
    with polling(uri, state, queue=queue) as poller:
        poller.run(complete=False)


def readdress(state: Path, uri: str) -> None:
    """Make a state file that belongs to one address belong to another one of the same MLflow."""
    with closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("UPDATE server SET identity = ?", (uri,))


@contextmanager
def copied(state: str) -> Iterator[Path]:
    """A copy of a state file, which a poll may change."""
    with tempfile.TemporaryDirectory(dir=Path(state).parent) as directory:
        yield Path(shutil.copy(state, directory))


def idle(uri: str, state: str) -> Timed:
    """The median poll after the first of a process; the amount is how many requests it made, or 1."""
    requests_made = 0
    call: Callable[..., Mapping[str, Any]] = MlflowApi.call

    def counted(*arguments: Any, **more: Any) -> Mapping[str, Any]:
        nonlocal requests_made
        requests_made += 1
        return call(*arguments, **more)

    MlflowApi.call = counted  # type: ignore[method-assign]
    with copied(state) as copy, polling(uri, copy, queue=True) as poller:
        poller.run(complete=False)
        requests_made = 0
        taken = []
        for _ in range(_POLLS):
            wall, cpu = time.perf_counter(), time.process_time()
            poller.run(complete=False)
            taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = sorted(taken)[_POLLS // 2]
    return Timed(requests_made // _POLLS or 1, wall, cpu)


def idle_looks(uri: str, state: str) -> Timed:
    """The same of the looks at runs alone, which are made between two whole polls; the amount is 1."""
    with copied(state) as copy, polling(uri, copy, queue=True) as poller:
        poller.run(complete=False)
        taken = []
        for _ in range(_POLLS):
            wall, cpu = time.perf_counter(), time.process_time()
            poller.run(complete=False, runs_only=True)
            taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = sorted(taken)[_POLLS // 2]
    return Timed(1, wall, cpu)


def first_gauges(uri: str, state: str) -> Timed:
    """From the start of a process whose state has seen all runs to its first snapshot; the amount is its series."""
    with copied(state) as copy:
        wall, cpu = time.perf_counter(), time.process_time()
        with polling(uri, copy, queue=True, shown=True) as poller:
            known = poller.show_known()
            took = time.perf_counter() - wall, time.process_time() - cpu
            assert known is not None
    return Timed(known.series, *took)


def export_once(uri: str, directory: str, history: str = "true") -> int:
    """The command as it is called, without starting Python."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        os.chdir(place)
        Path("config.yaml").write_text(
            f"mlflow: {{tracking_uri: '{uri}'}}\n"
            f"export: {{max_experiments: 0, history: {history}, drain_timeout: 1h}}\n"
            "exporters: {file: {type: file, max_size: 100GB}}\n"
        )
        assert app(["export-once", "--config", "config.yaml"], standalone_mode=False) == 0
        with Path("mlflow-metrics.jsonl").open("rb") as file:
            return sum(1 for _ in file)
