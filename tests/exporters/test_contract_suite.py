"""The suite that third parties prove their exporters with notices what it is there to notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal

import orjson
import pytest

from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ExportError, PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.contract import AnyExporter, DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import Endpoint, HttpSettings
from mlflow_monitoring_exporter.http import Credentials, HttpClient, HttpFailedError
from mlflow_monitoring_exporter.testing import Fault, HttpExporterContract, contract
from tests.exporters.platforms import SECRET, JsonPlatform


class GoodConfig(HttpSettings, BatchExporterConfig):
    type: Literal["good"]
    endpoint: str
    api_key: str


class Good:
    """An exporter that keeps the contract."""

    def __init__(self, config: GoodConfig) -> None:
        self.config = config
        self.endpoint = Endpoint(config.endpoint, config, credentials=Credentials())

    def start(self) -> None: ...

    def check(self) -> None:
        answer = self.endpoint.send("OPTIONS")
        if not self.endpoint.reached(answer):
            raise self.error(answer)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        body = orjson.dumps({"metrics": [sample.step for sample in payload.samples]})
        headers = {"Idempotency-Key": payload.batch_id}
        answer = self.endpoint.send("POST", deadline=deadline, body=body, headers=headers)
        if not answer.ok:
            raise self.error(answer)

    def error(self, answer: Any) -> ExportError:
        refusal = self.endpoint.refusal(answer, keyed=True)
        return type(refusal)(f"HTTP {answer.status}")

    def close(self) -> None:
        self.endpoint.close()


class Optimist(Good):
    """Believes that all is well."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        with suppress(ExportError):
            super().export(payload, deadline=deadline)


class Pessimist(Good):
    """Gives up at once."""

    def error(self, answer: Any) -> ExportError:
        return PermanentExportError(f"HTTP {answer.status}")


class Patient(Good):
    """Does not look at the clock."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        super().export(payload, deadline=Deadline.after(2))


class Forgetful(Good):
    """Gives each delivery a key of its own."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        super().export(Batch(str(time.monotonic_ns()), payload.created_ms, payload.samples), deadline=deadline)


class Eager(Good):
    """Cannot wait to be started."""

    def __init__(self, config: GoodConfig) -> None:
        super().__init__(config)
        super().check()


class Talkative(Good):
    """Says everything."""

    def error(self, answer: Any) -> ExportError:
        return type(super().error(answer))(f"{answer.body!r} for {self.config.api_key}")


class Littering(Good):
    """Leaves a thread behind."""

    def start(self) -> None:
        threading.Thread(target=threading.Event().wait, args=(20,), daemon=True).start()


class Fragile(Good):
    """Breaks on what is odd."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        for sample in payload.samples:
            sample.key.encode("ascii")
        super().export(payload, deadline=deadline)


class Probing(Good):
    """Delivers in order to see whether it could."""

    def check(self) -> None:
        super().check()
        self.export(Batch("probe", 0, [None]), deadline=Deadline.after(1))  # type: ignore[list-item]

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        if payload.samples[0] is None:
            self.endpoint.send("POST", deadline=deadline, body=b'{"metrics": [1]}', headers={"Idempotency-Key": "p"})
        else:
            super().export(payload, deadline=deadline)


class Blind(Good):
    """Finds everything well."""

    def check(self) -> None: ...


class Sloppy(Good):
    """Raises what others raise."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        try:
            super().export(payload, deadline=deadline)
        except RetryableExportError as error:
            raise TimeoutError(str(error)) from None


class Hasty(Good):
    """Hears the beginning of an answer."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        try:
            super().export(payload, deadline=deadline)
        except RetryableExportError as error:
            if "cut short" not in str(error):
                raise


class Credulous(Good):
    """Believes every status."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        with suppress(RetryableExportError):
            super().export(payload, deadline=deadline)


class Impatient(Good):
    """Does not want an answer to be long."""

    def __init__(self, config: GoodConfig) -> None:
        super().__init__(config)
        self.client = HttpClient(max_body=1000)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        try:
            self.client.request("POST", self.config.endpoint, deadline=deadline, body=b'{"metrics": [1, 2, 3]}')
        except HttpFailedError as error:
            raise RetryableExportError(str(error)) from None


class Resigned(Good):
    """Takes a batch that is in work for one that is refused."""

    def error(self, answer: Any) -> ExportError:
        return self.endpoint.refusal(answer)


