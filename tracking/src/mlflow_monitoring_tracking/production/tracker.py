"""Monitor a model in production: ``log_prediction`` for every request.

::

    start_production_monitoring("pricing_v1", "pricing_v1_prod", version="7")
    prediction_id = log_prediction(
        deployment_id="pricing_v1_prod", input_data=row, prediction=0.83, confidence=0.9, latency_ms=4.2
    )
"""

from __future__ import annotations

import logging
import math
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.features.baseline import read_baseline, write_baseline
from mlflow_monitoring_tracking.features.observations import Chosen
from mlflow_monitoring_tracking.production.deployment import Deployment, Options
from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.production.places import ProductionDirectory
from mlflow_monitoring_tracking.production.watch import Watch
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.spool.times import now_ms
from mlflow_monitoring_tracking.tracker import ExperimentTracker, tracker
from mlflow_monitoring_tracking.values import number_of

if TYPE_CHECKING:
    from mlflow_monitoring_tracking.production.serving import MetricsServer

#: Seconds of a window.
WINDOW = 15.0
#: Before the names of deployments, in those of experiments.
EXPERIMENTS = "deployments/"
#: The model of a deployment that was not started.
_UNKNOWN = "unknown"


class ProductionTracker:
    """Monitors deployments as a configuration says, or with a tracker that is there. Safe for threads and forks.

    :param config: the path of a file, a dict, or None for what the environment says.
    :param window: seconds after which what was seen goes to MLflow; the same in all processes of a machine.
    """

    #: One for each directory: processes and threads of a machine share what lies in it.
    _watches: ClassVar[dict[Path, Watch]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | ExperimentTracker | None = None,
        *,
        window: float = WINDOW,
    ) -> None:
        self._tracker = config if isinstance(config, ExperimentTracker) else ExperimentTracker(config)
        self._window = window
        self._logs: dict[str, Callable[..., str]] = {}

    @property
    def place(self) -> ProductionDirectory:
        """Where it lies what this and the other processes of the machine count."""
        return ProductionDirectory.of(self._tracker.settings.spool_dir.absolute())

    def start_production_monitoring(
        self,
        model: str,
        deployment_id: str,
        *,
        version: object = "",
        features: Iterable[str] | None = None,
        max_features: int = 50,
        max_classes: int = 50,
        categories: Literal["hashed", "plain"] = "hashed",
        keep: float = 1.0,
        baseline: str | os.PathLike[str] | None = None,
    ) -> Deployment:
        """Count predictions of ``deployment_id`` as those of ``model``, from now on.

        :param features: the only features that are looked at.
        :param max_features: how many features are looked at, of those that come first.
        :param max_classes: how many predicted classes are counted for themselves; all others are ``other``.
        :param categories: text of features is hashed before it is kept anywhere, or ``plain``.
        :param keep: the share of predictions that are kept for 7 days, a million at most, so that truth can be joined;
            0.01 where there are many.
        :param baseline: the file of ``log_baseline`` that drift is measured from; without, and with none from before,
            it is the first 5,000 predictions.
        :raises ValueError: an option is none, or ``baseline`` is no such file.
        :raises OSError: ``baseline`` cannot be read.
        """
        if categories not in {"hashed", "plain"}:
            raise ValueError(f"categories is hashed or plain, not {categories!r}")
        if max_features < 0 or max_classes < 0:
            raise ValueError("max_features and max_classes are 0 or more")
        if not 0 <= keep <= 1:
            raise ValueError(f"keep is a share from 0 to 1, not {keep!r}")
        chosen = None if features is None else frozenset(map(str, features))
        if baseline is not None:
            write_baseline(self.place.baseline(str(deployment_id)), read_baseline(Path(baseline)))
        return self._start(
            Served(str(deployment_id), str(model), str(version)),
            Options(Chosen(chosen, max_features, categories == "plain"), max_classes, keep),
        )

    def log_prediction(
        self,
        *,
        deployment_id: str,
        input_data: Any = None,
        prediction: Any = None,
        confidence: float | None = None,
        latency_ms: float | None = None,
        error: object = None,
        prediction_id: str | None = None,
    ) -> str:
        """Count one prediction; its id, by which the truth is told later.

        :param input_data: what was predicted from: a dict, a list, or a row of numpy or pandas.
        :param prediction: a class (text, truth, an integer) or a number (a float).
        :param confidence: from 0 to 1.
        :param error: what went wrong, if something did.
        :param prediction_id: one of the caller's own, which nothing else has; by default one is made.
        """
        log = self._logs.get(deployment_id) or self._log_of(str(deployment_id))
        return log(prediction, input_data, confidence, latency_ms, error, prediction_id=prediction_id)

    def log_ground_truth(self, deployment_id: str, prediction_id: str, actual: Any) -> None:
        """Tell what a prediction should have been; it may come from any process, up to 7 days later.

        It counts for the window of the prediction. Only the first truth of a prediction counts.
        """
        if self._tracker.settings.mode == "disabled":
            return
        try:
            self._watch().journal().truth(str(deployment_id), str(prediction_id), now_ms(), actual)
        except Exception as error:  # noqa: BLE001 - whatever it is, the program goes on
            event("value_skipped", logging.WARNING, deployment=deployment_id, reason=f"{type(error).__name__}: {error}")

    def log_trade_result(
        self, deployment_id: str, result: Mapping[str, float], prediction_id: str | None = None
    ) -> None:
        """Tell what a trade made of a prediction brought: ``pnl``, ``return_pct``, ``position_size``.

        :param prediction_id: what it was made of; it is kept with the result.
        """
        if self._tracker.settings.mode == "disabled":
            return
        try:
            numbers = {str(key): number_of(value) for key, value in result.items()}
            said = {key: value for key, value in numbers.items() if value is not None and math.isfinite(value)}
            self._watch().journal().result(str(deployment_id), now_ms(), said, prediction_id)
        except Exception as error:  # noqa: BLE001
            event("value_skipped", logging.WARNING, deployment=deployment_id, reason=f"{type(error).__name__}: {error}")

    def start_metrics_server(self, port: int, address: str = "127.0.0.1") -> MetricsServer:
        """Serve ``/metrics`` on a thread; ``port`` 0 takes one that is free. Only the process that calls it serves.

        :raises OSError: the port is taken, or may not be used.
        """
        from mlflow_monitoring_tracking.production.serving import MetricsServer

        return MetricsServer(self.place, address, port)

    def stop(self) -> None:
        """Close the window that is open, and no more, as the end of the process does. What is logged still counts."""
        with self._guard:
            watch = self._watches.pop(self.place.path, None)
        if watch is not None:
            watch.stop()

    @property
    def wsgi_app(self) -> Any:
        """``/metrics`` as an application to mount under a path of Flask's, Django's or gunicorn's."""
        from mlflow_monitoring_tracking.production.serving import wsgi_app

        return wsgi_app(self.place)

    @property
    def asgi_app(self) -> Any:
        """``/metrics`` as an application to mount under a path of FastAPI's or Starlette's."""
        from mlflow_monitoring_tracking.production.serving import asgi_app

        return asgi_app(self.place)

    def _start(self, served: Served, options: Options) -> Deployment:
        deployment = self._watch().deployment(served, options)
        disabled = self._tracker.settings.mode == "disabled"
        self._logs[served.deployment] = _only_an_id if disabled else deployment.log
        return deployment

    def _log_of(self, deployment_id: str) -> Callable[..., str]:
        """What takes predictions of it; they count although the deployment was not started."""
        if deployment_id not in self._logs:
            event("value_skipped", deployment=deployment_id, reason="start_production_monitoring was not called for it")
            self._start(Served(deployment_id, _UNKNOWN, ""), Options())
        return self._logs[deployment_id]

    def _watch(self) -> Watch:
        with self._guard:
            place = self.place
            if place.path not in self._watches:
                self._watches[place.path] = Watch(place, self._window, self.run_of_day)
            return self._watches[place.path]

    def run_of_day(self, served: Served, day: str) -> Run:
        """The run that windows of a day, ``YYYY-MM-DD``, go into; begun, or gone on with by the next leader."""
        name = " ".join(filter(None, (served.model, served.version, day)))
        tags = {
            "deployment.id": served.deployment,
            "deployment.model": served.model,
            "deployment.version": served.version,
        }
        key = f"deployment {served.deployment} {name}"
        return self._tracker.start_run(f"{EXPERIMENTS}{served.deployment}", name, tags, run_key=key)


def _only_an_id(*_: object, prediction_id: str | None = None) -> str:
    """What a prediction is where nothing is tracked."""
    return prediction_id or uuid.uuid4().hex


class _Production(ProductionTracker):
    """The one of the environment's configuration, which is read when it is used first."""

    def __init__(self) -> None:
        super().__init__(tracker)


production = _Production()
start_production_monitoring = production.start_production_monitoring
log_prediction = production.log_prediction
log_ground_truth = production.log_ground_truth
log_trade_result = production.log_trade_result
start_metrics_server = production.start_metrics_server
