"""A poll as the daemon runs it: no failure ends the daemon, and each is logged, counted and shown by readiness."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from mlflow_monitoring_exporter.core.errors import SourceError, StateCorruptError, StateError
from mlflow_monitoring_exporter.pipeline.poll import Poller, PollReport
from mlflow_monitoring_exporter.pipeline.sync import PollInterruptedError
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.transform.series_budget import MAX_SERIES

_log = structlog.get_logger(__name__)

#: Components in readiness.
MLFLOW, STATE = "mlflow", "state"
#: Those of a replica only: whether it holds its lease, and whether it takes jobs.
OF_REPLICAS = REPLICA, COLLECTORS = "replica", "collectors"


def component_of(name: str) -> str:
    """The component of the tracking server of this name; an only server has none."""
    return f"{MLFLOW}.{name}" if name else MLFLOW


def report_queues(readiness: Readiness, full: Sequence[str]) -> None:
    """The state is ready again after it was written to, unless the queues of the exporters ``full`` have no room."""
    if full:
        readiness.bad(STATE, f"queue full (state.max_size) for {', '.join(full)}; reading no points for it")
    else:
        readiness.good(STATE)


class PollJob:
    """Runs a poll and reports the result.

    ``server`` is the tracking server's identity, ``name`` its name, if it has one. All of it is read every ``whole``
    seconds, runs and metrics alone in between. A successful poll counts as recent for ``patience`` seconds.
    ``on_damaged`` is called when the state file is damaged and a new one must be made.
    """

    def __init__(
        self,
        poller: Poller,
        *,
        server: str,
        name: str = "",
        whole: float,
        readiness: Readiness,
        metrics: SelfMetrics,
        patience: float,
        on_damaged: Callable[[], None],
    ) -> None:
        self._poller = poller
        self._readiness = readiness
        self._metrics = metrics
        self._patience = patience
        self._on_damaged = on_damaged
        self._left_out = 0
        self._server = server
        self._whole = whole
        self._began = False
        #: On the monotonic clock, when the last poll that succeeded and read all began.
        self._read_all: float | None = None
        self._component = component_of(name)
        readiness.expect(self._component, "not read yet")
        readiness.good(STATE)

    def __call__(self) -> None:
        started = time.monotonic()
        runs_only = self._read_all is not None and started - self._read_all < self._whole
        try:
            if not self._began:
                self._show_known()
            report = self._poller.run(complete=False, runs_only=runs_only)
        except PollInterruptedError:
            return
        except SourceError as error:
            self._failed(self._component, str(error))
        except StateCorruptError as error:
            self._failed(STATE, str(error))
            self._on_damaged()
        except StateError as error:
            self._failed(STATE, str(error))
        except Exception as error:  # noqa: BLE001 - a bug here must not end the daemon
            _log.exception("poll crashed")
            self._failed(self._component, f"the poll crashed ({type(error).__name__}); the log has the traceback")
        else:
            if not runs_only:
                self._read_all = started
            self._succeeded(report)
        finally:
            self._metrics.poll_duration.observe(time.monotonic() - started)

    def _show_known(self) -> None:
        """What was read before this process began, until MLflow answers."""
        self._metrics.polling(self._server)
        if (known := self._poller.show_known()) is not None:
            self._note(known)
        self._began = True

    def skipped(self) -> None:
        """A poll was due while the previous one was still running."""
        self._metrics.polls.labels("skipped").inc()

    def _failed(self, component: str, reason: str) -> None:
        self._read_all = None  # the next one looks at everything again
        self._metrics.polls.labels("failed").inc()
        self._readiness.bad(component, reason)

    def _succeeded(self, report: PollReport) -> None:
        metrics = self._metrics
        metrics.polls.labels("ok").inc()
        self._note(report)
        for reason, count in report.left_out.items():
            if report.renewed:
                metrics.series_dropped.labels(reason).inc(count)
        left_out = report.left_out.get(MAX_SERIES, 0)
        if left_out and not self._left_out:
            for demand in report.most:
                _log.warning(
                    "series budget exceeded (gauges.max_series); the largest consumers are truncated",
                    left_out=left_out,
                    experiment=demand.name or "none: the model registry",
                    experiment_id=demand.experiment_id,
                    wanted=demand.wanted,
                )
        self._left_out = left_out
        self._readiness.good(self._component, valid_for=self._patience)
        report_queues(self._readiness, report.full)
        changed = report.gone or any(report.enqueued.values())
        (_log.info if changed else _log.debug)(
            "polled",
            mlflow=report.server,
            experiments=report.experiments,
            runs=report.runs,
            series=report.series,
            gone=report.gone,
            enqueued=dict(report.enqueued),
            unfinished=report.unfinished,
            seconds=round(report.seconds, 3),
        )

    def _note(self, report: PollReport) -> None:
        """Show what there is."""
        metrics = self._metrics
        metrics.read_at(report.server, report.at)
        shown = {"series": report.shown or 0, **report.left_out}
        metrics.found(report.server, experiments=report.experiments, runs=report.runs, **shown)
        metrics.want_most(report.server, report.most)
