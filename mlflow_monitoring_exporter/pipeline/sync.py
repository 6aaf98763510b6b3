"""What changed in MLflow, taken over into the mirror.

::

    first, export-once, other selection     load: all runs of the newest k experiments
    every poll                              changes: the source's own cheapest way
    every export.interval                   experiments; newcomers are loaded
                                            registry: versions and aliases of models
    every export.sweep.every                one step of the sweep: what no filter and no feed can find

A step is recorded with the number of its load or sweep in one transaction, so a kill at any instant
is continued, and a run that was not met by the end of one is not there any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

import structlog
from sqlalchemy import Connection

from mlflow_monitoring_exporter.config.schema import ExportConfig
from mlflow_monitoring_exporter.core.clock import to_ms
from mlflow_monitoring_exporter.core.concurrency import ahead
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.pipeline.activity import Activity
from mlflow_monitoring_exporter.pipeline.differences import Differences
from mlflow_monitoring_exporter.pipeline.direct_load import DirectLoad
from mlflow_monitoring_exporter.pipeline.experiments import SelectedExperiments, now_known
from mlflow_monitoring_exporter.pipeline.fingerprint import extent, fingerprint, what
from mlflow_monitoring_exporter.pipeline.model_registry import ModelRegistrySync
from mlflow_monitoring_exporter.source.protocol import Changes, LastPoll, Source
from mlflow_monitoring_exporter.state.backlog import Backlog
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.read_progress import Checkpoint, Experiments, Pass, ReadProgress
from mlflow_monitoring_exporter.state.run_changes import Selected
from mlflow_monitoring_exporter.transform.labels import AddedLabels
from mlflow_monitoring_exporter.transform.model_versions import tagged_stage
from mlflow_monitoring_exporter.transform.ranking import newest_first
from mlflow_monitoring_exporter.transform.selection import Selection

_log = structlog.get_logger(__name__)

#: Points that one step of the sweep may read again: a second of a tracking server's time.
_REREAD = 25_000


class PollInterruptedError(Exception):
    """The daemon is stopping; nothing is wrong."""


class MirrorSync:
    """Keeps the mirror of one MLflow in step. Used by one thread at a time.

    ``on_runs`` hears how many runs a load has read so far. ``clock`` gives the time in Unix seconds.
    """

    def __init__(
        self,
        source: Source,
        config: ExportConfig,
        labels: AddedLabels,
        *,
        database: Database,
        mirror: Mirror,
        backlog: Backlog,
        direct: DirectLoad,
        stop: threading.Event,
        on_runs: Callable[[int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._config = config
        self._selection = Selection(config)
        self._labels = labels
        self._chosen = fingerprint(config, labels)
        self._database = database
        self._mirror = mirror
        self._backlog = backlog
        self._progress = ReadProgress(database, mirror.server)
        self._direct = direct
        self._stop = stop
        self._on_runs = on_runs
        self._registry = ModelRegistrySync(source, database, mirror, self._selection.metric)
        self._found = Differences()
        self._all_known = False
        self._experiments = SelectedExperiments(source, self._selection)
        self._clock = clock
        self._activity = Activity(clock)
        self._swept = time.monotonic()
        self._allowance = _REREAD

    def known(self) -> Differences | None:
        """What the mirror holds, without asking MLflow.

        None when there never was a whole poll, or when something else was selected: what is not selected any more must
        not be shown.
        """
        last = self._progress.checkpoint()
        if last.since_ms is None or what(last.selection) != what(self._chosen):
            return None
        return Differences(
            last.experiments.watched, last.experiments.hints, registry=self._registry.known(), as_of_ms=last.since_ms
        )

    def update(self, *, complete: bool, runs_only: bool = False) -> Differences:
        """Bring the mirror up to date; with ``complete`` every run is read, and every history will be.

        With ``runs_only`` MLflow is asked about runs of known experiments and nothing else, once all else is known.

        Raises SourceError, StateError, or PollInterruptedError once the daemon stops.
        """
        old = self._progress.checkpoint()
        result = self._found  # with what an update that failed had recorded by then
        if runs_only and self._all_known and old.since_ms is not None and not complete:
            new = self._follow(old.experiments, old, old.since_ms, result, refresh=False)
            return self._settle(old, new, result)
        found = self._experiments.found(old.experiments)
        sweep = time.monotonic() - self._swept >= self._config.sweep.every
        result.moved.update(self._registry.update(refresh=sweep or complete, first=old.since_ms is None))
        if complete or old.since_ms is None or old.selection != self._chosen:
            new = self._load_everything(found, old, result, complete=complete)
        else:
            new = self._follow(found, old, old.since_ms, result, refresh=sweep)
            if sweep:
                self._sweep(list(new.experiments.watched), result)
        watched = new.experiments.watched
        others = [i for i in found if i not in watched]
        elsewhere = old.experiments.watched.keys() != watched.keys()
        runs = self._registry.look_up(watched, others, refresh=sweep or complete or elsewhere)
        self._apply(Changes(runs), frozenset(watched), {}, result)
        self._all_known = True
        self._database.give_back()
        return self._settle(old, new, result)

    def _settle(self, old: Checkpoint, new: Checkpoint, result: Differences) -> Differences:
        """The update was whole."""
        result.experiments, result.hints = new.experiments.watched, new.experiments.hints
        result.registry = self._registry.registry
        with self._database.write() as tx:
            result.renewed |= self._progress.advance(tx, old, replace(new, selection=self._chosen))
            self._registry.keep(tx)
        self._experiments.settled(new.experiments)
        self._found = Differences()
        self._activity.settled()
        return result

    def _load_everything(
        self, found: Experiments, old: Checkpoint, result: Differences, *, complete: bool
    ) -> Checkpoint:
        """All runs; their histories, too, when everything is to be ``complete``, or more of each is selected."""
        reread = complete or extent(old.selection) != extent(self._chosen)
        # Unless everything is read again, the feed must go on where it was: it alone tells of late points.
        mark = self._source.mark() if reread or old.since_ms is None else old.mark
        activity = self._newest_runs(list(found), found, old.experiments.activity)
        watched = self._newest(found, activity)
        names = {i: found[i].name for i in watched}
        load = self._load(names, result, since_ms=to_ms(self._clock()), mark=mark, reread=reread)
        return Checkpoint(load.since_ms, load.mark, "", now_known(found, old.experiments, watched, activity))

    def _follow(
        self,
        found: Experiments,
        old: Checkpoint,
        since_ms: int,
        result: Differences,
        *,
        refresh: bool,
    ) -> Checkpoint:
        now, mark = to_ms(self._clock()), self._source.mark()
        known = old.experiments
        if found.keys() != known.keys():
            known = Experiments((i, e) for i, e in known.items() if i in found)
        activity = dict(known.activity)
        watched = list(known.watched)
        others = [i for i in known if i not in known.watched] if len(watched) < len(known) else []
        last = LastPoll(watched, others, since_ms, old.mark, self._mirror.open_runs(frozenset(watched)))
        for part in self._source.changes(last):
            self._check_stop()
            self._apply(part, frozenset(watched), activity, result)
        if refresh:
            activity = self._newest_runs(list(found), found, activity)
        else:
            activity |= self._newest_runs([i for i in found if i not in known], found, {})
        newest = self._newest(found, activity)
        if entering := [i for i in newest if i not in known.watched]:
            self._load({i: found[i].name for i in entering}, result, since_ms=now, mark="", reread=False)
        return Checkpoint(now, mark, "", now_known(found, known, newest, activity))

    def _apply(self, part: Changes, watched: frozenset[str], activity: dict[str, int], result: Differences) -> None:
        for run in part.runs:
            self._activity.heed(run, activity)
        selected = self._select(run for run in part.runs if run.experiment_id in watched)
        if not (selected or part.gone or part.touched or part.lost):
            return
        with self._database.write() as tx:
            moved = self._mirror.record(tx, selected, self._progress.round(tx), count=False)
            gone = self._mirror.hide(tx, part.gone)
            self._backlog.touch(tx, part.touched)
            if part.lost:
                self._backlog.reset(tx)
        result.moved.update(moved)
        result.gone.update(gone)

    def _load(self, names: Mapping[str, str], result: Differences, *, since_ms: int, mark: str, reread: bool) -> Pass:
        """Read all runs of these experiments, by id; with ``reread`` nothing that was read before counts."""
        ids = list(names)
        key = f"{self._chosen} {reread} {' '.join(sorted(ids))}"
        digest = blake2b(key.encode(), digest_size=16).hexdigest()
        with self._database.write() as tx:
            load, is_new = self._progress.load(tx, digest, since_ms=since_ms, mark=mark)
            if is_new and reread:
                self._backlog.reset(tx)
        _log.info("reading all runs", experiments=len(ids), resumed=not is_new)
        count = 0
        for page in ahead(self._direct.pages(self._source.runs(ids, after=load.position), self._select, names)):
            self._check_stop()
            with self._database.write() as tx:
                moved, queued = self._direct.record(tx, page, load.number, names)
                self._progress.load_reached(tx, page.position)
            self._direct.committed(queued)
            result.queued.update(queued)
            result.moved.update(moved)
            count += len(page.runs)
            self._on_runs(count)
        with self._database.write() as tx:
            gone = self._mirror.settle(tx, ids, load.number)
            self._progress.load_ended(tx)
        result.gone.update(gone)
        return load

    def _sweep(self, ids: Sequence[str], result: Differences) -> None:
        """Look at some runs again, and read some histories again unless the source tells what is new."""
        with self._database.write() as tx:
            sweep = self._progress.sweep(tx)
        for page in self._source.runs(ids, after=sweep.position, limit=self._config.sweep.page):
            self._check_stop()
            with self._database.write() as tx:
                moved = self._mirror.record(tx, self._select(page.runs), sweep.number, count=True)
                self._progress.sweep_reached(tx, page.position)
                gone = [] if page.position else self._mirror.settle(tx, ids, sweep.number)
            result.moved.update(moved)
            result.gone.update(gone)
            if page.position != sweep.position:
                break
        if self._config.history and not self._source.exact:
            with self._database.write() as tx:
                self._recheck(tx)
        self._swept = time.monotonic()

    def _recheck(self, tx: Connection) -> None:
        """A run that is larger than a step's points is paid for by the steps after it."""
        self._allowance = min(_REREAD, self._allowance + _REREAD)
        if self._allowance > 0:
            self._allowance -= self._backlog.recheck(tx, runs=self._config.sweep.page, points=self._allowance)

    def _newest_runs(self, ids: Sequence[str], found: Experiments, known: Mapping[str, int]) -> dict[str, int]:
        """Nothing is asked when all of them will be watched anyway."""
        limit = self._config.max_experiments
        answer = self._source.activity(ids, limit) if ids and 0 < limit < len(found) else {}
        return self._activity.of_runs(answer, known)

    def _newest(self, found: Experiments, activity: Mapping[str, int]) -> list[str]:
        limit = self._config.max_experiments
        return newest_first(list(found), activity, limit) if 0 < limit < len(found) else list(found)

    def _select(self, runs: Iterable[Run]) -> list[Selected]:
        stages = self._registry.stages
        return [
            Selected(
                run,
                self._selection.tags(run.tags),
                tagged_stage(run.tags),
                stages.get(run.run_id, ""),
                tuple(point for point in run.latest if self._selection.metric(point.key)),
                self._labels.of(run.tags, run.params),
            )
            for run in runs
        ]

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise PollInterruptedError
