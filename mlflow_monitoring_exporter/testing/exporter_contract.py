"""The contract of exporters as tests: what becomes of a platform's faults."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import ClassVar

import pytest

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ExportError,
    PartialExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import Batch, Snapshot
from mlflow_monitoring_exporter.exporters.contract import AnyExporter
from mlflow_monitoring_exporter.testing.delivery_contract import SHORT, TOLERANCE, DeliveryContract, export
from mlflow_monitoring_exporter.testing.platform import Fault, Platform
from mlflow_monitoring_exporter.testing.time_limit import with_time_limit

_MEANS: dict[Fault, tuple[type[ExportError], ...]] = {
    Fault.UNAVAILABLE: (RetryableExportError,),
    Fault.UNAUTHORIZED: (UnauthorizedExportError,),
    Fault.REFUSING: (PermanentExportError, PartialExportError),
    Fault.SILENT: (RetryableExportError,),
}


@with_time_limit
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
                exporter.export(self.payload(), deadline=Deadline.after(SHORT))
            assert time.monotonic() - begin < SHORT + TOLERANCE

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
