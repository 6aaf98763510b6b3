"""Against a real Pushgateway."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
import trustme
from hypothesis import HealthCheck, given, settings

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import NO_EXPERIMENT, Family, Series, Snapshot, group_of
from mlflow_monitoring_exporter.exporters.builtin import pushgateway as module
from mlflow_monitoring_exporter.exporters.builtin.pushgateway import PushgatewayConfig, PushgatewayExporter
from tests.exporters.samples import Shown, any_snapshot, of_runs, snapshot
from tests.parts.bad_server import Behaviour, Received, answer, bad_server, hang, redirect
from tests.parts.pushgateway import PASSWORD, USER, Pushgateway, guarded_pushgateway, pushgateway


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushgateway]:
    with pushgateway(tmp_path_factory.mktemp("gateway")) as started:
        yield started


@pytest.fixture
def gateway(running: Pushgateway) -> Pushgateway:
    running.clear()
    return running


def exporter(gateway: str, **config: object) -> PushgatewayExporter:
    return PushgatewayExporter(PushgatewayConfig.model_validate({"type": "pushgateway", "gateway": gateway, **config}))


def push(made: PushgatewayExporter, payload: Snapshot) -> None:
    made.export(payload, deadline=Deadline.after(10))


def held(gateway: Pushgateway) -> set[tuple[str, str, float]]:
    return {(labels["experiment_id"], labels["metric"], value) for _, labels, value in gateway.series()}


def runs(**experiments: Mapping[str, float]) -> Snapshot:
    return of_runs(Shown(e, f"name {e}", e * 8, "", values) for e, values in experiments.items())


def test_a_group_per_experiment_with_the_promised_labels(gateway: Pushgateway) -> None:
    push(exporter(gateway.address), runs(a={"loss": 0.5}, b={"loss": 1.5}))
    assert {(group["job"], group["experiment_id"]) for group in gateway.groups()} == {
        ("mlflow_metrics", "a"),
        ("mlflow_metrics", "b"),
    }
    found = [labels for name, labels, value in gateway.series() if value == 0.5 and name == "mlflow_loss"]
    wanted = {"experiment_name": "name a", "run_id": "a" * 8, "model_stage": "", "metric": "loss"}
    (labels,) = found
    assert {key: labels.get(key, "") for key in wanted} == wanted


def test_a_run_that_is_gone_is_gone_from_the_gateway_too(gateway: Pushgateway) -> None:
    made = exporter(gateway.address)
    push(made, runs(a={"loss": 0.5, "f1": 1.0}, b={"loss": 1.5}))
    push(made, runs(a={"loss": 0.25}))
    assert held(gateway) == {("a", "loss", 0.25)}
    push(made, of_runs([], empty=["a"]))
    assert gateway.groups() == []
    push(made, runs(a={"loss": 0.125}))
    assert held(gateway) == {("a", "loss", 0.125)}


def test_groups_of_others_are_left_alone(gateway: Pushgateway) -> None:
    other = exporter(gateway.address, job_name="somebody")
    push(other, runs(a={"loss": 1.0}))
    made = exporter(gateway.address)
    push(made, runs(a={"loss": 2.0}))
    push(made, Snapshot({}))
    assert held(gateway) == {("a", "loss", 1.0)}


def pushes(gateway: Pushgateway) -> dict[str, float]:
    """When each group was pushed last, by experiment id."""
    return {group["experiment_id"]: at for group, at in gateway.pushed()}


def test_only_a_group_that_changed_is_pushed_again(gateway: Pushgateway) -> None:
    made = exporter(gateway.address)
    push(made, runs(a={"loss": 0.5}, b={"loss": 1.5}))
    before = pushes(gateway)
    push(made, runs(a={"loss": 0.5}, b={"loss": 1.0}))
    after = pushes(gateway)
    assert after["a"] == before["a"]
    assert after["b"] > before["b"]
    assert held(gateway) == {("a", "loss", 0.5), ("b", "loss", 1.0)}


def test_what_has_not_changed_is_pushed_again_after_a_while(
    gateway: Pushgateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = exporter(gateway.address)
    push(made, runs(a={"loss": 0.5}))
    before = pushes(gateway)
    push(made, runs(a={"loss": 0.5}))
    assert pushes(gateway) == before
    monkeypatch.setattr(module, "_AGAIN", 0.0)
    push(made, runs(a={"loss": 0.5}))
    assert pushes(gateway)["a"] > before["a"]


def test_what_the_gateway_lost_is_pushed_again(gateway: Pushgateway) -> None:
    made = exporter(gateway.address)
    payload = runs(a={"loss": 0.5}, b={"loss": 1.5})
    push(made, payload)
    requests.delete(f"{gateway.url}/metrics/job/mlflow_metrics/experiment_id/a", timeout=10)
    push(exporter(gateway.address, job_name="somebody"), runs(a={"loss": 9.0}))
    push(made, payload)
    assert held(gateway) == {("a", "loss", 0.5), ("b", "loss", 1.5), ("a", "loss", 9.0)}


def test_a_group_that_somebody_else_replaced_is_pushed_again(gateway: Pushgateway) -> None:
    made = exporter(gateway.address)
    payload = runs(a={"loss": 0.5})
    push(made, payload)
    time.sleep(2.5)  # two pushes within two seconds cannot be told apart: an answer's date has no fractions
    push(exporter(gateway.address), runs(a={"loss": 9.0}))
    push(made, payload)
    assert held(gateway) == {("a", "loss", 0.5)}


def test_groups_that_an_earlier_process_left_behind_are_deleted_and_only_those(gateway: Pushgateway) -> None:
    push(exporter(gateway.address), runs(a={"loss": 0.5}, gone={"loss": 1.5}))
    push(exporter(gateway.address, job_name="somebody"), runs(gone={"loss": 2.0}))
    for path in ("job/mlflow_metrics", "job/mlflow_metrics/instance/x", "job/mlflow_metrics/experiment_id/a/run/x"):
        requests.put(f"{gateway.url}/metrics/{path}", data="theirs 1\n", timeout=10)
    push(exporter(gateway.address), runs(a={"loss": 0.25}))
    assert held(gateway) == {("a", "loss", 0.25), ("gone", "loss", 2.0)}
    assert sorted(tuple(sorted(group.items())) for group in gateway.groups()) == [
        (("experiment_id", "a"), ("job", "mlflow_metrics")),
        (("experiment_id", "a"), ("job", "mlflow_metrics"), ("run", "x")),
        (("experiment_id", "gone"), ("job", "somebody")),
        (("instance", "x"), ("job", "mlflow_metrics")),
        (("job", "mlflow_metrics"),),
    ]


def test_the_registry_has_a_group_without_an_experiment(gateway: Pushgateway) -> None:
    made = exporter(gateway.address)
    family = Family("mlflow_model_alias_changes_total", "help", "counter", ("model",), (Series(("m",), 2.0),))
    push(made, Snapshot({NO_EXPERIMENT: (family,)}))
    assert [group["experiment_id"] for group in gateway.groups()] == [""]
    assert "# TYPE mlflow_model_alias_changes_total counter" in gateway.text()
    push(made, Snapshot({NO_EXPERIMENT: ()}))
    assert gateway.groups() == []


def test_a_gateway_that_does_not_list_its_groups_gets_all_of_them_each_time() -> None:
    with bad_server() as server:
        server.judge = lambda request: answer(404 if request.method == "GET" else 200)
        made = exporter(server.url)
        for _ in range(2):
            push(made, runs(a={"loss": 0.5}))
        push(made, Snapshot({}))
    sent = [(request.method, request.path.rpartition("/")[2]) for request in server.requests]
    assert [item for item in sent if item[0] != "GET"] == [("PUT", "a"), ("PUT", "a"), ("DELETE", "a")]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": [{}]}', b'{"data": [{"labels": {"job": 1}}]}', b"null"])
def test_something_that_is_no_pushgateway_is_reported(body: bytes) -> None:
    with bad_server(answer(200, body=body)) as server:
        made = exporter(server.url)
        with contextlib.suppress(ExportError):
            push(made, Snapshot({}))
        if body != b'{"data": [{"labels": {"job": 1}}]}':  # a group of somebody else
            with pytest.raises(RetryableExportError, match="does not answer like a Pushgateway"):
                push(made, snapshot(loss=1.0))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(any_snapshot)
def test_whatever_mlflow_holds_arrives_whole(running: Pushgateway, payload: Snapshot) -> None:
    running.clear()
    push(exporter(running.address), payload)
    expected = sorted(
        (family.name, *sorted(value for value in series.labels if value), repr(series.value + 0.0))
        for group in payload.groups.values()
        for family in group
        for series in family.series
    )
    ours = ("experiment_name", "run_id", "model_stage", "metric")
    found = sorted(
        (name, *sorted(labels[key] for key in ours if labels.get(key)), repr(value))
        for name, labels, value in running.series()
    )
    assert found == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, 1e300])
def test_values_that_json_cannot_hold_arrive(gateway: Pushgateway, value: float) -> None:
    push(exporter(gateway.address), snapshot(loss=value))
    ((_, _, found),) = gateway.series()
    assert repr(found) == repr(value)


@pytest.mark.parametrize("job", ["with/slash", "mit Umlaut ä", "a b?c#d%e", "/", ".", "..", "x/../y"])
def test_any_job_name_is_kept_whole(gateway: Pushgateway, job: str) -> None:
    made = exporter(gateway.address, job_name=job)
    push(made, snapshot(loss=1.0))
    assert [group["job"] for group in gateway.groups()] == [job]
    push(made, Snapshot({}))
    assert gateway.groups() == []


@pytest.mark.parametrize("experiment_id", ["1/2", "/", "", ".", "..", "a b?c#d%e"])
def test_any_experiment_id_is_a_group_of_its_own(gateway: Pushgateway, experiment_id: str) -> None:
    made = exporter(gateway.address)
    push(made, of_runs([Shown(experiment_id, "name", "a" * 8, "", {"loss": 1.0})]))
    assert [group["experiment_id"] for group in gateway.groups()] == [experiment_id]
    push(made, Snapshot({}))
    assert gateway.groups() == []


def test_a_label_may_hold_quotes_line_breaks_and_emoji(gateway: Pushgateway) -> None:
    name = 'he said "no"\nand \\n left 🦊'
    push(exporter(gateway.address), of_runs([Shown("1", name, "a" * 8, "stage\t", {"a b": 1.0})]))
    ((_, labels, _),) = gateway.series()
    assert (labels["experiment_name"], labels["model_stage"], labels["metric"]) == (name, "stage\t", "a b")


def test_one_group_that_is_refused_does_not_keep_the_others_away(gateway: Pushgateway) -> None:
    twice = Family("mlflow_loss", "help", "gauge", ("metric",), (Series(("a",), 1.0), Series(("a",), 2.0)))
    good = runs(b={"loss": 1.5})
    with pytest.raises(PermanentExportError, match=r"HTTP 400 .* \(experiment a\)"):
        push(exporter(gateway.address), Snapshot({"a": (twice,), **good.groups}))
    assert held(gateway) == {("b", "loss", 1.5)}


def hold(gateway: Pushgateway, path: str, body: str) -> None:
    """Somebody else's push."""
    answered = requests.put(f"{gateway.url}/metrics/{path}", data=body, timeout=10)
    assert answered.status_code == 200, answered.text


