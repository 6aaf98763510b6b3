"""The self metrics ``mlflow_exporter_tracking_*``, from the files of the spool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mlflow_monitoring_exporter.adoption.spool_sender import SpoolSender, SpoolState
from mlflow_monitoring_tracking.sending.histograms import Histogram
from mlflow_monitoring_tracking.sending.totals import BackEndTotals

_PREFIX = "mlflow_exporter_tracking_"
_BY_BACK_END = ["back_end"]


class SpoolMetrics(Collector):
    """``counts`` says whether to show them: of many replicas that share a spool, one does."""

    def __init__(self, sender: SpoolSender, counts: Callable[[], bool]) -> None:
        self._sender = sender
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        if not self._counts():
            return
        try:
            state = self._sender.state()
        except OSError:  # the log says what is wrong with the spool
            return
        yield from _of_spool(state)
        yield from _of_back_ends(state)
        text = "Time from a call to the back end that has the point."
        yield _histogram(state, "latency_seconds", text, lambda totals: totals.latency_ms, 1000)
        text = "Sizes of the files that were uploaded."
        yield _histogram(state, "artifact_upload_size_bytes", text, lambda totals: totals.upload_bytes, 1)


def _of_spool(state: SpoolState) -> Iterator[Metric]:
    report, totals = state.report, state.report.totals
    yield CounterMetricFamily(
        f"{_PREFIX}experiments_logged", "Runs that were logged into the spool.", value=totals.runs
    )
    yield CounterMetricFamily(
        f"{_PREFIX}runs_adopted", "Runs that were ended as KILLED, because their processes died.", value=totals.adopted
    )
    yield CounterMetricFamily(
        f"{_PREFIX}points_lost", "Points that could not be written to the spool.", value=totals.lost_points
    )
    yield GaugeMetricFamily(
        f"{_PREFIX}open_runs", "Runs in the spool that have not ended, or not everywhere.", value=report.open_runs
    )
    yield GaugeMetricFamily(f"{_PREFIX}spool_bytes", "Bytes of all files of the spool.", value=report.size_bytes)


def _of_back_ends(state: SpoolState) -> Iterator[Metric]:
    report = state.report
    delivered = CounterMetricFamily(
        f"{_PREFIX}points_delivered", "Points that a back end acknowledged.", labels=_BY_BACK_END
    )
    set_aside = GaugeMetricFamily(
        f"{_PREFIX}set_aside", "Points and other records that a back end permanently rejected.", labels=_BY_BACK_END
    )
    waiting = GaugeMetricFamily(
        f"{_PREFIX}waiting_bytes", "Bytes of the spool that a back end does not have yet.", labels=_BY_BACK_END
    )
    oldest = GaugeMetricFamily(
        f"{_PREFIX}oldest_unsent_timestamp_seconds",
        "Time of the first point that a back end does not have, in Unix time; absent when it has all.",
        labels=_BY_BACK_END,
    )
    paused = GaugeMetricFamily(
        f"{_PREFIX}breaker_open",
        "Whether a back end failed so often that it is not sent to for a while (1) or not (0).",
        labels=_BY_BACK_END,
    )
    for name, is_paused in sorted(state.paused.items()):
        totals = report.totals.back_ends.get(name, BackEndTotals())
        delivered.add_metric([name], totals.delivered_points)
        set_aside.add_metric([name], totals.set_aside)
        waiting.add_metric([name], report.waiting_bytes.get(name, 0))
        if name in report.oldest_ms:
            oldest.add_metric([name], report.oldest_ms[name] / 1000)
        paused.add_metric([name], is_paused)
    yield from (delivered, set_aside, waiting, oldest, paused)


def _histogram(
    state: SpoolState, name: str, text: str, of: Callable[[BackEndTotals], Histogram], scale: float
) -> Metric:
    family = HistogramMetricFamily(f"{_PREFIX}{name}", text, labels=_BY_BACK_END)
    for back_end in sorted(state.paused):
        found = of(state.report.totals.back_ends.get(back_end, BackEndTotals()))
        bounds = [*(repr(bound / scale) for bound in found.bounds), "+Inf"]
        counts = accumulate(found.counts)
        family.add_metric([back_end], list(zip(bounds, counts, strict=True)), found.sum / scale)
    return family
