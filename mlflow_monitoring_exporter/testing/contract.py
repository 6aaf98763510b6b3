"""The contract of exporters as tests."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar, Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ExportError,
    PartialExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import Batch, Snapshot
from mlflow_monitoring_exporter.exporters.contract import CONTRACT, AnyExporter, DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.testing.http_platform import HttpPlatform, Reply
from mlflow_monitoring_exporter.testing.payloads import make_batch, make_odd_batches, make_snapshot
from mlflow_monitoring_exporter.testing.platform import Fault, Platform

#: Seconds that an export gets, usually and where its end is tested, and by how much it may be late.
_GIVEN = 1.0
_SHORT = 0.2
_TOLERANCE = 1.5
#: The same where no time is measured.
_PATIENCE = 30.0
#: Bytes, more than an acknowledgement needs.
_LONG = 3_000_000
_PAGE = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html><title>Log in</title>")
#: Seconds that threads get to end after close.
_LINGER = 5.0

_MEANS: dict[Fault, tuple[type[ExportError], ...]] = {
    Fault.UNAVAILABLE: (RetryableExportError,),
    Fault.UNAUTHORIZED: (UnauthorizedExportError,),
    Fault.REFUSING: (PermanentExportError, PartialExportError),
    Fault.SILENT: (RetryableExportError,),
}


class DeliveryContract:
    """What an exporter keeps with which nothing can go wrong, like one that is asked instead of sending.

    Extend it, name the plugin, and bring a fixture ``platform``: see :mod:`mlflow_monitoring_exporter.testing`.
    """

    plugin: ClassVar[ExporterPlugin[Any]]

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
        config = self.config(platform)
        self.plugin.create(config).close()
        assert self.plugin.target(config)
        assert not platform.contacted()

    def test_what_is_exported_arrives(self, platform: Platform) -> None:
        with self.started(platform) as exporter:
            export(exporter, self.payload())
            assert len(set(platform.received())) == self.size(self.payload())

    def test_what_is_delivered_twice_is_recognised(self, platform: Platform) -> None:
        payload = self.payload()
        with self.started(platform) as exporter:
            export(exporter, payload)
            first = set(platform.received())
            export(exporter, payload)
            assert set(platform.received()) == first
        with self.started(platform) as another:
            export(another, payload)
            assert set(platform.received()) == first, "after a restart, too"

    def test_without_any_time_it_delivers_at_once_or_not_at_all(self, platform: Platform) -> None:
        with self.started(platform) as exporter:
            begin = time.monotonic()
            try:
                exporter.export(self.payload(), deadline=Deadline.after(0))
            except RetryableExportError:
                pass
            else:
                assert platform.received()
            assert time.monotonic() - begin < _TOLERANCE

    def test_a_check_delivers_nothing(self, platform: Platform) -> None:
        with self.started(platform) as exporter:
            exporter.check()
            assert not platform.received()

    def test_nothing_that_mlflow_may_hold_breaks_it(self, platform: Platform) -> None:
        """It may refuse a sample that its platform cannot hold, in as many words."""
        payloads = make_odd_batches() if self.plugin.mode is DeliveryMode.EVERY else [make_snapshot(), Snapshot({})]
        with self.started(platform) as exporter:
            for payload in payloads:
                with suppress(PermanentExportError, PartialExportError):
                    export(exporter, payload)

    def test_closing_leaves_nothing_behind(self, platform: Platform) -> None:
        with self.started(platform) as exporter:  # so that the platform has started what it needs
            export(exporter, self.payload())
        before = set(threading.enumerate())
        with self.started(platform) as exporter:
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


class ExporterContract(DeliveryContract):
    """All of it, faults of the platform included. To be extended like :class:`DeliveryContract`."""

    #: Those that the platform can have; a file knows no credentials.
    faults: ClassVar[Collection[Fault]] = tuple(Fault)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test that takes ``fault`` runs once for each of them."""
        if "fault" in metafunc.fixturenames:
            metafunc.parametrize("fault", self.faults, ids=[fault.value for fault in self.faults])

    def test_a_fault_has_its_error(self, platform: Platform, fault: Fault) -> None:
        with self.started(platform) as exporter:
            platform.suffer(fault)
            with pytest.raises(_MEANS[fault]) as raised:
                export(exporter, self.payload())
            assert str(raised.value).strip(), "people read it"

    def test_it_delivers_when_a_fault_is_over(self, platform: Platform, fault: Fault) -> None:
        with self.started(platform) as exporter:
            platform.suffer(fault)
            with pytest.raises(ExportError):
                export(exporter, self.payload())
            platform.suffer(None)
            _until_delivered(exporter, self.payload())
            assert len(set(platform.received())) == self.size(self.payload())

    def test_it_ends_by_its_deadline(self, platform: Platform, fault: Fault) -> None:
        patient = {"timeout": 60} if "timeout" in platform.settings() else {}
        with self.started(platform, **patient) as exporter:
            platform.suffer(fault)
            begin = time.monotonic()
            with suppress(ExportError):
                exporter.export(self.payload(), deadline=Deadline.after(_SHORT))
            assert time.monotonic() - begin < _SHORT + _TOLERANCE

    def test_a_check_says_what_an_export_would_say(self, platform: Platform, fault: Fault) -> None:
        with self.started(platform) as exporter:
            platform.suffer(fault)
            begin = time.monotonic()
            if fault is Fault.REFUSING:  # unknown before there is a payload
                with suppress(PermanentExportError):
                    exporter.check()
            else:
                with pytest.raises(_MEANS[fault]):
                    exporter.check()
            assert time.monotonic() - begin < 10, "a timeout of its own"

    def test_no_secret_is_ever_said(
        self, platform: Platform, fault: Fault, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        config = self.config(platform)
        said = [repr(config), self.plugin.target(config)]
        with self.started(platform) as exporter:
            said.append(repr(exporter))
            platform.suffer(fault)
            attempts: tuple[Callable[[], None], ...] = (lambda: export(exporter, self.payload()), exporter.check)
            for attempt in attempts:
                try:
                    attempt()
                except ExportError as error:
                    said += ["".join(traceback.format_exception(error)), repr(error)]
        out, err = capfd.readouterr()
        text = "\n".join([*said, caplog.text, out, err])
        assert [secret for secret in platform.secrets if secret in text] == []


class HttpExporterContract(ExporterContract):
    """All of that, and what answers over HTTP may be like. The fixture ``platform`` is an :class:`HttpPlatform`."""

    def patient(self, platform: HttpPlatform) -> AbstractContextManager[AnyExporter]:
        """An exporter in use that a busy machine does not hurry: what comes here comes at once, or not at all."""
        return self.started(platform, **({"timeout": _PATIENCE} if "timeout" in platform.settings() else {}))

    @pytest.mark.parametrize("framing", ["length", "chunked", "no content"])
    def test_an_answer_that_is_cut_is_none(
        self, platform: HttpPlatform, framing: Literal["length", "chunked", "no content"]
    ) -> None:
        """Whoever takes half an answer for success loses what the platform never looked at."""
        platform.framing = framing
        with self.patient(platform) as exporter:
            _deliver(exporter, self.payload())
        for method, size in list(platform.sizes.items()):
            for end in range(size):
                platform.cut = method, end
                with self.patient(platform) as exporter:  # which does not know what was delivered before
                    try:
                        _deliver(exporter, self.payload())
                    except RetryableExportError:
                        continue
                pytest.fail(f"{end} of {size} bytes of the answer to a {method} count as a delivery")

    def test_a_page_for_people_is_no_answer(self, platform: HttpPlatform) -> None:
        """A proxy that asks for a login does so with 200."""
        platform.instead = _PAGE
        with self.patient(platform) as exporter, pytest.raises((RetryableExportError, UnauthorizedExportError)):
            _deliver(exporter, self.payload())

    def test_an_acknowledgement_may_be_long(self, platform: HttpPlatform) -> None:
        platform.padding = _LONG
        with self.patient(platform) as exporter:
            _deliver(exporter, self.payload())
            assert len(set(platform.received())) == self.size(self.payload())

    def test_a_batch_that_is_still_in_work_is_repeated_under_its_key(self, platform: HttpPlatform) -> None:
        """So the draft of Idempotency-Key has it: 409 says that the first request is not done yet."""
        platform.instead = Reply(409)
        with self.patient(platform) as exporter:
            with pytest.raises(ExportError) as raised:
                _deliver(exporter, self.payload())
            keyed = any("idempotency-key" in request.headers for request in platform.requests)
            assert isinstance(raised.value, RetryableExportError) or not keyed
            platform.instead = None
            first, *_ = platform.requests
            _deliver(exporter, self.payload())
            repeated = [one for one in platform.requests[1:] if one.method == first.method]
            assert first.headers.get("idempotency-key") == repeated[0].headers.get("idempotency-key")

    @pytest.mark.parametrize("status", [405, 501])
    def test_who_does_not_offer_what_a_check_asks_for_is_there(self, platform: HttpPlatform, status: int) -> None:
        platform.instead = Reply(status)
        with self.patient(platform) as exporter:
            exporter.check()
            assert platform.contacted()


def _deliver(exporter: AnyExporter, payload: Batch | Snapshot) -> None:
    exporter.export(payload, deadline=Deadline.after(_PATIENCE))


def export(exporter: AnyExporter, payload: Batch | Snapshot) -> None:
    """As the core does it."""
    exporter.export(payload, deadline=Deadline.after(_GIVEN))


def _until_delivered(exporter: AnyExporter, payload: Batch | Snapshot) -> None:
    """Some connections need a moment to come back, for which there is backoff."""
    end = time.monotonic() + 10
    while True:
        try:
            return export(exporter, payload)
        except RetryableExportError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _types(config: type[ExporterConfig]) -> tuple[Hashable, ...]:
    annotation = config.model_fields["type"].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