class Strict(Good):
    """Wants to be asked in the only right way."""

    def check(self) -> None:
        answer = self.endpoint.send("OPTIONS")
        if not answer.ok:
            raise self.error(answer)


class GoodPlatform(JsonPlatform):
    def settings(self) -> dict[str, Any]:
        return {"endpoint": f"{self.url}/in", "api_key": SECRET, "timeout": 60}


@pytest.fixture
def platform() -> Iterator[GoodPlatform]:
    with GoodPlatform() as running:
        yield running


def suite_of(create: Callable[[GoodConfig], AnyExporter], **more: Any) -> HttpExporterContract:
    class Suite(HttpExporterContract):
        plugin = ExporterPlugin(
            **{
                "config": GoodConfig,
                "create": create,
                "mode": DeliveryMode.EVERY,
                "target": lambda config: config.endpoint,
                **more,
            }
        )

    return Suite()


CAUGHT: list[tuple[type[Good], str, Fault | None]] = [
    (Optimist, "test_a_fault_has_its_error", Fault.UNAVAILABLE),
    (Optimist, "test_without_any_time_it_delivers_at_once_or_not_at_all", None),
    (Pessimist, "test_a_fault_has_its_error", Fault.UNAVAILABLE),
    (Pessimist, "test_a_fault_has_its_error", Fault.UNAUTHORIZED),
    (Patient, "test_it_ends_by_its_deadline", Fault.SILENT),
    (Forgetful, "test_what_is_delivered_twice_is_recognised", None),
    (Eager, "test_creating_it_touches_nothing", None),
    (Littering, "test_closing_leaves_nothing_behind", None),
    (Fragile, "test_nothing_that_mlflow_may_hold_breaks_it", None),
    (Probing, "test_a_check_delivers_nothing", None),
    (Blind, "test_a_check_says_what_an_export_would_say", Fault.UNAUTHORIZED),
    (Sloppy, "test_a_fault_has_its_error", Fault.UNAVAILABLE),
]


@pytest.mark.parametrize(("exporter", "test", "fault"), CAUGHT)
def test_a_mistake_fails_the_test_that_is_about_it(
    platform: GoodPlatform, exporter: type[Good], test: str, fault: Fault | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "_LINGER", 0.5)
    arguments = {"platform": platform} | ({} if fault is None else {"fault": fault})
    getattr(suite_of(Good), test)(**arguments)
    platform.suffer(None)
    platform.requests.clear()
    with pytest.raises((AssertionError, pytest.fail.Exception, ExportError, OSError, UnicodeError)):
        getattr(suite_of(exporter), test)(**arguments)


@pytest.mark.parametrize(
    ("exporter", "test", "arguments"),
    [
        (Hasty, "test_an_answer_that_is_cut_is_none", {"framing": "length"}),
        (Hasty, "test_an_answer_that_is_cut_is_none", {"framing": "chunked"}),
        (Hasty, "test_an_answer_that_is_cut_is_none", {"framing": "no content"}),
        (Credulous, "test_a_page_for_people_is_no_answer", {}),
        (Impatient, "test_an_acknowledgement_may_be_long", {}),
        (Resigned, "test_a_batch_that_is_still_in_work_is_repeated_under_its_key", {}),
        (Strict, "test_who_does_not_offer_what_a_check_asks_for_is_there", {"status": 501}),
    ],
)
def test_a_mistake_about_answers_fails_the_test_that_is_about_it(
    exporter: type[Good], test: str, arguments: dict[str, Any]
) -> None:
    with GoodPlatform() as platform:
        getattr(suite_of(Good), test)(platform, **arguments)
    with GoodPlatform() as platform, pytest.raises((AssertionError, pytest.fail.Exception, ExportError)):
        getattr(suite_of(exporter), test)(platform, **arguments)


def test_a_secret_that_is_said_fails(
    platform: GoodPlatform, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match=SECRET):
        suite_of(Talkative).test_no_secret_is_ever_said(platform, Fault.REFUSING, caplog, capfd)


def test_a_plugin_of_another_contract_fails() -> None:
    suite_of(Good).test_the_plugin_is_one()
    with pytest.raises(AssertionError):
        suite_of(Good, contract=2).test_the_plugin_is_one()


def test_a_block_that_takes_any_key_fails(platform: GoodPlatform) -> None:
    class Loose(GoodConfig, extra="ignore"):
        """Whatever."""

    with pytest.raises(pytest.fail.Exception):
        suite_of(Good, config=Loose).test_a_key_that_does_not_exist_is_refused(platform)