_HISTOGRAM = '# TYPE mlflow_f1 histogram\nmlflow_f1_bucket{le="+Inf"} 1\nmlflow_f1_sum 1\nmlflow_f1_count 1\n'


@pytest.mark.parametrize(
    ("body", "key", "said"),
    [
        (
            "# TYPE mlflow_loss counter\nmlflow_loss 1\n",
            "loss",
            'mlflow_loss is of type counter in the group {job="other"}',
        ),
        ("mlflow_loss 1\n", "loss", "mlflow_loss is of type untyped in the group"),
        (_HISTOGRAM, "f1", "mlflow_f1 is of type histogram in the group"),
        (_HISTOGRAM, "f1_count", "mlflow_f1_count is part of the histogram mlflow_f1"),
    ],
)
def test_a_family_that_another_job_has_with_another_type_is_left_out_and_the_rest_is_pushed(
    gateway: Pushgateway, body: str, key: str, said: str
) -> None:
    hold(gateway, "job/other", body)
    made = exporter(gateway.address)
    payload = runs(a={"acc": 0.25, key: 0.5}, b={"acc": 1.5}, c={key: 2.5})
    for _ in range(2):
        with pytest.raises(PermanentExportError) as caught:
            push(made, payload)
        assert said in str(caught.value)
        assert "does not take 2 series" in str(caught.value)
        assert held(gateway) == {("a", "acc", 0.25), ("b", "acc", 1.5)}
        flat = [s for families in payload.groups.values() for family in families for s in family.series]
        assert {flat[place].value for place in caught.value.rejected or ()} == {0.5, 2.5}


