"""From a real MLflow to a real Prometheus and a strict JSON sink, with the real command."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import ODD_NAME, ODD_VALUES, Tracking
from tests.parts.bad_server import answer, hang
from tests.parts.command import Finished, background, on_a_terminal, run
from tests.parts.programs import free_port
from tests.parts.prometheus_server import Answer, Prometheus
from tests.parts.pushgateway import Pushgateway
from tests.parts.strict_peer import StrictPeer

METRICS_OF_RUNS = '{__name__=~"mlflow_.+",run_id!="",metric!=""}'


def export_once(here: Path, tracking: Tracking, only: str, **env: str) -> Finished:
    """One export of the experiments that match ``only``; what a test does not name is switched off."""
    return run(
        *("export-once", "--tracking-uri", tracking.url, "--set", f"export.experiments.include={only}"),
        *("--set", "exporters.prometheus.enabled=false", "--set", "exporters.file.enabled=false"),
        cwd=here,
        env=env,
    )


def sends_to(peer: StrictPeer) -> Mapping[str, str]:
    return {"PRAMATHUS_ENDPOINT": peer.url, "PRAMATHUS_API_KEY": peer.token, "PRAMATHUS_ENABLED": "true"}


def by_run_and_key(answers: Answer, experiment: str) -> dict[tuple[str, str], float]:
    return {
        (labels["run_id"], labels["metric"]): value
        for labels, value in answers
        if labels["experiment_name"] == experiment
    }


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


@pytest.fixture(scope="module")
def filled(tracking: Tracking) -> Tracking:
    """The demo data, and an experiment with everything that is odd."""
    directory = tracking.server.directory
    assert run("generate-sample", "--tracking-uri", tracking.url, "--runs", "12", cwd=directory).code == 0
    odd = tracking.run(tracking.experiment(ODD_NAME), project="odd", secret_tag="stays inside")
    tracking.log_values(odd, ODD_VALUES)
    return tracking


@pytest.fixture
def empty_gateway(gateway: Pushgateway) -> Iterator[Pushgateway]:
    gateway.clear()
    yield gateway
    gateway.clear()


def test_every_value_in_prometheus_is_mlflows(
    filled: Tracking, empty_gateway: Pushgateway, monitoring: Prometheus, here: Path
) -> None:
    done = run(
        *("export-once", "--tracking-uri", filled.url, "--max-experiments", "0", "--output", "json"),
        cwd=here,
        env={"PROMETHEUS_GATEWAY": empty_gateway.address},
    )
    assert done.code == 0, done.err
    truth = {name: filled.latest(name) for name in filled.names()}
    total = sum(len(values) for values in truth.values())
    report = json.loads(done.out)
    assert report["mlflow"]["poll"]["series"] == total
    answers = monitoring.wait_for(METRICS_OF_RUNS, lambda found: len(found) == total)
    for name, values in truth.items():
        found = by_run_and_key(answers, name)
        expected = {(run_id[:8], key): value for (run_id, key), value in values.items()}
        assert found.keys() == expected.keys()
        differing = {key: (found[key], value) for key, value in expected.items() if not same(found[key], value)}
        assert differing == {}
    assert {labels["job"] for labels, _ in answers} == {"mlflow_metrics"}


def test_the_simple_queries_answer(
    filled: Tracking, empty_gateway: Pushgateway, monitoring: Prometheus, here: Path
) -> None:
    env = {"PROMETHEUS_GATEWAY": empty_gateway.address, "PROMETHEUS_JOB_NAME": "elsewhere"}
    assert run("export-once", "--tracking-uri", filled.url, cwd=here, env=env).code == 0
    accuracies = {
        name: [value for (_, key), value in filled.latest(name).items() if key == "accuracy"] for name in filled.names()
    }
    counts = {name: len(values) for name, values in accuracies.items() if values}
    assert len(counts) >= 2
    every = [value for values in accuracies.values() for value in values]
    # Groups are pushed one after the other, and a scrape may come between two.
    monitoring.wait_for('count(mlflow_accuracy{job="elsewhere"})', lambda found: [v for _, v in found] == [len(every)])
    ((_, average),) = monitoring.query('avg(mlflow_accuracy{job="elsewhere"})')
    assert average == pytest.approx(sum(every) / len(every))
    answers = monitoring.query('count by (experiment_name) (mlflow_accuracy{job="elsewhere"})')
    assert {labels["experiment_name"]: value for labels, value in answers} == counts


def test_odd_keys_values_and_names_arrive_whole_in_json(filled: Tracking, peer: StrictPeer, here: Path) -> None:
    assert export_once(here, filled, "quoted*", **sends_to(peer)).code == 0
    peer.accept_all_or_fail()
    assert {sample["name"] for sample in peer.samples} == set(ODD_VALUES)
    spelled = {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}
    for sample in peer.samples:
        metadata = sample["metadata"]
        value = spelled[metadata["nonfinite"]] if sample["value"] is None else sample["value"]
        assert same(value, ODD_VALUES[sample["name"]])
        assert metadata["experiment_name"] == ODD_NAME
        assert len(metadata["run_id"]) == 32
        assert metadata["tags"] == {"project": "odd"}, "tags that are not allowed out stay inside"
        assert sample["timestamp"] == "2026-09-21T14:13:20.000Z"


def test_each_point_of_a_history_arrives_exactly_once(tracking: Tracking, peer: StrictPeer, here: Path) -> None:
    run_id = tracking.run(tracking.experiment("exactly-once"))
    tracking.log(run_id, "loss", range(500))
    assert export_once(here, tracking, "exactly-once", **sends_to(peer)).code == 0
    assert [sample["metadata"]["step"] for sample in peer.samples] == list(range(500))
    tracking.log(run_id, "loss", range(500, 600))
    assert export_once(here, tracking, "exactly-once", **sends_to(peer)).code == 0
    peer.accept_all_or_fail()
    assert peer.repeats == 0
    assert [sample["metadata"]["step"] for sample in peer.samples] == list(range(600))
    assert [sample["value"] for sample in peer.samples] == [step / 8 for step in range(600)]
    batches = len(peer.batches)
    assert export_once(here, tracking, "exactly-once", **sends_to(peer)).code == 0
    assert len(peer.batches) == batches, "nothing new, so nothing is sent"


def test_a_point_that_was_logged_late_still_arrives(tracking: Tracking, peer: StrictPeer, here: Path) -> None:
    run_id = tracking.run(tracking.experiment("late"))
    tracking.log(run_id, "loss", range(10, 20))
    assert export_once(here, tracking, "late", **sends_to(peer)).code == 0
    tracking.log(run_id, "loss", range(5))
    assert export_once(here, tracking, "late", **sends_to(peer)).code == 0
    steps = [sample["metadata"]["step"] for sample in peer.samples]
    assert sorted(steps) == [*range(5), *range(10, 20)]


@pytest.mark.parametrize("how", ["refused", "500", "401", "hanging"])
def test_a_sink_that_is_down_disturbs_no_other_and_gets_its_backlog(
    tracking: Tracking, empty_gateway: Pushgateway, peer: StrictPeer, here: Path, how: str
) -> None:
    name = f"sink-down-{how}"
    run_id = tracking.run(tracking.experiment(name))
    tracking.log(run_id, "loss", range(20))
    env = {
        **sends_to(peer),
        "PROMETHEUS_GATEWAY": empty_gateway.address,
        "MLFLOW_EXPORTER_EXPORTERS__PRAMATHUS__TIMEOUT": "1s",
        "MLFLOW_EXPORTER_EXPORT__DRAIN_TIMEOUT": "3s",
    }
    if how == "refused":
        env["PRAMATHUS_ENDPOINT"] = f"http://127.0.0.1:{free_port()}/"
    peer.trouble = {"500": answer(500, body=b"out of order"), "401": answer(401), "hanging": hang()}.get(how)
    done = export_once(here, tracking, name, **env)
    assert done.code == 1
    (line,) = done.err.splitlines()
    reason = {"refused": "connection refused", "500": "HTTP 500", "401": "HTTP 401", "hanging": "timed out"}[how]
    assert line.startswith("error: exporter pramathus: http://127.0.0.1:")
    assert reason in line
    assert line.endswith("; 20 samples wait for the next run")
    assert peer.token not in done.err + done.out
    assert [(labels["metric"], value) for _, labels, value in empty_gateway.series()] == [("loss", 19 / 8)]

    peer.trouble = None
    tracking.log(run_id, "loss", range(20, 30))
    assert export_once(here, tracking, name, **{**env, **sends_to(peer)}).code == 0
    peer.accept_all_or_fail()
    assert [sample["metadata"]["step"] for sample in peer.samples] == list(range(30))


def test_what_is_deleted_in_mlflow_leaves_the_gateway(
    tracking: Tracking, empty_gateway: Pushgateway, here: Path
) -> None:
    experiment_id = tracking.experiment("deleted-runs")
    kept, deleted = tracking.run(experiment_id), tracking.run(experiment_id)
    for run_id in (kept, deleted):
        tracking.log(run_id, "loss", range(3))
    env = {"PROMETHEUS_GATEWAY": empty_gateway.address}
    assert export_once(here, tracking, "deleted-runs", **env).code == 0
    assert len(empty_gateway.series()) == 2
    tracking.server.post("runs/delete", {"run_id": deleted})
    assert export_once(here, tracking, "deleted-runs", **env).code == 0
    assert [labels["run_id"] for _, labels, _ in empty_gateway.series()] == [kept[:8]]


@pytest.mark.parametrize("candidates", ["best", "each"])
def test_a_search_on_a_real_mlflow_is_one_event_unless_told_otherwise(
    tracking: Tracking, empty_gateway: Pushgateway, here: Path, candidates: str
) -> None:
    experiment = tracking.experiment(f"search {candidates}")
    parent = tracking.run(experiment)
    children = {tracking.run(experiment, **{"mlflow.parentRunId": parent}): loss for loss in (0.25, 0.75)}
    for at, (child, loss) in enumerate(children.items()):
        tracking.log_values(child, {"loss": loss})
        end = {"run_id": child, "status": "FINISHED", "end_time": 1_790_000_001_000 + at}
        tracking.server.post("runs/update", end)
    tracking.server.post("runs/update", {"run_id": parent, "status": "FINISHED", "end_time": 1_790_000_002_000})
    done = run(
        "export-once",
        *("--tracking-uri", tracking.url, "--set", f"export.experiments.include=search {candidates}"),
        *("--set", f"gauges.candidates={candidates}"),
        cwd=here,
        env={"PROMETHEUS_GATEWAY": empty_gateway.address},
    )
    assert done.code == 0, done.err
    shown = re.findall(
        r"^mlflow_experiment_metric_(finished|delta|best)[{].* (\S+)$", empty_gateway.text(), re.MULTILINE
    )
    assert {of: float(value) for of, value in shown} == {
        "best": {"best": 0.25, "finished": 0.25},
        "each": {"best": 0.25, "finished": 0.75, "delta": -0.5},
    }[candidates]


def test_check_counts_what_an_export_would_send_and_changes_nothing(
    tracking: Tracking, empty_gateway: Pushgateway, peer: StrictPeer, here: Path
) -> None:
    tracking.log(tracking.run(tracking.experiment("checked")), "loss", range(50))
    env = {**sends_to(peer), "PROMETHEUS_GATEWAY": empty_gateway.address}
    arguments = ("--tracking-uri", tracking.url, "--set", "export.experiments.include=checked", "--output", "json")
    done = run("check", *arguments, cwd=here, env=env)
    assert done.code == 0, done.err
    counted = {item["name"]: (item["delivered"], item["unit"]) for item in json.loads(done.out)["exporters"]}
    series = counted["prometheus"][0]
    assert counted == {
        "prometheus": (series, "series"),
        "file": (50, "samples"),
        "pushgateway": (series, "series"),
        "pramathus": (50, "samples"),
    }
    assert json.loads(done.out)["better"] == {"loss": "min"}
    assert list(here.iterdir()) == [], "no state, no file"
    assert (peer.samples, empty_gateway.series()) == ([], [])
    assert run("export-once", *arguments, cwd=here, env=env).code == 0
    assert empty_gateway.text().count("\nmlflow_") == series
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    done = run("check", *arguments, cwd=here, env={**env, "PRAMATHUS_API_KEY": "wrong"})
    assert done.code == 0, "this sink asks for no key before samples come"
    assert {item["delivered"] for item in json.loads(done.out)["exporters"] if item["unit"] == "samples"} == {0}
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_check_says_what_cannot_be_reached(tracking: Tracking, here: Path) -> None:
    gateway = f"127.0.0.1:{free_port()}"
    done = run("check", "--tracking-uri", tracking.url, cwd=here, env={"PROMETHEUS_GATEWAY": gateway})
    assert done.code == 1
    assert done.err == f"error: exporter pushgateway: http://{gateway}: connection refused\n"


def test_with_history_off_only_the_latest_points_are_sent(tracking: Tracking, peer: StrictPeer, here: Path) -> None:
    run_id = tracking.run(tracking.experiment("latest-only"))
    env = {**sends_to(peer), "MLFLOW_EXPORTER_EXPORT__HISTORY": "false"}
    for steps in (range(30), range(30, 40)):
        tracking.log(run_id, "loss", steps)
        assert export_once(here, tracking, "latest-only", **env).code == 0
    assert [sample["metadata"]["step"] for sample in peer.samples] == [29, 39]


def test_on_a_terminal_it_shows_how_far_it_is_and_leaves_only_the_result(tmp_path: Path) -> None:
    assert run("generate-sample", "--runs", "5", cwd=tmp_path).code == 0
    shown = on_a_terminal("export-once", cwd=tmp_path)
    assert "reading runs" in shown
    assert "reading" not in run("export-once", cwd=tmp_path).err, "and nothing on a pipe"
    assert re.search(r"file .* ok", shown.splitlines()[-1])


def test_a_first_load_that_is_killed_sends_everything_once_in_the_end(tmp_path: Path) -> None:
    assert run("generate-sample", "--runs", "60", "--seed", "3", cwd=tmp_path).code == 0
    state, sink = tmp_path / "exporter-state.db", tmp_path / "mlflow-metrics.jsonl"
    kills = 0
    for patience in (0.05 * 1.4**number for number in range(30)):  # longer each time, from before anything was read
        with background("export-once", cwd=tmp_path) as started:
            started.wait_for(state.exists)
            try:
                started.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                started.process.kill()
        kills += 1
    assert kills > 2, "or this proves nothing"
    assert run("export-once", cwd=tmp_path).code == 0
    records = [json.loads(line) for line in sink.read_text().splitlines()]
    points = {(r["metadata"]["run_id"], r["name"], r["metadata"]["step"], r["timestamp"]) for r in records}
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert len(points) == store.execute("SELECT count(*) FROM metrics").fetchone()[0]
    assert len(records) - len(points) <= 500 * kills, "a batch may come again after each kill, no more"
