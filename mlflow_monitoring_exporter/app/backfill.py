"""Everything that MLflow remembers as one OpenMetrics file, from which promtool makes blocks for Prometheus.

::

    mlflow-monitoring-exporter backfill --to mlflow.om
    promtool tsdb create-blocks-from openmetrics mlflow.om data/

The series are those of remote write. A family is read, written and forgotten before the next one: besides the names of
all series, memory holds the histories of those that are being read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from mlflow_monitoring_exporter.app.self_monitoring import Progress
from mlflow_monitoring_exporter.app.tracking_servers import open_tracking_server
from mlflow_monitoring_exporter.config.fields import since_ms
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.values import Point, RunContext, Sample
from mlflow_monitoring_exporter.prometheus.escaping import escaped
from mlflow_monitoring_exporter.prometheus.exposition import number
from mlflow_monitoring_exporter.prometheus.names import family_name
from mlflow_monitoring_exporter.prometheus.timeseries import BY_TIME, Dated, spread, to_labels
from mlflow_monitoring_exporter.source.protocol import Source, Wanted
from mlflow_monitoring_exporter.transform.ranking import newest_first
from mlflow_monitoring_exporter.transform.selection import Selection

#: Milliseconds: a block that reaches into the future keeps Prometheus from appending to what is now.
_AHEAD = 600_000


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What was written. ``left_out`` are samples from the future; times are milliseconds."""

    server: str
    runs: int
    series: int
    samples: int
    left_out: int
    skipped: int
    first_ms: int | None
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class _Known:
    """A series before its points are read."""

    run: RunContext
    key: str
    last_step: int


def backfill(
    config: Config, to: BinaryIO, *, labels: Mapping[str, str], progress: Progress | None = None
) -> BackfillReport:
    """Write every point of what is selected, since ``export.since``; ``labels`` are more labels of every series.

    ``export.max_experiments`` counts only where it is said: the past is usually wanted whole. Raises SourceError.
    """
    skipped: list[str] = []
    with ExitStack() as opened:
        sources = []
        for server in config.servers:
            source = open_tracking_server(
                config, server, stop=threading.Event(), on_skipped=lambda item, _reason: skipped.append(item)
            ).source
            opened.callback(source.close)
            sources.append(source)
        return _Backfill(config, sources, to, labels, progress or Progress()).run(skipped)


class _Backfill:
    def __init__(
        self, config: Config, sources: Sequence[Source], to: BinaryIO, labels: Mapping[str, str], progress: Progress
    ) -> None:
        self._config = config.export
        self._sources = {source.server: source for source in sources}
        self._to = to
        self._labels = labels
        self._progress = progress
        now = now_ms()
        self._begin = since_ms(config.export.since, now) or 0  # MLflow takes no time before 1970
        self._end = now + _AHEAD
        self._samples = self._left_out = self._in_page = 0
        self._first: int | None = None
        self._last: int | None = None

    def run(self, skipped: Sequence[str]) -> BackfillReport:
        runs, families = self._families()
        total = sum(map(len, families.values()))
        done = 0
        for name in sorted(families):
            known = families[name]
            keys = ", ".join(sorted({one.key for one in known}))
            self._to.write(f"# HELP {name} {escaped(f'The MLflow metric {keys}.')}\n# TYPE {name} gauge\n".encode())
            for server, source in self._sources.items():
                for one, points in self._histories(source, [one for one in known if one.run.server == server]):
                    self._write(one, points)
                    done += 1
                    self._progress.series(done, total)
        self._to.write(b"# EOF\n")
        return BackfillReport(
            ", ".join(self._sources), runs, total, self._samples, self._left_out, len(skipped), self._first, self._last
        )

    def _families(self) -> tuple[int, dict[str, list[_Known]]]:
        """How many runs there are, and all their series by family."""
        families: dict[str, list[_Known]] = {}
        runs = 0
        for source in self._sources.values():
            for page in self._pages(source):
                for known in page:
                    families.setdefault(family_name(known.key), []).append(known)
                runs += self._in_page
                self._progress.runs(runs)
        return runs, families

    def _pages(self, source: Source) -> Iterator[list[_Known]]:
        """The selected series of some runs at a time."""
        selection = Selection(self._config)
        found = {e.experiment_id: e.name for e in source.experiments() if selection.experiment(e.name)}
        ids = list(found)
        limit = self._config.max_experiments if "max_experiments" in self._config.model_fields_set else 0
        if 0 < limit < len(ids):
            ids = newest_first(ids, source.activity(ids, limit), limit)
        for page in source.runs(ids):
            self._in_page = len(page.runs)
            contexts = (
                (RunContext(source.server, run.experiment_id, found[run.experiment_id], run.run_id, run.name), run)
                for run in page.runs
            )
            yield [
                _Known(context, point.key, point.step)
                for context, run in contexts
                for point in run.latest
                if selection.metric(point.key)
            ]

    def _histories(self, source: Source, known: Sequence[_Known]) -> Iterator[tuple[_Known, list[Point]]]:
        """Each series with all of its points, in no promised order; one whose run is gone meanwhile has none."""
        by_series = {(one.run.run_id, one.key): one for one in known}
        reading: dict[tuple[str, str], list[Point]] = {}
        wanted = (Wanted(one.run.run_id, one.key, None, one.last_step) for one in known)
        for chunk in source.histories(wanted):
            series = chunk.run_id, chunk.key
            reading.setdefault(series, []).extend(chunk.points)
            if chunk.complete:
                yield by_series[series], reading.pop(series)

    def _write(self, known: _Known, points: Sequence[Point]) -> None:
        inside = [p for p in points if self._begin <= p.timestamp_ms <= self._end]
        self._left_out += sum(p.timestamp_ms > self._end for p in points)
        if not inside:
            return
        sample = Sample(known.run, known.key, 0, 0, 0.0)
        labels = dict(to_labels(sample, self._labels))
        name = labels.pop("__name__")
        pairs = ",".join(f'{label}="{escaped(value)}"' for label, value in labels.items())
        dated = sorted((Dated(p.timestamp_ms, p.step, p.value, 0) for p in inside), key=BY_TIME)
        lines = [f"{name}{{{pairs}}} {number(one.value)} {_seconds(one.timestamp_ms)}\n" for one in spread(dated)]
        self._to.write("".join(lines).encode())
        self._samples += len(lines)
        self._first = min(dated[0].timestamp_ms, self._first if self._first is not None else dated[0].timestamp_ms)
        self._last = max(dated[-1].timestamp_ms, self._last or 0)


def _seconds(timestamp_ms: int) -> str:
    """A time as OpenMetrics spells it. Prometheus reads a float of seconds and cuts what is below a millisecond, so
    that some times need a little more to come out as themselves.
    """
    text = f"{timestamp_ms // 1000}.{timestamp_ms % 1000:03d}"
    return text if int(float(text) * 1000) == timestamp_ms else f"{text}1"
