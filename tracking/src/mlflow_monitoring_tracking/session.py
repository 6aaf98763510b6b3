"""What the runs of one tracker share: its settings, the spool, the back ends, and the sender that feeds them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from mlflow_monitoring_tracking import configuration
from mlflow_monitoring_tracking.process import process
from mlflow_monitoring_tracking.sending.adoption import new_writer
from mlflow_monitoring_tracking.sending.progress import load
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directory
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.recorder import Recorder
from mlflow_monitoring_tracking.spool.records import Opened, encode
from mlflow_monitoring_tracking.spool.room import Room
from mlflow_monitoring_tracking.spool.segments import SegmentWriter
from mlflow_monitoring_tracking.spool.times import now_ms

if TYPE_CHECKING:
    from mlflow_monitoring_tracking.backends.contract import Backend
    from mlflow_monitoring_tracking.sampling import SampledRun
    from mlflow_monitoring_tracking.sending.sender import Sender

_FOREVER = float("inf")


class Session:
    """Of one tracker. ``backends`` makes the back ends that are sent to, when they are needed first."""

    def __init__(self, settings: Settings, backends: Callable[[], dict[str, Backend]]) -> None:
        self.settings = settings
        self._backends = backends
        self.spool = settings.spool_dir.absolute()
        self.strict = settings.strict
        self.is_online = settings.mode == "online" and settings.delivery.enabled
        self.syncs_each = settings.spool.fsync == "always"
        self._sync_every = (
            _FOREVER
            if settings.spool.fsync == "never"
            else 0.0
            if self.syncs_each
            else configuration.seconds(settings.spool.fsync)
        )
        self._synced = time.monotonic()
        self._parent = 0
        self._room = Room(self.spool, settings.spool.max_bytes)

    def directory(self, opened: Opened) -> RunDirectory:
        """Where a run is."""
        return run_directory(self.spool, opened.run_key)

    def open_writer(self, opened: Opened) -> SegmentWriter:
        """The file of this process in a run.

        :raises OSError: there can be none.
        """
        process.revive()
        directory = self.directory(opened)
        directory.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        writer = SegmentWriter(directory, new_writer(now_ms()), encode(opened))
        directory.complete.unlink(missing_ok=True)  # it goes on
        return writer

    def member(self, opened: Opened) -> Opened:
        """A process that adds to a run of its parent."""
        self._parent = os.getppid()
        return replace(opened, owner=False, pid=os.getpid())

    def is_time_to_sync(self) -> bool:
        """Whether what was written is to be brought to the disk now."""
        now = time.monotonic()
        if now - self._synced < self._sync_every * 0.9:
            return False
        self._synced = now
        return True

    def is_crowded(self) -> bool:
        """Whether more than nine tenths of what the spool may take are taken."""
        return self._room.share() > 0.9

    def is_half_full(self) -> bool:
        """Whether artifacts are to stay where they are."""
        return self._room.share() > 0.5

    def sender(self) -> Sender | None:
        """What feeds the back ends from this process; None when it does not."""
        if not self.is_online:
            return None
        from mlflow_monitoring_tracking.sending.sender import Sender

        keep = _FOREVER if self.settings.local.enabled else 0.0
        backends = self._backends()
        delivery, patience = self.settings.delivery, self.settings.spool.flush_timeout
        return process.sender(str(self.spool), lambda: Sender(self.spool, backends, delivery, keep), patience)

    def wake(self, opened: Opened) -> None:
        """There is something to send. A forked child leaves that to its parent, for as long as that lives."""
        parent_sends = not opened.owner and opened.rank is None and os.getppid() == self._parent
        if not parent_sends and (sender := self.sender()) is not None:
            sender.wake()

    def wait_synced(self, opened: Opened, recorder: Recorder, timeout: float, *, ended: bool) -> bool:
        """Whether every back end has all that this process wrote, within ``timeout`` seconds."""
        until = time.monotonic() + timeout
        place = recorder.place
        if place is None:
            return False
        writer, wanted = place
        self.wake(opened)
        names = list(self._backends())
        directory = self.directory(opened)
        while True:
            if all(self._has(directory, name, writer, wanted, ended=ended) for name in names):
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)

    def run_id(self, opened: Opened) -> str | None:
        """MLflow's id of a run, once it has one; without MLflow that of the first back end that has."""
        names = sorted(self._backends(), key=lambda name: name != "mlflow")
        return load(self.directory(opened), names[0]).run.run_id if names else None

    def start_sampling(self, run: SampledRun, opened: Opened) -> None:
        """A run begins: its system metrics, too, if they are wanted."""
        wanted = self.settings.auto_log
        if wanted.enabled and wanted.system_metrics:
            from mlflow_monitoring_tracking.sampling import sampler

            sampler.start(run, self.directory(opened), wanted.system_metrics_interval)

    def stop_sampling(self, run: SampledRun) -> None:
        """A run ends: its system metrics, too."""
        if self.settings.auto_log.system_metrics:
            from mlflow_monitoring_tracking.sampling import sampler

            sampler.stop(run)

    @staticmethod
    def _has(directory: RunDirectory, name: str, writer: str, wanted: Place, *, ended: bool) -> bool:
        progress = load(directory, name)
        return progress.places.get(writer, Place(0, 0)) >= wanted and (not ended or progress.ended is not None)
