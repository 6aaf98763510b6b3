"""``/metrics`` of serving processes: read by Prometheus' own programs, right through kills of workers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from mlflow_monitoring_tracking import ProductionTracker
from mlflow_monitoring_tracking.production.exposition import families
from mlflow_monitoring_tracking.production.families import parts_of, text
from mlflow_monitoring_tracking.production.places import ProductionDirectory
from mlflow_monitoring_tracking.production.processes import totals
from mlflow_monitoring_tracking.production.windows import Windows
from mlflow_monitoring_tracking.tracker import ExperimentTracker
from tests.parts.programs import free_port, need
from tests.parts.prometheus_server import prometheus
from tests.parts.scaled import scaled
from tests.tracking.conftest import Programs, environment
from tests.tracking.spools import keys, points


@pytest.fixture
def tracker(tmp_path: Path) -> ProductionTracker:
    made = ProductionTracker({"tracking_dir": str(tmp_path), "mode": "offline"}, window=3600)
    made.start_production_monitoring('pri"cing\\', "prod\né", version=7)
    for place in range(40):
        made.log_prediction(
            deployment_id="prod\né",
            input_data={"a": 1.0, "b": "x"},
            prediction="yes" if place % 4 else 1.5,
            confidence=0.9,
            latency_ms=place,
            error=None if place else "timeout",
        )
    return made


def value(page: str, name: str, **labels: str) -> float:
    [found] = [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found


def check(page: str) -> None:
    assert value(page, "mlflow_deployment_predictions_total", outcome="success") == 39
    assert value(page, "mlflow_deployment_predictions_total", outcome="error", model='pri"cing\\') == 1
    assert value(page, "mlflow_deployment_class_total", deployment="prod\né", **{"class": "yes"}) == 30
    assert value(page, "mlflow_deployment_prediction_latency_seconds_count", version="7") == 40
    assert value(page, "mlflow_deployment_prediction_latency_seconds_bucket", le="0.01") == 11
    assert value(page, "mlflow_deployment_prediction_latency_seconds_sum") == pytest.approx(0.78)
    assert value(page, "mlflow_deployment_prediction_confidence_bucket", le="0.9") == 40
    assert value(page, "mlflow_deployment_prediction_score_sum") == 15


def test_prometheus_own_programs_accept_the_page(tracker: ProductionTracker) -> None:
    page = text(families(tracker.place))
    check(page)
    done = subprocess.run(
        [need("promtool"), "check", "metrics"], input=page.encode(), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_a_wsgi_application(tracker: ProductionTracker) -> None:
    said: list[str] = []
    environ: dict[str, Any] = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)

    def start(status: str, _headers: object, _error: object = None) -> Any:
        said.append(status)

    body: Any = validator(tracker.wsgi_app)(environ, start)
    try:
        check(b"".join(body).decode())
    finally:
        body.close()
    assert said == ["200 OK"]


def test_it_is_an_asgi_application(tracker: ProductionTracker) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask(scope: Any, *messages: Any) -> None:
        waiting = iter(messages)

        async def receive() -> Any:
            return next(waiting)

        await tracker.asgi_app(scope, receive, send)

    asyncio.run(ask({"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    sent.clear()
    asyncio.run(ask({"type": "http", "path": "/metrics", "method": "GET"}))
    assert sent[0]["status"] == 200
    check(sent[1]["body"].decode())


def test_a_server_of_its_own_answers_and_says_where_the_metrics_are(tracker: ProductionTracker) -> None:
    server = tracker.start_metrics_server(0)
    url = f"http://127.0.0.1:{server.port}"
    answer = requests.get(f"{url}/metrics", timeout=30)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    check(answer.content.decode())
    assert "/metrics" in requests.get(url, timeout=30).text
    with pytest.raises(OSError, match="in use"):
        tracker.start_metrics_server(server.port)
    server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/metrics", timeout=5)


def test_nothing_counted_is_an_empty_page_and_makes_no_directory(tmp_path: Path) -> None:
    place = ProductionDirectory.of(tmp_path / "none")
    assert families(place) == []
    assert not (tmp_path / "none").exists()


#: Each request logs a hundred predictions, and says so once they are logged.
SERVES = """
    from tracking_integration import ProductionTracker
    tracker = ProductionTracker({{"tracking_dir": {directory!r}, "mode": "offline"}}, window=0.5)
    tracker.start_production_monitoring("pricing", "prod")
    metrics = tracker.wsgi_app

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        for place in range(100):
            tracker.log_prediction(
                deployment_id="prod", input_data={{"x": float(place)}}, prediction="ab"[place % 2], latency_ms=1.0
            )
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]
"""


@contextmanager
def gunicorn(here: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    (here / "serves.py").write_text(textwrap.dedent(SERVES.format(directory=str(here / "tracking"))))
    address = f"127.0.0.1:{free_port()}"
    options = ("--preload", "--workers", "4", "--bind", address, "--graceful-timeout", "10", "--log-level", "error")
    with (here / "gunicorn.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "serves:app"],
            cwd=here,
            env=environment(),
            stdout=log,
            stderr=log,
        )
        try:
            end = time.monotonic() + 60
            while True:
                with suppress(requests.RequestException):
                    requests.get(f"http://{address}/metrics", timeout=5)
                    break
                assert time.monotonic() < end, (here / "gunicorn.log").read_text()
                time.sleep(0.1)
            yield address, process
        finally:
            process.terminate()
            process.wait(30)


#: Predicts on its main thread, where a signal meets it.
PREDICTS = """
    from tracking_integration import ProductionTracker
    tracker = ProductionTracker(window=0.3)
    tracker.start_production_monitoring("pricing", "prod")
    for number in range(10**9):
        tracker.log_prediction(deployment_id="prod", input_data={"x": 1.0}, prediction=number % 3, latency_ms=1.0)
        if not number % 100:
            print(number, flush=True)
