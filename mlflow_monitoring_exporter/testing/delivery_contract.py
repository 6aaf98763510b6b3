"""The contract of exporters as tests: that what is exported arrives, as it is, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PartialExportError, PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.core.values import Batch, Sample, Snapshot
from mlflow_monitoring_exporter.exporters.contract import CONTRACT, AnyExporter, DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.testing.connections import network_calls
from mlflow_monitoring_exporter.testing.payloads import make_batch, make_odd_batches, make_snapshot
from mlflow_monitoring_exporter.testing.platform import Platform
from mlflow_monitoring_exporter.testing.time_limit import with_time_limit

#: Seconds that an export gets where no time is measured and where its end is tested, and by how much it may be late.
GIVEN = 30.0
SHORT = 0.2
TOLERANCE = 1.5
#: Seconds that threads get to end after close.
_LINGER = 5.0
#: Milliseconds that tell two samples apart even where a platform counts whole seconds.
_A_MINUTE = 60_000


@with_time_limit
class DeliveryContract:
    """What an exporter keeps with which nothing can go wrong, like one that is asked instead of sending.

    Extend it, name the plugin, and bring a fixture ``platform``: see :mod:`mlflow_monitoring_exporter.testing`.
    """

    plugin: ClassVar[ExporterPlugin[Any]]
    #: Seconds that each test gets; one that takes longer hangs.
    time_limit: float = 120.0
    #: What of a sample the platform has a place for, besides its key and its value: ``step``, ``timestamp``, or both.
    carries: ClassVar[Collection[str]] = ("step", "timestamp")

    def test_the_plugin_is_one(self) -> None:
        plugin = self.plugin
        assert isinstance(plugin, ExporterPlugin)
        assert plugin.contract == CONTRACT
        assert issubclass(plugin.config, BatchExporterConfig if plugin.mode is DeliveryMode.EVERY else ExporterConfig)
        assert len(_types(plugin.config)) == 1, "type: Literal['...'] says which exporter a block is for"

    def test_a_key_that_does_not_exist_is_refused(self, platform: Platform) -> None:
        with pytest.raises(ValidationError, match="no_such_key"):
            self.config(platform, no_such_key=1)

    def test_creating_it_touches_nothing(self, platform: Platform) -> None:
        """Commands that only look at the configuration create it, too."""
        config = self.config(platform)
        with network_calls() as calls:
            exporter = self.plugin.create(config)
            assert self.plugin.target(config)
            exporter.close()
        assert not calls, f"whatever connects belongs into start: {'; '.join(calls)}"
        end = time.monotonic() + SHORT  # what was sent may still be on its way
        while not (contacted := platform.contacted()) and time.monotonic() < end:
            time.sleep(0.02)
        assert not contacted, "whatever connects belongs into start"

    def test_what_is_exported_arrives(self, platform: Platform) -> None:
        with self.patient(platform) as exporter:
            export(exporter, self.payload())
            assert len(set(platform.received())) == self.size(self.payload())

    def test_what_is_delivered_twice_is_recognised(self, platform: Platform) -> None:
        payload = self.payload()
        with self.patient(platform) as exporter:
            export(exporter, payload)
            first = set(platform.received())
            export(exporter, payload)
            assert set(platform.received()) == first
        with self.patient(platform) as another:
            export(another, payload)
            assert set(platform.received()) == first, "after a restart, too"

    def test_another_batch_is_not_taken_for_a_repeated_one(self, platform: Platform) -> None:
        """Two batches of one idempotency key, or of none, are one to whoever goes by it."""
        if self.plugin.mode is DeliveryMode.LATEST:
            return
        batches = two_batches()
        with self.patient(platform) as exporter:
            for batch in batches:
                export(exporter, batch)
            assert len(set(platform.received())) == sum(map(self.size, batches))

    def test_a_sample_keeps_its_step(self, platform: Platform) -> None:
        self._assert_carried(platform, "step", lambda sample: replace(sample, step=sample.step + 7))

    def test_a_sample_keeps_its_timestamp(self, platform: Platform) -> None:
        """MLflow's own: a backlog that is delivered late still says when it happened."""
        self._assert_carried(
            platform, "timestamp", lambda sample: replace(sample, timestamp_ms=sample.timestamp_ms - _A_MINUTE)
        )

    def test_without_any_time_it_delivers_at_once_or_not_at_all(self, platform: Platform) -> None:
        with self.started(platform) as exporter:
            begin = time.monotonic()
            try:
                exporter.export(self.payload(), deadline=Deadline.after(0))
            except RetryableExportError:
                pass
            else:
                assert platform.received()
            assert time.monotonic() - begin < TOLERANCE

    def test_a_check_delivers_nothing(self, platform: Platform) -> None:
        with self.patient(platform) as exporter:
            exporter.check()
            assert not platform.received()

    def test_nothing_that_mlflow_may_hold_breaks_it(self, platform: Platform) -> None:
        """It may refuse a sample that its platform cannot hold, in as many words."""
        payloads = make_odd_batches() if self.plugin.mode is DeliveryMode.EVERY else [make_snapshot(), Snapshot({})]
        with self.patient(platform) as exporter:
            for payload in payloads:
                with suppress(PermanentExportError, PartialExportError):
                    export(exporter, payload)

    def test_closing_leaves_nothing_behind(self, platform: Platform) -> None:
        with self.patient(platform) as exporter:  # so that the platform has started what it needs
            export(exporter, self.payload())
        before = set(threading.enumerate())
        with self.patient(platform) as exporter:
            export(exporter, self.payload())
        end = time.monotonic() + _LINGER
        while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
            time.sleep(0.02)
        assert left == set()

    def config(self, platform: Platform, **more: Any) -> Any:
        """The exporter's block that leads to the platform."""
        (kind,) = _types(self.plugin.config)
        return self.plugin.config.model_validate({"type": kind, **platform.settings(), **more})

    def payload(self) -> Batch | Snapshot:
        """What is exported; the same each time within a test."""
        if not hasattr(self, "_payload"):
            self._payload = make_batch() if self.plugin.mode is DeliveryMode.EVERY else make_snapshot()
        return self._payload

    @staticmethod
    def size(payload: Batch | Snapshot) -> int:
        """How many different things the platform has when it has all of it."""
        return len(payload.samples) if isinstance(payload, Batch) else payload.series_count

    @contextmanager
    def started(self, platform: Platform, **more: Any) -> Iterator[AnyExporter]:
        """An exporter in use; ``more`` are keys of its block."""
        exporter: AnyExporter = self.plugin.create(self.config(platform, **more))
        try:
            exporter.start()
            yield exporter
        finally:
            exporter.close()

    def patient(self, platform: Platform) -> AbstractContextManager[AnyExporter]:
        """An exporter in use that a busy machine does not hurry: what comes to it comes at once, or not at all."""
        return self.started(platform, **({"timeout": GIVEN} if "timeout" in platform.settings() else {}))

    def tells_apart(self, platform: Any, one: Batch, other: Batch) -> bool:
        """Whether two batches that are almost the same differ for the platform."""
        with self.patient(platform) as exporter:
            export(exporter, one)
            before = set(platform.received())
            export(exporter, other)
            return set(platform.received()) != before

    def _assert_carried(self, platform: Platform, what: str, change: Callable[[Sample], Sample]) -> None:
        if self.plugin.mode is DeliveryMode.LATEST or what not in self.carries:
            return
        batch = make_batch(1)
        changed = replace(batch, samples=[change(sample) for sample in batch.samples])
        assert self.tells_apart(platform, batch, changed), (
            f"two samples that differ in nothing but their {what} are the same to the platform: send it, and let "
            f"received() tell them apart by it; if the platform has no place for it, leave it out of `carries`"
        )


def two_batches() -> tuple[Batch, Batch]:
    """Two that have nothing in common but their run."""
    return make_batch(), make_batch(key="val/accuracy", batch_id="8d1e6b4f0a3c4d7e9b2f5a6c7d8e9f01")


def export(exporter: AnyExporter, payload: Batch | Snapshot, *, seconds: float = GIVEN) -> None:
    """As the core does it."""
    exporter.export(payload, deadline=Deadline.after(seconds))


def _types(config: type[ExporterConfig]) -> tuple[Hashable, ...]:
    annotation = config.model_fields["type"].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
