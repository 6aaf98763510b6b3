"""What counts as delivered to a JSON sink, by default and as the operator says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from mlflow_monitoring_exporter.config.describe import json_schema, show
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ConfigError,
    ExportError,
    PermanentExportError,
    RetryableExportError,
)
from mlflow_monitoring_exporter.exporters.builtin import http_json, pramathus
from mlflow_monitoring_exporter.exporters.endpoint import Endpoint, HttpSettings
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from mlflow_monitoring_exporter.exporters.success import MOST_JSON, Success, SuccessTest
from mlflow_monitoring_exporter.http import HttpResponse
from tests.exporters.samples import batch
from tests.parts.bad_server import Behaviour, answer, bad_server, endless, html, raw

JSON = {"Content-Type": "application/json"}
ELASTIC = {"status": [200], "json": {"errors": False}}
SPLUNK = {"json": {"code": 0}}
HONEYCOMB = {"json": {"*.status": [200, 201, 202]}}
KAFKA = {"json": {"offsets.*.error_code": False}}


def said(body: Any, status: int = 200) -> Behaviour:
    return answer(status, JSON, json.dumps(body).encode())


def send(behaviour: Behaviour, success: Mapping[str, Any] | None = None, *, kind: str = "http_json") -> None:
    more = {} if success is None else {"success": success}
    with bad_server(behaviour) as server:
        if kind == "pramathus":
            made = pramathus.create(
                pramathus.PramathusConfig.model_validate(
                    {"type": kind, "endpoint": server.url, "api_key": "key", **more}
                )
            )
        else:
            made = http_json.create(
                http_json.HttpJsonConfig.model_validate({"type": kind, "endpoint": server.url, **more})
            )
        try:
            made.export(batch(3), deadline=Deadline.after(20))
        finally:
            made.close()


@pytest.mark.parametrize("kind", ["pramathus", "http_json"])
@pytest.mark.parametrize(
    "behaviour",
    [
        *(answer(status) for status in (200, 201, 202, 204)),
        answer(200, {"Content-Type": "text/plain"}, b"OK"),
        answer(200, {"Content-Type": "text/html"}),
        answer(200, JSON, b"no JSON at all"),
        answer(200, body=b"<ok/>"),
        answer(200, body=b"taken", framing="connection"),
        said({"status": "ok", "errors": []}, 202),
        said({"errors": False, "error": None, "failed": 0, "failures": {}, "rejected": ""}),
        said([{"errors": 1}]),
        said("errors"),
        said({"data": {"errors": 0}}),
        answer(200, body=b"x" * 3_000_000),
        answer(200, {"Content-Type": "text/plain"}, b"x" * (MOST_JSON + 1)),
        endless(200),
    ],
)
def test_by_default_a_plain_success_counts(kind: str, behaviour: Behaviour) -> None:
    send(behaviour, kind=kind)


@pytest.mark.parametrize("kind", ["pramathus", "http_json"])
@pytest.mark.parametrize("word", ["error", "errors", "failed", "failures", "rejected"])
@pytest.mark.parametrize("value", [True, 2, "mapping failed", [{"index": 1}], {"0": "no"}])
def test_by_default_a_report_of_failures_does_not_and_halves_find_them(kind: str, word: str, value: Any) -> None:
    with pytest.raises(PermanentExportError, match=f"by success.json this is no success: {word}$") as raised:
        send(said({"took": 3, word: value}), kind=kind)
    assert (raised.value.status, raised.value.divisible) == (200, True)


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"errors": true}',
        b'{"errors": true, "x": "\\ud800"}',
        b'{"errors": true, "took": ' + b"9" * 5000 + b"}",
        b'{"failed": 1e999}',
        b'{"errors": true, "x": "caf\xe9"}',
        b'{"error": "line 1\tline 2"}',
        b'{"failed": NaN}',
    ],
)
@pytest.mark.parametrize("success", [None, {"json": {"errors": False, "error": False, "failed": 0}}])
def test_a_report_of_failures_counts_however_it_is_written(body: bytes, success: Mapping[str, Any] | None) -> None:
    with pytest.raises(PermanentExportError, match="this is no success"):
        send(answer(200, JSON, body), success)


@pytest.mark.parametrize("headers", [JSON, {}])
@pytest.mark.parametrize(
    "body", [b'{"errors": true, "items": [', b'{"errors": true, "x": ' + b"[" * 100_000, b'\xef\xbb\xbf {"errors"']
)
def test_json_that_makes_no_sense_is_no_success(headers: Mapping[str, str], body: bytes) -> None:
    with pytest.raises(RetryableExportError, match="its body is not JSON, or not all of it"):
        send(answer(200, headers, body))


def test_failures_are_seen_at_the_end_of_a_long_answer() -> None:
    items = [{"index": {"status": 201, "_id": str(number)}} for number in range(60_000)]
    with pytest.raises(PermanentExportError):
        send(said({"items": items, "errors": True}))
    send(said({"items": items, "errors": False}), ELASTIC)


@pytest.mark.parametrize("kind", ["pramathus", "http_json"])
def test_a_multi_status_is_no_success_and_halves_find_out_why(kind: str) -> None:
    with pytest.raises(PermanentExportError, match=r"207 Multi-Status.*did not take all of it") as raised:
        send(answer(207, body=b"<multistatus/>"), kind=kind)
    assert raised.value.divisible


@pytest.mark.parametrize("status", [203, 205, 206, 208, 226, 299])
def test_another_success_is_not_understood_and_nothing_is_lost(status: int) -> None:
    with pytest.raises(RetryableExportError, match=f"HTTP {status}.*success.status does not name it"):
        send(answer(status))
    send(answer(status), {"status": [status]})


@pytest.mark.parametrize("kind", ["pramathus", "http_json"])
@pytest.mark.parametrize(
    "behaviour", [html(), html(201), html(203), answer(200, body=b"<!DOCTYPE html><title>SSO</title>")]
)
def test_a_login_page_is_no_success_and_says_what_to_do(kind: str, behaviour: Behaviour) -> None:
    with pytest.raises(RetryableExportError, match=r"an HTML page.*is that a login page\? check its address"):
        send(behaviour, kind=kind)


def test_a_webhook_that_answers_with_a_page_can_be_told() -> None:
    send(html(), {"html": True})
    with pytest.raises(RetryableExportError, match=r"success\.status"):
        send(html(202), {"html": True, "status": [200]})


@pytest.mark.parametrize(
    ("success", "body"),
    [
        (ELASTIC, {"errors": False, "items": []}),
        (ELASTIC, {"took": 3}),
        (SPLUNK, {"text": "Success", "code": 0}),
        (HONEYCOMB, [{"status": 202}, {"status": 200}]),
        (KAFKA, {"offsets": [{"partition": 1, "error_code": None}, {"partition": 2}]}),
        (
            {"json": {"items.*.*.status": [200, 201]}},
            {"items": [{"index": {"status": 201}}, {"create": {"status": 200}}]},
        ),
        ({"json": {"acknowledged": True}}, {"acknowledged": True}),
        ({"json": {"results.1.state": ["done", "known"]}}, {"results": [{}, {"state": "known"}]}),
        ({"json": {"status": "ok"}}, {"status": "ok", "errors": "none"}),
        ({"json": {"share": 1}}, {"share": 1.0}),
    ],
)
def test_what_the_operator_expects_counts(success: Mapping[str, Any], body: Any) -> None:
    send(said(body), success)


@pytest.mark.parametrize(
    ("success", "body", "path"),
    [
        (ELASTIC, {"errors": True, "items": [{"index": {"status": 400}}]}, "errors"),
        (SPLUNK, {"text": "Invalid token", "code": 4}, "code"),
        (SPLUNK, {"text": "Success"}, "code"),
        (SPLUNK, {"code": False}, "code"),
        (SPLUNK, {"code": "0"}, "code"),
        (HONEYCOMB, [{"status": 202}, {"status": 400}], "*.status"),
        (HONEYCOMB, [], "*.status"),
        (HONEYCOMB, {"error": "no"}, "*.status"),
        (KAFKA, {"offsets": [{"error_code": None}, {"error_code": 50002}]}, "offsets.*.error_code"),
        ({"json": {"acknowledged": True}}, {"acknowledged": 1}, "acknowledged"),
        ({"json": {"acknowledged": True}}, None, "acknowledged"),
        ({"json": {"results.1.state": "done"}}, {"results": [{"state": "done"}]}, "results.1.state"),
        ({"json": {"a": False, "b": "ok"}}, {"b": "not"}, "b"),
    ],
)
def test_what_the_operator_does_not_expect_is_refused_in_part(success: Mapping[str, Any], body: Any, path: str) -> None:
    with pytest.raises(PermanentExportError) as raised:
        send(said(body), success)
    assert str(raised.value).endswith(f"by success.json this is no success: {path}")


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_part_for_which_the_sink_is_too_busy_is_not_refused(status: int) -> None:
    """Elasticsearch answers 200 when its queue is full, and says 429 of each item."""
    body = {"errors": True, "items": [{"index": {"status": 400}}, {"index": {"status": status}}]}
    with pytest.raises(RetryableExportError) as raised:
        send(answer(200, {**JSON, "Retry-After": "5"}, json.dumps(body).encode()), ELASTIC)
    assert raised.value.retry_after == 5


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(200, {"Content-Type": "text/plain"}, b"OK"),
        answer(200, JSON, b'{"errors": fal'),
        answer(200, JSON, b'{"errors": false}' + b" " * MOST_JSON),
    ],
)
def test_where_json_is_expected_something_else_is_no_success_and_no_samples_fault(behaviour: Behaviour) -> None:
    with pytest.raises(RetryableExportError, match="is not JSON, or not all of it"):
        send(behaviour, ELASTIC)


@pytest.mark.parametrize("status", [200, 202])
def test_an_empty_answer_reports_no_errors_but_confirms_nothing(status: int) -> None:
    send(answer(status), {"json": {"errors": False}})
    with pytest.raises(RetryableExportError, match="code"):
        send(answer(status), SPLUNK)
    send(answer(204), SPLUNK)


@pytest.mark.parametrize("success", [None, ELASTIC])
def test_json_without_a_length_that_is_cut_anywhere_is_no_success(success: Mapping[str, Any] | None) -> None:
    whole = b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"errors": false}'
    send(raw(whole), success)
    for end in range(len(whole)):
        if whole[:end].endswith(b"\r\n\r\n"):
            continue  # an empty body is one, too
        with pytest.raises(RetryableExportError):
            send(raw(whole[:end]), success)


def test_a_sink_that_says_conflict_of_what_it_has_can_be_told() -> None:
    known = said({"error": "already there"}, 409)
    with pytest.raises(RetryableExportError, match="still in work"):
        send(known)
    send(known, {"status": [200, 409]})


@pytest.mark.parametrize(("header", "error"), [("X-Request-Id", RetryableExportError), ("", PermanentExportError)])
def test_a_conflict_means_still_in_work_under_whatever_name_the_key_goes(header: str, error: type[ExportError]) -> None:
    with bad_server(answer(409, {"Retry-After": "3"})) as server:
        config = {"type": "http_json", "endpoint": server.url, "idempotency_header": header}
        made = http_json.create(http_json.HttpJsonConfig.model_validate(config))
        with pytest.raises(error) as raised:
            made.export(batch(), deadline=Deadline.after(5))
        made.close()
    assert getattr(raised.value, "retry_after", 3) == 3


@pytest.mark.parametrize(
    ("status", "able"), [(200, True), (404, True), (405, True), (501, True), (302, False), (407, False), (500, False)]
)
@pytest.mark.parametrize("kind", ["", "text/html"])
def test_a_check_wants_somebody_to_be_there(status: int, able: bool, kind: str) -> None:
    with bad_server(answer(status, {"Content-Type": kind}, b"<html>" if kind else b"")) as server:
        made = http_json.create(http_json.HttpJsonConfig(type="http_json", endpoint=server.url))
        if able and not (kind and status == 200):
            made.check()
        else:
            with pytest.raises(ExportError):
                made.check()
        made.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "*", "0", "status"]), inner),
    max_leaves=8,
)


@given(
    tree=json_values,
    path=st.lists(st.sampled_from(["a", "b", "*", "0", "status"]), min_size=1, max_size=3).map(".".join),
    expected=st.booleans() | st.integers(0, 2) | st.just("x"),
)
def test_any_json_means_something(tree: Any, path: str, expected: Any) -> None:
    endpoint = Endpoint("http://sink", HttpSettings())
    test = SuccessTest(Success.model_validate({"json": {path: expected}}), endpoint)
    with suppress(PermanentExportError, RetryableExportError):
        test.judge(HttpResponse(200, JSON, json.dumps(tree).encode()), keyed=True)
    endpoint.close()


@pytest.mark.parametrize(
    ("success", "where", "reason"),
    [
        ("{status: [302]}", "success.status", "302 cannot mean success: name statuses from 200 to 299, or 409"),
        ("{status: []}", "success.status", "at least 1 item"),
        ("{status: good}", "success.status", "'good' is no list of statuses: write [200, 202]"),
        ("{status: 2xx}", "success.status", "'2xx' is no list of statuses"),
        ('{json: {"": 1}}', "success.json", "'' is no path: write names with dots between them"),
        ("{json: {a..b: 1}}", "success.json", "'a..b' is no path"),
        ("{json: {errors: {a: 1}}}", "success.json", "errors: say what must stand there"),
        ("{json: {errors: []}}", "success.json", "errors: say what must stand there"),
        ("{json: {errors: null}}", "success.json", "errors: say what must stand there"),
        ("{json: {errors: .nan}}", "success.json", "errors: JSON has neither NaN nor infinities"),
        ("{json: {errors: [1, -.inf]}}", "success.json", "errors: JSON has neither NaN nor infinities"),
        ("{json: [errors]}", "success.json", "must be a mapping"),
        ("{stauts: [200]}", "success.stauts", "did you mean status?"),
        ("200", "success", "must be a mapping"),
    ],
)
def test_a_test_that_cannot_be_is_refused_with_its_place(success: str, where: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"exporters:\n  sink:\n    type: http_json\n    endpoint: http://sink\n    success: {success}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(file, exporter_types=load_plugins().config_types, environ={})
    (problem,) = raised.value.problems
    assert (problem.where, problem.key) == (f"{file}:5", f"exporters.sink.{where}")
    assert reason in problem.message


def test_the_effective_configuration_and_its_schema_name_the_keys_as_they_are_written(tmp_path: Path) -> None:
    types = load_plugins().config_types
    file = tmp_path / "config.yaml"
    file.write_text(
        "exporters: {sink: {type: http_json, endpoint: http://sink, "
        "success: {json: {errors: false}, status: '200,409'}}}"
    )
    config = load_config(file, exporter_types=types, environ={})
    shown = yaml.safe_load(show(config))
    assert shown["exporters"]["sink"]["success"] == {"status": [200, 409], "json": {"errors": False}, "html": False}
    file.write_text(yaml.safe_dump({"exporters": shown["exporters"]}))
    assert load_config(file, exporter_types=types, environ={}).exporters == config.exporters
    validator = Draft202012Validator(json_schema(types))
    assert validator.is_valid({"exporters": {"sink": shown["exporters"]["sink"]}})
    assert not validator.is_valid({"exporters": {"sink": {**shown["exporters"]["sink"], "success": {"expect": {}}}}})


def test_the_default_is_what_the_reference_says() -> None:
    assert Success() == Success.model_validate({"status": [200, 201, 202, 204], "json": {}, "html": False})
    assert Success.model_validate({"status": 202}).status == (202,)
    with pytest.raises(ValidationError):
        Success.model_validate({"expect": {}})