def test_several_families_may_collide_with_several_jobs(gateway: Pushgateway) -> None:
    hold(gateway, "job/one", "# TYPE mlflow_loss counter\nmlflow_loss 1\n")
    hold(gateway, "job/two/experiment_id/a", "# TYPE mlflow_f1 counter\nmlflow_f1 1\n")
    with pytest.raises(PermanentExportError, match=r"mlflow_f1 is of type counter .*mlflow_loss is of type counter"):
        push(exporter(gateway.address), runs(a={"acc": 0.25, "f1": 1.0, "loss": 2.0}))
    assert held(gateway) == {("a", "acc", 0.25)}


def test_a_collision_that_is_gone_is_recovered_from_without_a_restart(gateway: Pushgateway) -> None:
    hold(gateway, "job/other", "# TYPE mlflow_loss counter\nmlflow_loss 1\n")
    made, payload = exporter(gateway.address), runs(a={"acc": 0.25, "loss": 0.5}, b={"loss": 1.5})
    with pytest.raises(PermanentExportError):
        push(made, payload)
    requests.delete(f"{gateway.url}/metrics/job/other", timeout=10)
    push(made, payload)
    assert held(gateway) == {("a", "acc", 0.25), ("a", "loss", 0.5), ("b", "loss", 1.5)}


