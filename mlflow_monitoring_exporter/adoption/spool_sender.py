r"""Send what trainings left in a spool: those that died, and those that only write.

::

    training --> spool --> its own sender, while it lives
                      \--> SpoolSender: ends the runs of dead processes as KILLED, and sends the rest

A run has one sender at a time, by a lock, so this one may look at all of them (docs/reference/spool.md).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mlflow_monitoring_exporter.config.schema import MlflowConfig, TrackingConfig
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.monitoring import SpoolReport, report_on
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.settings import Delivery, Local, MLflow, Settings

#: Seconds for which a look at the spool holds: scrapes may come more often than is worth reading files for.
_HOLDS = 5.0


@dataclass(frozen=True, slots=True)
class SpoolState:
    """A spool as it was a moment ago, and which back ends are not sent to for now, because they fail."""

    report: SpoolReport
    paused: dict[str, bool]


class SpoolSender:
    """Sends one spool to one tracking server. Raises ConfigError where that cannot be."""

    def __init__(self, config: TrackingConfig, spool: Path, server: MlflowConfig) -> None:
        settings = Settings(
            mlflow=_client(server), local=Local(enabled=False), delivery=Delivery(adopt_after=config.adopt_after)
        )
        self._spool = spool
        self._backends = backends(settings, _refuse)
        self._sender = Sender(spool, self._backends, settings.delivery, keep=config.keep)
        self._looking = threading.Lock()
        self._looked_at = -_HOLDS
        self._state: SpoolState | None = None

    def start(self) -> None:
        """Send for ever, on threads of its own."""
        self._sender.start()

    def run_once(self, seconds: float) -> bool:
        """Send what is there, for ``seconds`` at most; whether nothing is left."""
        return self._sender.run_once(time.monotonic() + seconds)

    def stop(self, seconds: float) -> None:
        """Send no more, and wait so long for what is on its way."""
        self._sender.stop(seconds)

    def state(self) -> SpoolState:
        """For any thread."""
        with self._looking:
            if self._state is None or time.monotonic() - self._looked_at >= _HOLDS:
                report = report_on(self._spool, self._backends)
                paused = {name: breaker.is_open for name, breaker in self._sender.breakers().items()}
                self._state = SpoolState(report, {name: paused.get(name, False) for name in self._backends})
                self._looked_at = time.monotonic()
            return self._state


def _client(server: MlflowConfig) -> MLflow:
    """The tracking server as the library knows one."""
    given = {
        "username": server.username,
        "password": server.password.get_secret_value() if server.password else None,
        "token": server.token.get_secret_value() if server.token else None,
    }
    files = {
        name: str(path)
        for name in ("password_file", "token_file", "ca_file", "client_cert_file", "client_key_file")
        if (path := getattr(server, name)) is not None
    }
    address = server.tracking_uri
    return MLflow(True, address, timeout=server.timeout, workspace=server.workspace, **given, **files)


def _refuse(_name: str, reason: str) -> None:
    raise ConfigError([ConfigProblem("tracking.spool_dir", "", f"cannot be sent: {reason}")])
