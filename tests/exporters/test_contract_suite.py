"""The suite that third parties prove their exporters with notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, cast

import orjson
import pytest

from mlflow_monitoring_exporter.exporters.contract import AnyExporter
from mlflow_monitoring_exporter.plugin import DeliveryMode, ExporterPlugin, ExportError
from mlflow_monitoring_exporter.testing import (
    DeliveryContract,
    ExporterContract,
    Fault,
    HttpExporterContract,
    Request,
    delivery_contract,
)
from tests.exporters import wrong_exporters as wrong
from tests.exporters.platforms import SECRET, TIMEOUT, JsonPlatform
from tests.exporters.wrong_exporters import Good, GoodConfig


class GoodPlatform(JsonPlatform):
    def settings(self) -> dict[str, Any]:
        return {"endpoint": f"{self.url}/in", "api_key": SECRET, "timeout": TIMEOUT}


class LenientPlatform(GoodPlatform):
    """Does not mind that a key is missing."""

    def read(self, request: Request) -> Iterable[Hashable]:
        key = request.headers.get("idempotency-key")
        return [(key, place) for place, _ in enumerate(records(request))]


class KnowingPlatform(GoodPlatform):
    """Knows a sample again by its name and its time."""

    def read(self, request: Request) -> Iterable[Hashable]:
        return [(record["name"], record["time"]) for record in records(request)]


def records(request: Request) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", orjson.loads(request.body)["metrics"]) if request.body else []


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


class TestGood(HttpExporterContract):
    """What keeps the contract passes all of it."""

    plugin = suite_of(Good).plugin


CAUGHT: list[tuple[type[Good], str, Fault | None]] = [
    (wrong.Optimist, "test_a_fault_has_its_error", Fault.UNAVAILABLE),
    (wrong.Optimist, "test_without_any_time_it_delivers_at_once_or_not_at_all", None),
    (wrong.Pessimist, "test_a_fault_has_its_error", Fault.UNAVAILABLE),
    (wrong.Pessimist, "test_a_fault_has_its_error", Fault.UNAUTHORIZED),
    (wrong.Patient, "test_it_ends_by_its_deadline", Fault.SILENT),
    (wrong.Forgetful, "test_what_is_delivered_twice_is_recognised", None),
    (wrong.Eager, "test_creating_it_touches_nothing", None),
    (wrong.Littering, "test_closing_leaves_nothing_behind", None),
    (wrong.Fragile, "test_nothing_that_mlflow_may_hold_breaks_it", None),
    (wrong.Probing, "test_a_check_delivers_nothing", None),
    (wrong.Blind, "test_a_check_says_what_an_export_would_say", Fault.UNAUTHORIZED),
    (wrong.Sloppy, "test_a_fault_has_its_error", Fault.UNAVAILABLE),
]


@pytest.mark.parametrize(("exporter", "test", "fault"), CAUGHT)
def test_a_mistake_fails_the_test_that_is_about_it(
    exporter: type[Good], test: str, fault: Fault | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_contract, "_LINGER", 0.5)
    arguments = {} if fault is None else {"fault": fault}
    with GoodPlatform() as platform:
        getattr(suite_of(Good), test)(platform, **arguments)
    failures = (AssertionError, pytest.fail.Exception, ExportError, OSError, UnicodeError)
    with GoodPlatform() as platform, pytest.raises(failures):
        getattr(suite_of(exporter), test)(platform, **arguments)


@pytest.mark.parametrize(
    ("exporter", "test", "arguments"),
    [
        (wrong.Hasty, "test_an_answer_that_is_cut_is_none", {"framing": "length"}),
        (wrong.Hasty, "test_an_answer_that_is_cut_is_none", {"framing": "chunked"}),
        (wrong.Hasty, "test_an_answer_that_is_cut_is_none", {"framing": "no content"}),
        (wrong.Credulous, "test_a_page_for_people_is_no_answer", {}),
        (wrong.Impatient, "test_an_acknowledgement_may_be_long", {}),
        (wrong.Resigned, "test_a_batch_that_is_still_in_work_is_repeated_under_its_key", {}),
        (wrong.Strict, "test_who_does_not_offer_what_a_check_asks_for_is_there", {"status": 501}),
    ],
)
def test_a_mistake_about_answers_fails_the_test_that_is_about_it(
    exporter: type[Good], test: str, arguments: dict[str, Any]
) -> None:
    with GoodPlatform() as platform:
        getattr(suite_of(Good), test)(platform, **arguments)
    with GoodPlatform() as platform, pytest.raises((AssertionError, pytest.fail.Exception, ExportError)):
        getattr(suite_of(exporter), test)(platform, **arguments)


@pytest.mark.parametrize(
    ("exporter", "knows", "test", "said"),
    [
        (wrong.Dialling, GoodPlatform, "test_creating_it_touches_nothing", r"socket\.connect \('127.0.0.1'"),
        (wrong.Compiled, GoodPlatform, "test_creating_it_touches_nothing", "whatever connects belongs into start"),
        (wrong.Keyless, LenientPlatform, "test_another_batch_is_not_taken_for_a_repeated_one", "3 == 6"),
        (wrong.Uniform, GoodPlatform, "test_another_batch_is_not_taken_for_a_repeated_one", "3 == 6"),
        (
            wrong.Keyless,
            KnowingPlatform,
            "test_each_batch_has_an_idempotency_key_of_its_own",
            "without Idempotency-Key",
        ),
        (wrong.Uniform, KnowingPlatform, "test_each_batch_has_an_idempotency_key_of_its_own", "another key"),
        (wrong.Forgetful, KnowingPlatform, "test_each_batch_has_an_idempotency_key_of_its_own", "the key of the first"),
        (wrong.Stepless, GoodPlatform, "test_a_sample_keeps_its_step", "nothing but their step"),
        (wrong.Stepless, KnowingPlatform, "test_a_sample_keeps_its_step", "nothing but their step"),
        (wrong.Timeless, GoodPlatform, "test_a_sample_keeps_its_timestamp", "nothing but their timestamp"),
        (wrong.Timeless, KnowingPlatform, "test_a_sample_keeps_its_timestamp", "nothing but their timestamp"),
        (wrong.Present, GoodPlatform, "test_a_sample_keeps_its_timestamp", "nothing but their timestamp"),
    ],
)
def test_a_mistake_is_named(exporter: type[Good], knows: type[GoodPlatform], test: str, said: str) -> None:
    with knows() as platform:
        getattr(suite_of(Good), test)(platform)
    with knows() as platform, pytest.raises(AssertionError, match=said):
        getattr(suite_of(exporter), test)(platform)


def test_a_key_that_is_missing_is_refused_by_a_platform_that_reads_it(platform: GoodPlatform) -> None:
    with pytest.raises(ExportError, match="400"):
        suite_of(wrong.Keyless).test_what_is_exported_arrives(platform)


def test_what_a_platform_has_no_place_for_is_not_asked_for() -> None:
    suite = suite_of(wrong.Stepless)
    suite.carries = ("timestamp",)  # type: ignore[misc]  # of this suite alone
    suite.idempotency_key = None  # type: ignore[misc]
    with KnowingPlatform() as platform:
        suite.test_a_sample_keeps_its_step(platform)
        suite.test_each_batch_has_an_idempotency_key_of_its_own(platform)


def test_an_exporter_that_hangs_fails_its_test_and_shows_where(platform: GoodPlatform) -> None:
    suite = suite_of(wrong.Hanging)
    suite.time_limit = 0.3
    with pytest.raises(pytest.fail.Exception) as failed:
        suite.test_what_is_exported_arrives(platform)
    assert "test_what_is_exported_arrives still runs after 0.3 s" in str(failed.value)
    assert "self.wait_for_a_free_slot()" in str(failed.value)


@pytest.mark.parametrize("suite", [DeliveryContract, ExporterContract, HttpExporterContract])
def test_every_test_has_a_time_limit(suite: type[DeliveryContract]) -> None:
    tests = {name: test for name, test in vars(suite).items() if name.startswith("test_")}
    assert tests
    assert [name for name, test in tests.items() if not hasattr(test, "__wrapped__")] == []


def test_a_secret_that_is_said_fails(
    platform: GoodPlatform, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match=SECRET):
        suite_of(wrong.Talkative).test_no_secret_is_ever_said(platform, Fault.REFUSING, caplog, capfd)


def test_a_plugin_of_another_contract_fails() -> None:
    suite_of(Good).test_the_plugin_is_one()
    with pytest.raises(AssertionError):
        suite_of(Good, contract=2).test_the_plugin_is_one()


def test_a_block_that_takes_any_key_fails(platform: GoodPlatform) -> None:
    class Loose(GoodConfig, extra="ignore"):
        """Whatever."""

    with pytest.raises(pytest.fail.Exception):
        suite_of(Good, config=Loose).test_a_key_that_does_not_exist_is_refused(platform)