def test_a_collision_that_comes_later_takes_only_what_it_must(gateway: Pushgateway) -> None:
    made = exporter(gateway.address)
    hold(gateway, "job/other", "# TYPE mlflow_loss counter\nmlflow_loss 1\n")
    push(made, runs(a={"acc": 0.25}))
    with pytest.raises(PermanentExportError, match="mlflow_loss"):
        push(made, runs(a={"acc": 0.5, "loss": 0.5}))
    assert held(gateway) == {("a", "acc", 0.5)}


def test_a_type_of_ours_that_changed_with_a_release_keeps_nothing_out(gateway: Pushgateway) -> None:
    for group in ("a", "b", "gone"):
        hold(gateway, f"job/mlflow_metrics/experiment_id/{group}", "# TYPE mlflow_loss counter\nmlflow_loss 1\n")
    push(exporter(gateway.address), runs(a={"loss": 0.5}, b={"loss": 1.5}))
    assert held(gateway) == {("a", "loss", 0.5), ("b", "loss", 1.5)}


def test_what_another_replica_shows_is_not_deleted_for_its_types(gateway: Pushgateway) -> None:
    path = "job/mlflow_metrics/server/other/experiment_id/a"
    hold(gateway, path, '# TYPE mlflow_loss counter\nmlflow_loss{metric="x"} 9\n')
    ours = {group_of("mine", "a"): runs(a={"acc": 1.0, "loss": 0.5}).groups["a"]}
    with pytest.raises(PermanentExportError, match="mlflow_loss is of type counter"):
        push(exporter(gateway.address), Snapshot(ours, whole=False))
    assert {labels["server"] for labels in gateway.groups()} == {"mine", "other"}
    assert held(gateway) == {("a", "acc", 1.0), ("a", "x", 9.0)}