"""


def test_a_signal_in_the_middle_of_a_prediction_ends_the_program_and_its_last_window(tmp_path: Path) -> None:
    programs, acknowledged = Programs(tmp_path, {"TRACKING_MODE": "offline"}), 0
    for pause in (0.0, 0.05, 0.35, 0.4, 0.7):
        process = programs.start(PREDICTS)
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        time.sleep(pause)
        process.terminate()
        out, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGTERM, err
        acknowledged += int(out.split()[-1] if out else 0)
    place = ProductionDirectory.of(programs.spool)
    whole = sum(numbers[0] for key, numbers in totals(place.counts).items() if parts_of(key)[0] == "outcomes")
    assert whole >= acknowledged
    [key] = keys(programs.spool)
    rows = {(p.key, p.value, p.step, p.time_ms) for p in points(programs.spool, key)}
    assert sum(value for name, value, _, _ in rows if name == "predictions") <= whole
    assert place.truth.exists()


def test_nothing_is_counted_where_tracking_is_disabled(tmp_path: Path) -> None:
    made = ProductionTracker({"tracking_dir": str(tmp_path), "mode": "disabled"})
    made.start_production_monitoring("m", "d")
    first, second = (made.log_prediction(deployment_id="d", prediction=1) for _ in range(2))
    assert made.log_prediction(deployment_id="not started", prediction=1)
    assert first != second
    assert made.log_prediction(deployment_id="d", prediction_id="mine") == "mine"
    made.log_ground_truth("d", first, 1)
    made.log_trade_result("d", {"pnl": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_deployment_whose_id_is_a_number_is_the_one_that_was_started(tmp_path: Path) -> None:
    made = ProductionTracker({"tracking_dir": str(tmp_path), "mode": "offline"}, window=3600)
    made.start_production_monitoring("m", 7)  # type: ignore[arg-type]  # as programs do
    for _ in range(2):
        made.log_prediction(deployment_id=7, prediction=True)  # type: ignore[arg-type]
    page = text(families(made.place))
    assert value(page, "mlflow_deployment_predictions_total", deployment="7", model="m", outcome="success") == 2
    made.stop()


def test_a_directory_that_cannot_be_written_costs_requests_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("a file")
    made = ProductionTracker({"tracking_dir": str(tmp_path), "mode": "offline"}, window=3600)
    made.start_production_monitoring("m", "d")
    ids = {made.log_prediction(deployment_id="d", prediction=1) for _ in range(500)}
    made.log_ground_truth("d", ids.pop(), 1)
    assert len(ids) == 499
    assert len(caplog.records) <= 4, "told, and not with each request"


def workers(master: int) -> list[int]:
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(pid) for pid in children]


def test_workers_are_killed_and_every_acknowledged_prediction_is_in_prometheus(tmp_path: Path) -> None:
    acknowledged, unknown, ended = [0], [0], threading.Event()

    def ask(address: str) -> None:
        while not ended.is_set():
            try:
                requests.post(f"http://{address}/predict", timeout=60).raise_for_status()
                acknowledged[0] += 100
            except requests.RequestException:
                unknown[0] += 100

    wanted = scaled(30_000, 1_000_000)
    count = "sum(mlflow_deployment_predictions_total)"
    with gunicorn(tmp_path) as (address, process), prometheus(tmp_path / "prometheus", {"serving": address}) as server:
        asking = threading.Thread(target=ask, args=(address,))
        asking.start()
        kills, last, files = 0, 0.0, 0
        while acknowledged[0] < wanted or kills < 4:
            time.sleep(scaled(2, 5) / 10)
            for pid in workers(process.pid)[:1]:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            page = requests.get(f"http://{address}/metrics", timeout=60) if kills % 2 else None
            if page is not None:
                now = value(page.text, "mlflow_deployment_predictions_total", outcome="success")
                assert now >= last, "a counter never goes back"
                last = now
            files = max(files, len(list((tmp_path / "tracking/spool/.production/counts").glob("*.counts"))))
        ended.set()
        asking.join()
        found = server.wait_for(count, lambda answer: bool(answer) and answer[0][1] >= acknowledged[0])
        assert acknowledged[0] <= found[0][1] <= acknowledged[0] + unknown[0]
        assert files <= 4 + 8, "those that live, and those that died since a worker last looked"
    # What was counted is in windows, too, but for the last one, which another process brings to the run.
    spool = tmp_path / "tracking" / "spool"
    whole = sum(
        number
        for key, numbers in totals(ProductionDirectory.of(spool).counts).items()
        for number in numbers
        if parts_of(key)[0] == "outcomes"
    )
    assert found[0][1] <= whole <= acknowledged[0] + unknown[0]
    config = {"tracking_dir": str(tmp_path / "tracking"), "mode": "offline"}
    run = ExperimentTracker(config).start_run("deployments/prod", run_key="rest")
    Windows(ProductionDirectory.of(spool), 0.5, lambda _served, _day: run).close(round(time.time() * 1000))
    run.end()
    rows = {(p.key, p.value, p.step, p.time_ms) for key in keys(spool) for p in points(spool, key)}
    assert sum(value for key, value, _, _ in rows if key == "predictions") == whole
