"""The daemon: build, start, watch for signals, reload, drain, stop.

===================  =======================================================================
SIGTERM, Ctrl-C      cut the poll short, deliver what can be delivered for up to ``export.drain_timeout``, exit 0
a second one         exit at once; what waits stays queued (core/shutdown.py)
SIGHUP               read the configuration again; a broken one is refused, and the old one stays
===================  =======================================================================
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.app.assembly import Assembly
from mlflow_monitoring_exporter.app.destinations import create_destinations
from mlflow_monitoring_exporter.app.membership import Polling, may_come_later
from mlflow_monitoring_exporter.app.self_monitoring import Telemetry
from mlflow_monitoring_exporter.config.describe import fingerprint
from mlflow_monitoring_exporter.config.schema import Config, WebConfig
from mlflow_monitoring_exporter.core import shutdown
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ConfigError, StateError
from mlflow_monitoring_exporter.exporters.plugins import Plugins
from mlflow_monitoring_exporter.schedule.poll_job import STATE
from mlflow_monitoring_exporter.telemetry.audit import audit
from mlflow_monitoring_exporter.web.app import build_app
from mlflow_monitoring_exporter.web.server import WebServer

_log = structlog.get_logger(__name__)

#: Seconds until a thread that computes lets another one go on: a scrape changes threads several times, and must not
#: wait for a poll each time.
_SWITCH = 0.001
#: On a reload, how long a request that is under way may still take.
_UNDER_WAY = 60.0
#: Seconds since the signal: until MLflow's answer is no longer waited for, nor a poll; until exporters that have no
#: success to show are not, either.
_CUT, _POLL, _HOPELESS = 1.0, 1.5, 2.5
#: Seconds for the batch of a spool that is on its way; sent again otherwise, which stores nothing twice. And for an
#: analysis, which is begun again.
_SPOOL = 0.5
#: Seconds for the rest: closing connections, and the pages.
_CLOSING = 1.5


class Daemon:
    """Runs until it is told to stop.

    ``load`` reads the configuration, and applies it to the log; it is called once at the start and
    again for each SIGHUP.
    """

    def __init__(self, load: Callable[[], Config], plugins: Plugins) -> None:
        self._load = load
        self._plugins = plugins
        self._telemetry = Telemetry()
        self._signalled = threading.Event()
        self._stop_asked = False
        self._reload_asked = False
        self._broken: Config | None = None
        self._web: tuple[WebConfig, WebServer] | None = None
        self._assembly: Assembly | None = None
        #: The same, until it is closed.
        self._open: Assembly | None = None
        self._asked_at = 0.0
        self._polling: Polling | None = None

    def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, drain.

        Raises ConfigError or StateError when it cannot start. Call it on the main thread.
        """
        sys.setswitchinterval(_SWITCH)
        shutdown.handle(self._on_stop, last_words=self._left_behind)
        signal.signal(signal.SIGHUP, self._on_reload)
        config = self._load()
        try:
            if not self._stop_asked:
                self._start_or_wait(config)
            while not self._stop_asked:
                self._signalled.wait(1.0)
                self._signalled.clear()
                if self._reload_asked and not self._stop_asked:
                    self._reload_asked = False
                    self._reload()
                if self._broken is not None and not self._stop_asked:
                    self._begin_afresh(self._broken)
                if self._polling is not None and self._polling.check_clock():
                    _log.warning("wall clock changed; polling now")
            _log.info("stopping; draining the backlog", seconds=config.export.drain_timeout)
        finally:
            self._stop(drain=self._stop_asked)
            shutdown.allow(_CLOSING)
            if self._web is not None:
                self._web[1].stop()
        _log.info("stopped")

    def _on_stop(self, _number: int) -> None:
        if not self._stop_asked:
            self._stop_asked, self._asked_at = True, time.monotonic()
            timer = threading.Timer(_CUT, self._cut)
            timer.daemon = True
            timer.start()
        self._signalled.set()

    def _cut(self) -> None:
        """What MLflow has not answered by now it may never answer."""
        if (assembly := self._open) is not None:
            assembly.stopping.set()
            assembly.cut()

    def _left_behind(self) -> None:
        _log.warning("stopped without waiting for endpoints that do not answer")

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_asked = True
        self._signalled.set()

    def _on_broken(self, config: Config) -> None:
        self._broken = config
        self._signalled.set()

    def _start_or_wait(self, config: Config) -> None:
        """A database that many share may come later than the replicas do."""
        try:
            self._start(config)
        except StateError as error:
            if not may_come_later(config, error):
                raise
            self._telemetry.readiness.bad(STATE, str(error))
            self._on_broken(config)

    def _begin_afresh(self, config: Config) -> None:
        """Start again: with a new state file, when it was damaged or gone; as a new replica, when the lease expired."""
        self._broken = None
        self._stop(drain=False)
        try:
            self._start(config)
        except (ConfigError, StateError) as error:
            self._telemetry.readiness.bad(STATE, str(error))
            self._broken = config  # tried again in a second

    def _start(self, config: Config) -> None:
        destinations = create_destinations(config, self._plugins)
        self._listen(config.web)
        self._assembly = self._open = assembly = Assembly(config, destinations, self._telemetry)
        try:
            self._polling = assembly.polling(lambda: self._on_broken(config))
        except StateError:
            self._assembly = None
            assembly.close()
            raise
        self._telemetry.readiness.good(STATE)
        assembly.workers.start()
        self._polling.start()
        if assembly.spool is not None:
            assembly.spool.start()
        assembly.analysis.start()
        digest = fingerprint(config)
        self._telemetry.metrics.config.clear()
        self._telemetry.metrics.config.labels(digest).set(1)
        audit("configured", config_hash=digest, mlflow=list(assembly.servers), exporters=[d.name for d in destinations])
        _log.info(
            "started",
            version=__version__,
            mlflow=", ".join(assembly.servers),
            web=self._web[1].url if self._web else None,
            interval=config.export.interval,
            state=assembly.where,
            exporters={destination.name: destination.target for destination in destinations},
        )

    def _listen(self, config: WebConfig) -> None:
        """Serve the pages as ``config`` says; a server that does so already stays."""
        if self._web is not None:
            if self._web[0] == config:
                return
            self._web[1].stop()
            self._web = None
        server = WebServer(
            config,
            build_app(self._telemetry.metrics.registry, self._telemetry.readiness, config, self._telemetry.scraped),
        )
        server.start()
        self._web = (config, server)

    def _stop(self, *, drain: bool) -> None:
        """End polls and workers; with ``drain`` deliver what waits first."""
        if self._assembly is None:
            return
        assembly, self._assembly = self._assembly, None
        deadline = Deadline.after(assembly.config.export.drain_timeout if drain else 0.0)
        assembly.stopping.set()
        polling, self._polling = self._polling, None
        patience = min(deadline.remaining(), _POLL) if drain else _UNDER_WAY
        if polling is not None and not polling.stop(patience):
            _log.warning("poll did not finish before shutdown; the rest is read again next time")
        if drain:
            self._drain(assembly, deadline, alone=polling is None or polling.alone)
        else:
            assembly.workers.stop(deadline, grace=_UNDER_WAY)
        if assembly.spool is not None:
            assembly.spool.stop(_SPOOL)
        assembly.analysis.stop(_SPOOL)
        assembly.close()
        self._open = None

    def _drain(self, assembly: Assembly, deadline: Deadline, *, alone: bool) -> None:
        hopeless_after = max(0.0, self._asked_at + _HOPELESS - time.monotonic())
        if alone:
            until, grace = deadline, 1.0
        else:
            # What waits is delivered by the others; what is under way is not sent twice if it can be helped.
            until, grace = Deadline.after(0.0), deadline.remaining()
        shutdown.allow(deadline.remaining() + grace + _CLOSING)
        assembly.workers.stop(until, grace=grace, hopeless_after=hopeless_after)
        shutdown.allow(_CLOSING)

    def _reload(self) -> None:
        old = self._assembly
        try:
            config = self._load()
            create_destinations(config, self._plugins)
        except ConfigError as error:
            self._refuse(error)
            return
        self._stop(drain=False)
        try:
            self._start(config)
        except (ConfigError, StateError) as error:
            self._refuse(error)
            if old is not None:
                self._start(old.config)
            return
        if old is not None and self._assembly is not None:
            self._forget(old, self._assembly)
        self._telemetry.metrics.config_reload_successful.set(1)
        audit("configuration reloaded")

    def _forget(self, old: Assembly, new: Assembly) -> None:
        """Report no more on servers and exporters that only the old configuration has."""
        self._telemetry.readiness.keep_only(new.components)
        for name in {d.name for d in old.destinations} - {d.name for d in new.destinations}:
            self._telemetry.metrics.exporters.forget(name)

    def _refuse(self, error: Exception) -> None:
        self._telemetry.metrics.config_reload_successful.set(0)
        problems = str(error).splitlines()
        audit("configuration rejected; keeping the previous one", problems=problems)
