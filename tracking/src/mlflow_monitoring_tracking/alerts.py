"""Alerts of programs: told once in a cooldown, by however many processes, and kept in ``alerts.json``.

Each alert is one line of the log (event ``alert_raised``), one line of JSON in ``<tracking_dir>/alerts.json``, and one
call of ``alert_manager.notify``, if that is set; and it goes to every URL of ``notifications.urls`` (apprise). Where
Prometheus runs, its rules are the better place.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.notifying import notify
from mlflow_monitoring_tracking.spool.drafts import replace_json
from mlflow_monitoring_tracking.spool.locks import exclusive
from mlflow_monitoring_tracking.spool.times import now_ms
from mlflow_monitoring_tracking.tracker import ExperimentTracker, tracker

Severity = Literal["info", "warning", "critical"]
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}
#: Seconds.
_COOLDOWN = 300.0
#: Seconds after which it is forgotten when something was told last; no cooldown is longer.
_LONGEST = 7 * 86_400.0


class AlertManager:
    """Raises alerts. The same kind and subject is told once in ``cooldown`` seconds on this machine."""

    def __init__(self, by: ExperimentTracker = tracker) -> None:
        self._tracker = by
        #: Called with each alert that is told, on the thread that raised it; what it raises is an event.
        self.notify: Callable[[Mapping[str, Any]], object] | None = None

    def alert(
        self,
        kind: str,
        subject: str,
        message: str,
        *,
        severity: Severity = "warning",
        cooldown: float = _COOLDOWN,
        **fields: Any,
    ) -> bool:
        """Tell people; whether it was told, and not within the cooldown of the same alert."""
        if severity not in _LEVELS:
            raise ValueError(f"severity is info, warning or critical, not {severity!r}")
        alert = {
            "at_ms": now_ms(),
            "kind": kind,
            "subject": subject,
            "severity": severity,
            "message": message,
            **fields,
        }
        try:
            directory = Path(self._tracker.settings.tracking_dir)
            directory.mkdir(parents=True, exist_ok=True)
            with exclusive(directory / "alerts.lock"):
                # Now that it is our turn: a process that waited longer would else seem to be from before the last one.
                alert["at_ms"] = now_ms()
                if not _is_due(directory, f"{kind} {subject}", alert["at_ms"], min(cooldown, _LONGEST)):
                    return False
                _append(directory / "alerts.json", alert)
        except OSError as error:  # a full disk is no reason to keep quiet, nor to end the program
            event("value_skipped", logging.WARNING, reason=f"alerts.json: {error}")
        event("alert_raised", _LEVELS[severity], kind=kind, subject=subject, severity=severity, reason=message)
        self._send(alert)
        if self.notify is not None:
            try:
                self.notify(alert)
            except Exception as error:  # noqa: BLE001 - it is the caller's own, and the program goes on
                event("value_skipped", logging.WARNING, reason=f"alert_manager.notify: {error}")
        return True

    def _send(self, alert: Mapping[str, Any]) -> None:
        """Where ``notifications.urls`` says, if it does."""
        urls = self._tracker.settings.notifications.get("urls")
        if urls:
            try:
                notify([urls] if isinstance(urls, str) else [str(url) for url in urls], alert)
            except OSError as error:
                event("upload_failed", logging.WARNING, platform="notifications", reason=error)

    def history(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest alerts that were told, the newest last."""
        path = Path(self._tracker.settings.tracking_dir) / "alerts.json"
        with suppress(FileNotFoundError):
            found = []
            for line in path.read_text(encoding="utf-8").splitlines()[-limit:]:
                with suppress(ValueError):  # the last line of a process that was killed
                    found.append(json.loads(line))
            return found
        return []

    def alert_processing_failure(
        self, operation: str, error: object, severity: Severity = "critical", cooldown: float = _COOLDOWN
    ) -> bool:
        """An operation failed."""
        return self.alert(
            "processing_failure", operation, f"{operation} failed: {error}", severity=severity, cooldown=cooldown
        )

    def alert_threshold(
        self, metric: str, value: float, threshold: float, severity: Severity = "warning", cooldown: float = _COOLDOWN
    ) -> bool:
        """A value has passed its threshold."""
        side = "above" if value > threshold else "below"
        text = f"{metric} is {value:.6g}, {side} {threshold:.6g}"
        return self.alert(
            "threshold", metric, text, severity=severity, cooldown=cooldown, value=value, threshold=threshold
        )

    def alert_data_quality(
        self,
        dataset: str,
        dimension: str,
        value: float,
        threshold: float | None = None,
        *,
        severity: Severity = "warning",
        cooldown: float = _COOLDOWN,
    ) -> bool:
        """A check of data quality is worse than it should be."""
        wanted = "" if threshold is None else f", less than {threshold:.6g}"
        text = f"{dataset}: {dimension} is {value:.6g}{wanted}"
        return self.alert(
            "data_quality", f"{dataset} {dimension}", text, severity=severity, cooldown=cooldown, value=value
        )

    def alert_model_degradation(
        self,
        model: str,
        metric: str,
        value: float,
        baseline: float,
        *,
        severity: Severity = "warning",
        cooldown: float = _COOLDOWN,
    ) -> bool:
        """A model has become worse than it was."""
        text = f"{model}: {metric} is {value:.6g}, and was {baseline:.6g}"
        subject = f"{model} {metric}"
        return self.alert(
            "model_degradation", subject, text, severity=severity, cooldown=cooldown, value=value, baseline=baseline
        )

    def alert_data_drift(
        self, feature: str, score: float, threshold: float, severity: Severity = "warning", cooldown: float = _COOLDOWN
    ) -> bool:
        """Data is no longer what it was."""
        text = f"{feature} has drifted: {score:.6g}, more than {threshold:.6g}"
        return self.alert(
            "data_drift", feature, text, severity=severity, cooldown=cooldown, value=score, threshold=threshold
        )


def _append(path: Path, alert: Mapping[str, Any]) -> None:
    """A line of its own, also behind half a line of a process that was killed. Raises OSError."""
    with path.open("ab+") as history:
        is_torn = False
        if history.tell():
            history.seek(-1, os.SEEK_END)
            is_torn = history.read(1) != b"\n"
        history.write(b"\n" * is_torn + json.dumps(alert, default=str).encode() + b"\n")


def _is_due(directory: Path, what: str, at_ms: int, cooldown: float) -> bool:
    """Whether it was not told within the cooldown; then it counts as told now."""
    path = directory / "alerts.last"
    told: dict[str, int] = {}
    with suppress(FileNotFoundError, ValueError):
        told = json.loads(path.read_text(encoding="utf-8"))
    last = told.get(what)
    # A time far ahead is that of a clock which was wrong; a clock may also be set back a little.
    if last is not None and abs(at_ms - last) < cooldown * 1000:
        return False
    told = {name: when for name, when in told.items() if at_ms - when < _LONGEST * 1000} | {what: at_ms}
    replace_json(path, told)
    return True


alert_manager = AlertManager()
