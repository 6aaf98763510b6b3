"""Contestants that encode series, scrape a daemon, and poll when one run has moved."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import requests
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bench.contest import Timed
from bench.polling import readdress
from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.config.schema import ExportConfig, GaugesConfig, MlflowConfig
from mlflow_monitoring_exporter.core.values import Family, Series, Snapshot
from mlflow_monitoring_exporter.prometheus.exposition import Encoder
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.state.database import Database
from tests.parts.command import continuous

_LABELS = ("experiment_name", "run_id", "model_stage", "metric")
_EXPERIMENTS, _KEYS = 10, 20
_TIMES = 5
_SCRAPES = 200


def _snapshot(series: int) -> Snapshot:
    """So many series in 20 families of 10 experiments."""
    runs = series // _EXPERIMENTS // _KEYS
    return Snapshot({str(e): tuple(_family(e, key, runs) for key in range(_KEYS)) for e in range(_EXPERIMENTS)})


def _family(experiment: int, key: int, runs: int, more: float = 0.0) -> Family:
    series = tuple(
        Series((f"experiment {experiment}", f"{experiment:02x}{run:06x}", "", f"val/metric {key}"), more + run / 7)
        for run in range(runs)
    )
    return Family(f"mlflow_val_metric_{key}", f"Latest value of the MLflow metric {key}.", "gauge", _LABELS, series)


def _timed(work: Callable[[], bytes]) -> Timed:
    """The median of several times; the amount is how many series there are in what it answers."""
    taken = []
    for _ in range(_TIMES):
        wall, cpu = time.perf_counter(), time.process_time()
        text = work()
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    amount = sum(not line.startswith(b"#") for line in text.splitlines())
    return Timed(amount, *(statistics.median(column) for column in zip(*taken, strict=True)))


class _Fixed(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._families = []
        for family in snapshot.families():
            made = GaugeMetricFamily(family.name, family.help)
            for series in family.series:
                made.add_sample(family.name, dict(zip(family.labels, series.labels, strict=True)), series.value)
            self._families.append(made)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return iter(self._families)


def prometheus_client(series: str) -> Timed:
    """The families are made before the clock starts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(_snapshot(int(series))))
    return _timed(lambda: bytes(generate_latest(registry)))


def ours(series: str) -> Timed:
    """Nothing is remembered."""
    snapshot = _snapshot(int(series))
    return _timed(lambda: Encoder().page(snapshot).plain(openmetrics=False))


def ours_again(series: str) -> Timed:
    """One family of one experiment has other values each time."""
    snapshot = _snapshot(int(series))
    runs = int(series) // _EXPERIMENTS // _KEYS
    encoder = Encoder()
    encoder.page(snapshot)
    turn = iter(range(1, 1000))

    def again() -> bytes:
        changed = _family(0, 0, runs, float(next(turn)))
        encoder.turn()
        return encoder.page(Snapshot({**snapshot.groups, "0": (changed, *snapshot.groups["0"][1:])})).plain(
            openmetrics=False
        )

    return _timed(again)


class _Training:
    """A run of a store that goes on: each step logs all of its metrics."""

    def __init__(self, store: Path) -> None:
        self._connection = sqlite3.connect(store, timeout=60)
        (self._run,) = self._connection.execute("SELECT run_uuid FROM runs WHERE status = 'RUNNING'").fetchone()
        keys = self._connection.execute("SELECT key FROM latest_metrics WHERE run_uuid = ?", (self._run,))
        self._keys = [key for (key,) in keys]
        self._step = 1_000_000

    def step(self) -> None:
        self._step += 1
        now, value = round(time.time() * 1000), self._step / 8
        rows = [(value, now, self._step, self._run, key) for key in self._keys]
        with self._connection as tx:
            tx.executemany(
                "INSERT INTO metrics (value, timestamp, step, run_uuid, key, is_nan) VALUES (?, ?, ?, ?, ?, 0)", rows
            )
            tx.executemany(
                "UPDATE latest_metrics SET value = ?, timestamp = ?, step = ? WHERE run_uuid = ? AND key = ?", rows
            )

    def close(self) -> None:
        self._connection.close()


def scrapes(store: str, interval: str) -> Timed:
    """The 99th percentile (wall) and the median (cpu) of scrapes; a run moves all the time."""
    with tempfile.TemporaryDirectory(dir=Path(store).parent) as directory:
        here = Path(directory).resolve()
        live = Path(shutil.copy(store, here / "live.db"))
        training = _Training(live)
        only = ("--set", "exporters.file.enabled=false", "--max-experiments", "0", "--log-level", "error")
        arguments = ("--tracking-uri", f"sqlite:///{live}", "--interval", interval, *only)
        with closing(training), continuous(*arguments, cwd=here) as daemon:
            daemon.wait_for(lambda: "mlflow_experiment_runs" in daemon.get("metrics").text, within=120)
            session = requests.Session()
            taken = []
            for _ in range(_SCRAPES):
                training.step()
                began = time.perf_counter()
                answer = session.get(f"{daemon.url}/metrics", headers={"Accept-Encoding": "gzip"}, stream=True)
                body = answer.raw.read()
                taken.append(time.perf_counter() - began)
                assert gzip.decompress(body).startswith(b"# HELP")
                time.sleep(0.02)
        return Timed(_SCRAPES, statistics.quantiles(taken, n=100)[98], statistics.median(taken))


def moved(store: str, state: str) -> Timed:
    """The median poll that finds one run moved; and what such polls promise is looked at."""
    with tempfile.TemporaryDirectory(dir=Path(store).parent) as directory:
        live = Path(shutil.copy(store, Path(directory) / "live.db")).resolve()
        copy = Path(shutil.copy(state, Path(directory) / "state.db"))
        readdress(copy, f"sqlite:///{live}")
        training, database = _Training(live), Database(f"sqlite:///{copy}")
        shown: list[Snapshot] = []
        poller = build_poller(
            open_source(MlflowConfig(tracking_uri=f"sqlite:///{live}"), stop=threading.Event()),
            ExportConfig(max_experiments=0),
            gauges=GaugesConfig(),
            database=database,
            queues=[],
            events=PollEvents(shown.append),
            stop=threading.Event(),
        )
        encoder = Encoder()

        def poll() -> bytes:
            encoder.turn()
            poller.run(complete=False)
            return encoder.page(shown[-1]).plain(openmetrics=False)

        with closing(training), closing(database):
            before = poll()
            assert poll() == before, "nothing changed"
            assert shown[-1].series_count <= GaugesConfig().max_series
            taken: list[tuple[float, float]] = []
            for _ in range(_TIMES):
                training.step()
                wall, cpu = time.perf_counter(), time.process_time()
                after = poll()
                taken.append((time.perf_counter() - wall, time.process_time() - cpu))
            different = set(after.splitlines()) - set(before.splitlines())
            assert 0 < len(different) <= 20 * 8 + 2, "its metrics, its life, the aggregates of its experiment"
        walls, cpus = zip(*taken, strict=True)
        return Timed(_TIMES, statistics.median(walls), statistics.median(cpus))
