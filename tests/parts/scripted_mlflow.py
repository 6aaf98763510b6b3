"""An MLflow that does what a test says, for everything above the readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.core.errors import SourceUnavailableError
from mlflow_monitoring_exporter.core.values import Experiment, ModelVersion, Point, Run, RunStatus
from mlflow_monitoring_exporter.source.protocol import Changes, HistoryChunk, LastPoll, RunPage, Wanted

#: A time that can be believed, in ms; when runs start unless a test says otherwise.
BEGAN = 1_600_000_000_000


@dataclass
class Mlflow:
    """A Source over a dictionary: ``points[run id][key]``."""

    names: dict[str, str] = field(default_factory=lambda: {"1": "one", "2": "two"})
    hints: dict[str, dict[str, str]] = field(default_factory=dict)
    points: dict[str, dict[str, list[Point]]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tails: list[int | None] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    active: dict[str, int] = field(default_factory=dict)
    versions: Sequence[ModelVersion] = (ModelVersion("model", 1, "a", "", ("champion",)),)
    refreshed: list[bool] = field(default_factory=list)
    began: dict[str, int] = field(default_factory=dict)
    ranked: list[list[str]] = field(default_factory=list)
    statuses: dict[str, RunStatus] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    params: dict[str, dict[str, str]] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    edited: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    touched: list[tuple[str, str, int]] = field(default_factory=list)
    last: LastPoll | None = None
    exact: bool = False
    near: bool = False
    broken: str = ""
    vanished: set[str] = field(default_factory=set)
    server: str = "http://mlflow"

    def put(self, run_id: str, key: str, value: float, *, at_ms: int = 0, experiment: str | None = None) -> None:
        """One more point, with a value of its own."""
        if experiment is not None:
            self.homes[run_id] = experiment
        series = self.points.setdefault(run_id, {}).setdefault(key, [])
        series.append(Point(key, len(series), at_ms, value))

    def log(self, run_id: str, key: str, *steps: int, experiment: str = "1") -> None:
        self.homes[run_id] = experiment
        series = self.points.setdefault(run_id, {}).setdefault(key, [])
        series += [Point(key, step, step * 10, step / 2) for step in steps]

    def _fail(self, where: str) -> None:
        if self.broken == where:
            raise SourceUnavailableError(f"{where} failed")

    def check(self) -> None:
        self._fail("check")

    def experiments(self) -> Sequence[Experiment]:
        self._fail("experiments")
        return [Experiment(i, name, self.hints.get(i, {})) for i, name in self.names.items()]

    def activity(self, experiment_ids: Sequence[str], limit: int) -> Mapping[str, int]:
        self.ranked.append(list(experiment_ids))
        return {i: self.active[i] for i in experiment_ids if i in self.active}

    def mark(self) -> str:
        return f"mark {len(self.homes)}"

    def _run(self, run_id: str) -> Run:
        latest = tuple(max(series, key=lambda p: p.step) for series in self.points[run_id].values())
        tags = {"stage": "dev", "diff": "secret"} | self.tags.get(run_id, {})
        status = self.statuses.get(run_id, RunStatus.RUNNING)
        began, ended = self.began.get(run_id, BEGAN), self.ended.get(run_id)
        params = self.params.get(run_id, {})
        return Run(run_id, self.homes[run_id], f"run {run_id}", status, began, ended, tags, latest, params)

    def runs(self, experiment_ids: Sequence[str], *, after: str | None = None, limit: int = 1000) -> Iterator[RunPage]:
        """In the order of their ids; pages of one run each unless somebody wants another size."""
        found = sorted(r for r, home in self.homes.items() if home in experiment_ids and r > (after or ""))
        size = 1 if limit == 1000 else limit
        for at in range(0, len(found), size):
            page = found[at : at + size]
            self.listed += page
            yield RunPage([self._run(run_id) for run_id in page], page[-1] if at + size < len(found) else None)
            self._fail("runs")

    def changes(self, last: LastPoll) -> Iterator[Changes]:
        """Open runs, edited ones, and whatever a test says."""
        self.last = last
        for run_id, home in self.homes.items():
            is_open = self.statuses.get(run_id, RunStatus.RUNNING) is RunStatus.RUNNING
            if home in (*last.watched, *last.others) and (is_open or run_id in self.edited):
                yield Changes([self._run(run_id)])
        self._fail("changes")
        gone = [run_id for run_id in last.open_runs if run_id not in self.homes]
        yield Changes(gone=[*gone, *self.deleted], touched=self.touched)

    def histories(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        for item in wanted:
            run_id, key = item.run_id, item.key
            self.asked.append((run_id, key))
            self.tails.append(item.from_step)
            if run_id in self.vanished:
                yield HistoryChunk(run_id, key, [], complete=True, missing=True)
                continue
            points = [p for p in self.points[run_id][key] if item.from_step is None or p.step >= item.from_step]
            yield HistoryChunk(run_id, key, points[:1], complete=False)
            self._fail("histories")
            yield HistoryChunk(run_id, key, points[1:], complete=True)

    def logged_once(self, run_ids: Sequence[str]) -> Mapping[str, int]:
        series = {run_id: self.points.get(run_id, {}).values() for run_id in run_ids if run_id not in self.vanished}
        return {run_id: len(its) for run_id, its in series.items() if all(len(points) == 1 for points in its)}

    def named(self, experiment_ids: Sequence[str], run_ids: Sequence[str]) -> Iterator[Run]:
        return (self._run(run_id) for run_id in run_ids if self.homes.get(run_id) in experiment_ids)

    def registry(self, *, refresh: bool = True) -> Sequence[ModelVersion]:
        self.refreshed.append(refresh)
        return self.versions

    def cut(self) -> None: ...

    def close(self) -> None: ...
