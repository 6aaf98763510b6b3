"""The contract of exporters as tests: what answers over HTTP may be like, and what requests must be like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import pytest

from mlflow_monitoring_exporter.core.errors import (
    ExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode
from mlflow_monitoring_exporter.testing.delivery_contract import export, two_batches
from mlflow_monitoring_exporter.testing.exporter_contract import ExporterContract
from mlflow_monitoring_exporter.testing.http_platform import HttpPlatform, Reply, Request
from mlflow_monitoring_exporter.testing.time_limit import with_time_limit

#: Bytes, more than an acknowledgement needs.
_LONG = 3_000_000
_PAGE = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html><title>Log in</title>")


@with_time_limit
class HttpExporterContract(ExporterContract):
    """All of that, and what goes over HTTP. The fixture ``platform`` is an :class:`HttpPlatform`."""

    #: The header by which the platform knows a batch again; None if it knows a sample by what it is, as by series and
    #: time, or by an id in the body.
    idempotency_key: ClassVar[str | None] = "Idempotency-Key"

    def test_each_batch_has_an_idempotency_key_of_its_own(self, platform: HttpPlatform) -> None:
        """The same after a restart, and no other batch's: a platform takes what has a key that it knows for done."""
        if self.plugin.mode is DeliveryMode.LATEST or self.idempotency_key is None:
            return
        one, other = two_batches()
        keys, others, again = (self._keys(platform, batch) for batch in (one, other, one))
        assert None not in keys | others | again, (
            f"a delivery came without {self.idempotency_key}: send the batch's id as that; if the platform knows a "
            "sample again without it, set `idempotency_key = None`"
        )
        assert keys
        assert keys == again, "a repeated delivery has the key of the first"
        assert keys.isdisjoint(others), "another batch has another key"

    @pytest.mark.parametrize("framing", ["length", "chunked", "no content"])
    def test_an_answer_that_is_cut_is_none(
        self, platform: HttpPlatform, framing: Literal["length", "chunked", "no content"]
    ) -> None:
        """Whoever takes half an answer for success loses what the platform never looked at."""
        platform.framing = framing
        with self.patient(platform) as exporter:
            export(exporter, self.payload())
        for method, size in list(platform.sizes.items()):
            for end in range(size):
                platform.cut = method, end
                with self.patient(platform) as exporter:  # which does not know what was delivered before
                    try:
                        export(exporter, self.payload())
                    except RetryableExportError:
                        continue
                pytest.fail(f"{end} of {size} bytes of the answer to a {method} count as a delivery")

    def test_a_page_for_people_is_no_answer(self, platform: HttpPlatform) -> None:
        """A proxy that asks for a login does so with 200."""
        platform.instead = _PAGE
        with self.patient(platform) as exporter, pytest.raises((RetryableExportError, UnauthorizedExportError)):
            export(exporter, self.payload())

    def test_an_acknowledgement_may_be_long(self, platform: HttpPlatform) -> None:
        platform.padding = _LONG
        with self.patient(platform) as exporter:
            export(exporter, self.payload())
            assert len(set(platform.received())) == self.size(self.payload())

    def test_a_batch_that_is_still_in_work_is_repeated_under_its_key(self, platform: HttpPlatform) -> None:
        """So the draft of Idempotency-Key has it: 409 says that the first request is not done yet."""
        header = (self.idempotency_key or "Idempotency-Key").lower()
        platform.instead = Reply(409)
        with self.patient(platform) as exporter:
            with pytest.raises(ExportError) as raised:
                export(exporter, self.payload())
            keyed = any(header in request.headers for request in platform.requests)
            assert isinstance(raised.value, RetryableExportError) or not keyed
            platform.instead = None
            first, *_ = platform.requests
            export(exporter, self.payload())
            repeated = [one for one in platform.requests[1:] if one.method == first.method]
            assert first.headers.get(header) == repeated[0].headers.get(header)

    @pytest.mark.parametrize("status", [405, 501])
    def test_who_does_not_offer_what_a_check_asks_for_is_there(self, platform: HttpPlatform, status: int) -> None:
        platform.instead = Reply(status)
        with self.patient(platform) as exporter:
            exporter.check()
            assert platform.requests

    def tells_apart(self, platform: HttpPlatform, one: Batch, other: Batch) -> bool:
        """By what the platform holds, or by what is sent, if that is the same each time."""
        first, again = self._sent(platform, one), self._sent(platform, one)
        held = set(platform.received())
        changed = self._sent(platform, other)
        return set(platform.received()) != held or first == again != changed

    def _keys(self, platform: HttpPlatform, batch: Batch) -> set[str | None]:
        """The idempotency keys of the requests that deliver a batch."""
        header = (self.idempotency_key or "").lower()
        return {request.headers.get(header) for request in self._deliveries(platform, batch)}

    def _sent(self, platform: HttpPlatform, batch: Batch) -> Sequence[tuple[str, str, bytes]]:
        return [(one.method, one.path, one.body) for one in self._deliveries(platform, batch)]

    def _deliveries(self, platform: HttpPlatform, batch: Batch) -> Sequence[Request]:
        """The requests by which an exporter that has just been started delivers a batch."""
        before = len(platform.deliveries)
        with self.patient(platform) as exporter:
            export(exporter, batch)
        return platform.deliveries[before:]
