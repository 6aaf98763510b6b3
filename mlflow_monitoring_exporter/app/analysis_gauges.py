"""``analysis``: every so often the daemon compares the runs of each experiment, and shows what comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlflow_monitoring_exporter.analysis.standing import Standing
from mlflow_monitoring_exporter.config.schema import Config, MlflowConfig
from mlflow_monitoring_exporter.core.errors import QuestionError, SourceError
from mlflow_monitoring_exporter.prometheus import families
from mlflow_monitoring_exporter.prometheus.families import Spec
from mlflow_monitoring_exporter.prometheus.label_lengths import shortened
from mlflow_monitoring_exporter.questions.ask import Questions
from mlflow_monitoring_exporter.questions.standing import experiment_standing
from mlflow_monitoring_exporter.source.open import open_run_reader
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.transform.selection import Selection

_log = structlog.get_logger(__name__)

#: Seconds after the start until the first analysis: the first poll comes first.
_FIRST = 20.0
#: Parameters of an experiment whose importance is shown, the most important ones.
_PARAMS = 10


@dataclass(frozen=True, slots=True)
class _Shown:
    """An experiment as it is shown: by its name, and that of its server where that has one."""

    server: tuple[str, ...]
    name: str
    standing: Standing


class AnalysisGauges(Collector):
    """What the newest analysis found; nothing before the first."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.shown: Mapping[str, Sequence[_Shown]] = {}

    def collect(self) -> Iterator[Metric]:
        found: dict[Spec, list[tuple[tuple[str, ...], float]]] = {spec: [] for spec in families.ANALYSIS}
        for one in [one for some in self.shown.values() for one in some]:
            metric = one.standing.ranking.metric
            if one.standing.delta is not None:
                found[families.BEST_DELTA].append(((*one.server, one.name, metric), one.standing.delta))
            if one.standing.noise is not None:
                found[families.REPEATS_STDDEV].append(((*one.server, one.name, metric), one.standing.noise))
            for group in one.standing.fairness:
                found[families.FAIRNESS_GAP].append(((*one.server, one.name, group.metric), group.gap))
                found[families.FAIRNESS_RATIO].append(((*one.server, one.name, group.metric), group.ratio))
            for param, importance in list(one.standing.importance.items())[:_PARAMS]:
                found[families.PARAM_IMPORTANCE].append(((*one.server, one.name, metric, param), importance))
        for spec, series in found.items():
            if series:
                named = any(len(labels) > len(spec.labels) for labels, _ in series)
                family = GaugeMetricFamily(spec.name, spec.help, labels=(*(("server",) if named else ()), *spec.labels))
                for labels, value in series:
                    family.add_metric([shortened(label, self._longest) for label in labels], value)
                yield family


class AnalysisLoop:
    """Looks again every ``analysis.every``, on a thread of its own; nothing where that is not set.

    ``counts`` says whether to: of many replicas that share a state, one does.
    """

    def __init__(self, config: Config, counts: Callable[[], bool], metrics: SelfMetrics, opened: ExitStack) -> None:
        """The gauges are shown until ``opened`` is closed."""
        self._config = config
        self._counts = counts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="analysis", daemon=True)
        self._selection = Selection(config.export)
        self.gauges = AnalysisGauges(config.gauges.max_label_length)
        if config.analysis.every is not None:
            metrics.registry.register(self.gauges)
            opened.callback(metrics.registry.unregister, self.gauges)

    def start(self) -> None:
        """Begin, if it is wanted."""
        if self._config.analysis.every is not None:
            self._thread.start()

    def stop(self, within: float) -> None:
        """End what is under way, and wait so many seconds at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(within)

    def look(self) -> None:
        """Analyse every tracking server once; what cannot be read keeps what was found of it last."""
        for server in self._config.servers:
            began = time.monotonic()
            try:
                found = self._of_server(server)
            except (SourceError, QuestionError) as error:
                if not self._stop.is_set():
                    _log.warning("runs cannot be analysed", server=server.name or None, reason=str(error))
                continue
            self.gauges.shown = {**self.gauges.shown, server.name or "": found}
            _log.debug("runs analysed", experiments=len(found), seconds=round(time.monotonic() - began, 1))

    def _run(self) -> None:
        every = self._config.analysis.every or 0.0
        pause = min(_FIRST, every)
        while not self._stop.wait(pause):
            if self._counts():
                self.look()
            else:
                self.gauges.shown = {}
            pause = every

    def _of_server(self, server: MlflowConfig) -> list[_Shown]:
        wanted = self._config.analysis
        limit = self._config.export.max_experiments
        found: list[_Shown] = []
        reader = open_run_reader(server, stop=self._stop)
        with Questions(reader, direction=self._config.export.metrics.direction) as questions:
            chosen = [e for e in questions.experiments() if self._selection.experiment(e.name)]
            for experiment in chosen[: limit or len(chosen)]:
                if self._stop.is_set():
                    break
                standing = experiment_standing(questions, experiment, runs=wanted.runs, importance=wanted.importance)
                if standing is not None:
                    found.append(_Shown((server.name,) if server.name else (), experiment.name, standing))
        return found
