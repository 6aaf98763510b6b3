"""Can the daemon do its work now, and if not, which part cannot and why?

One log line for each change, not for each attempt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import structlog

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Condition:
    """What one component last said of itself.

    ``expires`` is a time on the monotonic clock after which good news is too old to be believed;
    ``state`` is the component's own word for what it does now, if it has one.
    """

    ready: bool
    reason: str
    since: float
    expires: float | None = None
    state: str = ""


class Readiness:
    """Every component's condition; callable from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._conditions: dict[str, Condition] = {}

    def expect(self, component: str, reason: str) -> None:
        """Not ready yet, and no fault to report."""
        with self._lock:
            self._conditions[component] = Condition(False, reason, time.time())

    def good(self, component: str, *, valid_for: float | None = None, state: str = "") -> None:
        """``component`` works; to be said again within ``valid_for`` seconds, if that is given."""
        expires = None if valid_for is None else time.monotonic() + valid_for
        self._change(component, Condition(True, "", time.time(), expires, state))

    def bad(self, component: str, reason: str, *, state: str = "") -> None:
        """``component`` does not work, because of ``reason``."""
        self._change(component, Condition(False, reason, time.time(), None, state))

    def keep_only(self, components: Collection[str]) -> None:
        """No other components are part of the daemon any more."""
        with self._lock:
            self._conditions = {name: kept for name, kept in self._conditions.items() if name in components}

    def report(self) -> Mapping[str, Condition]:
        """Every component's condition as it stands now."""
        now = time.monotonic()
        with self._lock:
            return {name: _aged(condition, now) for name, condition in self._conditions.items()}

    @property
    def ready(self) -> bool:
        """Whether every component works, and there is one."""
        report = self.report()
        return bool(report) and all(condition.ready for condition in report.values())

    def _change(self, component: str, new: Condition) -> None:
        with self._lock:
            old = self._conditions.get(component)
            if old is not None and old.ready == new.ready:
                new = replace(new, since=old.since)
            self._conditions[component] = new
        if new.ready and (old is None or not old.ready):
            _log.info("ready", component=component)
        elif not new.ready and (old is None or old.ready or old.reason != new.reason):
            _log.warning("not ready", component=component, reason=new.reason)


def _aged(condition: Condition, now: float) -> Condition:
    if condition.ready and condition.expires is not None and now > condition.expires:
        return Condition(False, "no recent success", condition.since)
    return condition
