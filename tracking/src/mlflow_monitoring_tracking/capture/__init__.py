"""What is recorded of a process and its machine when a run begins, as tags."""

from __future__ import annotations

from collections.abc import Callable

from mlflow_monitoring_tracking.capture import environment, machine, source
from mlflow_monitoring_tracking.settings import AutoLog


def capture(settings: AutoLog) -> dict[str, str]:
    """Tags, as far as ``settings`` wants them; what cannot be found out is left out."""
    wanted: list[tuple[bool, Callable[[], dict[str, str]]]] = [
        (True, source.program),
        (settings.log_git_info, lambda: source.commit(diff=settings.log_git_diff)),
        (settings.log_system_info, machine.machine),
        (settings.log_environment, lambda: environment.environment(settings.environment_variables)),
    ]
    found: dict[str, str] = {}
    for is_wanted, look in wanted:
        if is_wanted:
            try:
                found |= look()
            except Exception:  # noqa: BLE001, S112 - a strange machine is no reason to fail
                continue
    return found
