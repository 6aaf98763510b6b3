"""A poll whose state is thrown away: what commands need that only want to see MLflow."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.app.self_monitoring import Progress
from mlflow_monitoring_exporter.app.tracking_servers import open_tracking_server
from mlflow_monitoring_exporter.config.schema import Config, ExportConfig, MlflowConfig
from mlflow_monitoring_exporter.core.values import Series, Snapshot
from mlflow_monitoring_exporter.pipeline.poll import Poller
from mlflow_monitoring_exporter.state.database import Database


@contextmanager
def one_look(
    config: Config,
    server: MlflowConfig,
    export: ExportConfig,
    *,
    published: Callable[[Snapshot], None] = lambda _: None,
    progress: Progress | None = None,
) -> Iterator[Poller]:
    """A poller that has polled once. Changes nothing; raises SourceError."""
    source = open_tracking_server(config, server, stop=threading.Event()).source
    with tempfile.TemporaryDirectory(prefix="mlflow-monitoring-exporter-") as directory:
        database = Database(f"sqlite:///{Path(directory) / 'state.db'}")
        try:
            poller = build_poller(
                source,
                export,
                gauges=config.gauges,
                database=database,
                queues=[],
                events=PollEvents(published=published, loading=(progress or Progress()).runs),
                stop=threading.Event(),
            )
            poller.run(complete=True)
            yield poller
        finally:
            database.close()
            source.close()


#: Series of a family, by its name: the values of labels that were asked for, and the series' own.
Seen = dict[str, dict[tuple[str, ...], float]]


def seen(config: Config, experiments: Sequence[str], families: dict[str, Sequence[str]], progress: Progress) -> Seen:
    """Series of these families, of experiments whose names match, on all tracking servers; ``server`` is a label, too.

    Raises SourceError.
    """
    chosen = config.export.experiments.model_copy(update={"include": tuple(experiments)})
    export = config.export.model_copy(update={"experiments": chosen, "max_experiments": 0})
    found: Seen = {name: {} for name in families}
    for server in config.servers:
        snapshots: list[Snapshot] = []
        with one_look(config, server, export, published=snapshots.append, progress=progress):
            for family in snapshots[-1].families() if snapshots else ():
                if family.name in families:
                    places = [family.labels.index(label) for label in families[family.name]]
                    for series in family.series:
                        found[family.name][server.name or "", *_labels(series, places)] = series.value
    return found


def _labels(series: Series, places: Sequence[int]) -> tuple[str, ...]:
    return tuple(series.labels[place] for place in places)