def test_help_texts_that_differ_are_no_collision(gateway: Pushgateway) -> None:
    hold(gateway, "job/other", "# HELP mlflow_loss Another help.\n# TYPE mlflow_loss gauge\nmlflow_loss 1\n")
    push(exporter(gateway.address), runs(a={"loss": 0.5}))
    assert ("a", "loss", 0.5) in held(gateway)


def test_what_a_gateway_does_not_list_it_names_when_it_refuses() -> None:
    refusal = b'pushed metrics are invalid: collected metric "mlflow_loss" { gauge:<value:1 > } is not a COUNTER'

    def judge(request: Received) -> Behaviour:
        if request.method == "GET":
            return answer(404)
        return answer(400, body=refusal) if b"TYPE mlflow_loss " in request.body else answer(200)

    with bad_server() as server:
        server.judge = judge
        with pytest.raises(PermanentExportError, match="is not a COUNTER") as caught:
            push(exporter(server.url), runs(a={"acc": 0.25, "loss": 0.5}))
    assert len(caught.value.rejected or ()) == 1
    assert b"mlflow_acc" in server.requests[-1].body
    assert b"mlflow_loss" not in server.requests[-1].body


@pytest.mark.parametrize(
    ("behaviour", "error", "text"),
    [
        (answer(500), RetryableExportError, "HTTP 500"),
        (answer(401), UnauthorizedExportError, "check its credentials"),
        (answer(404), RetryableExportError, "check its address"),
        (redirect("https://login.example/"), RetryableExportError, "redirect"),
        (answer(400, body=b"pushed metrics are invalid"), PermanentExportError, "pushed metrics are invalid"),
        (hang(), RetryableExportError, "timed out"),
    ],
)
def test_every_failure_says_where_and_why(behaviour: Behaviour, error: type[ExportError], text: str) -> None:
    with bad_server(behaviour) as server:
        made = exporter(server.url, timeout="0.3s")
        with pytest.raises(error) as caught:
            push(made, snapshot(loss=1.0))
        if error is not PermanentExportError:
            with pytest.raises(error):
                made.check()
    assert str(caught.value).startswith(server.url)
    assert text in str(caught.value)


def test_credentials_are_sent_and_never_shown() -> None:
    with bad_server(answer(401, body=b"hidden-password is wrong")) as server:
        with_block = exporter(server.url, username="pusher", password="hidden-password")
        in_url = exporter(server.url.replace("://", "://pusher:hidden-password@"))
        for made in (with_block, in_url):
            with pytest.raises(UnauthorizedExportError) as caught:
                push(made, snapshot(loss=1.0))
            assert "hidden-password" not in str(caught.value)
    assert {request.headers["authorization"] for request in server.requests} == {
        "Basic cHVzaGVyOmhpZGRlbi1wYXNzd29yZA=="
    }


def test_a_check_reaches_the_gateway_and_pushes_nothing(gateway: Pushgateway) -> None:
    exporter(gateway.address).check()
    assert gateway.groups() == []
    with pytest.raises(RetryableExportError, match="connection refused"):
        exporter("127.0.0.1:1").check()


def test_a_gateway_behind_tls_and_a_password(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    trusted: dict[str, object] = {"ca_file": tmp_path / "ca.pem", "username": USER}
    with guarded_pushgateway(tmp_path, authority.issue_cert("127.0.0.1")) as url:
        made = exporter(url, **trusted, password_file=tmp_path / "password")
        made.check()
        push(made, runs(a={"loss": 0.5}, b={"loss": 1.5}))
        push(made, runs(a={"loss": 0.25}))
        held = requests.get(f"{url}/metrics", auth=(USER, PASSWORD), verify=str(tmp_path / "ca.pem"), timeout=10).text
        assert [line.rpartition(" ")[2] for line in held.splitlines() if line.startswith("mlflow_loss{")] == ["0.25"]
        wrong = exporter(url, **trusted, password="wrong-password")
        for attempt in (wrong.check, lambda: push(wrong, snapshot(loss=1.0))):
            with pytest.raises(UnauthorizedExportError) as caught:
                attempt()
            assert "wrong-password" not in str(caught.value)
        with pytest.raises(RetryableExportError, match="certificate verify failed"):
            exporter(url, username=USER, password=PASSWORD).check()
