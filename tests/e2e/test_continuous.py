"""The daemon as a service: it starts, outlives outages, reloads, drains."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.e2e.conftest import Tracking
from tests.parts.bad_server import answer, hang
from tests.parts.command import Daemon, background, continuous
from tests.parts.mlflow_server import MlflowServer
from tests.parts.programs import free_port
from tests.parts.prometheus_server import prometheus
from tests.parts.strict_peer import StrictPeer


def watching(tracking: Tracking, only: str) -> tuple[str, ...]:
    return ("--tracking-uri", tracking.url, "--interval", "0.5s", "--set", f"export.experiments.include={only}")


def pramathus(peer: StrictPeer) -> dict[str, str]:
    return {"PRAMATHUS_ENDPOINT": peer.url, "PRAMATHUS_API_KEY": peer.token, "PRAMATHUS_ENABLED": "true"}


def test_what_is_logged_reaches_scrape_and_sink_while_the_daemon_runs(
    tracking: Tracking, peer: StrictPeer, here: Path
) -> None:
    run_id = tracking.run(tracking.experiment("moving"), stage="production")
    tracking.log(run_id, "loss", range(10))
    with continuous(*watching(tracking, "moving"), cwd=here, env=pramathus(peer)) as daemon:
        daemon.wait_for(lambda: len(peer.samples) == 10)
        daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
        with prometheus(here, {"exporter": daemon.url.removeprefix("http://")}) as server:
            tracking.log(run_id, "loss", range(10, 25))
            server.wait_for('mlflow_loss{model_stage="production"}', lambda found: [v for _, v in found] == [3.0])
            server.wait_for("mlflow_exporter_ready", lambda found: {v for _, v in found} == {1.0} and len(found) == 5)
            delivered = 'mlflow_exporter_samples_delivered_total{exporter="pramathus"}'
            server.wait_for(delivered, lambda found: [v for _, v in found] == [25.0])
            tracking.server.post("runs/delete", {"run_id": run_id})
            server.wait_for("mlflow_loss", lambda found: not found)
        assert daemon.stop() == 0
    peer.accept_all_or_fail()
    assert [sample["metadata"]["step"] for sample in peer.samples] == list(range(25))


def test_mlflow_down_at_the_start_is_survived(tmp_path: Path) -> None:
    port = free_port()
    server = MlflowServer(tmp_path / "mlflow")
    arguments = ("--tracking-uri", f"http://127.0.0.1:{port}", "--interval", "0.5s", "--set", "mlflow.timeout=5s")
    with continuous(*arguments, cwd=tmp_path) as daemon:
        daemon.wait_for(lambda: "connection refused" in daemon.components()["mlflow"].get("reason", ""))
        assert daemon.get("livez").status_code == 200
        assert daemon.get("readyz").status_code == 503
        try:
            server.start(port)
            daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
        finally:
            server.stop()
        daemon.wait_for(lambda: not daemon.components()["mlflow"]["ready"])
        assert daemon.stop() == 0


def test_stopping_delivers_what_waits(tracking: Tracking, peer: StrictPeer, here: Path) -> None:
    tracking.log(tracking.run(tracking.experiment("drained")), "loss", range(40))
    peer.trouble = answer(401)  # so that the next attempt is a minute away
    with continuous(*watching(tracking, "drained"), cwd=here, env=pramathus(peer)) as daemon:
        daemon.wait_for(lambda: "HTTP 401" in daemon.components()["exporters.pramathus"].get("reason", ""))
        assert daemon.components()["exporters.file"]["ready"], "nobody else is disturbed"
        daemon.wait_for(lambda: len((here / "mlflow-metrics.jsonl").read_text().splitlines()) == 40)
        peer.trouble = None
        assert daemon.stop(signal.SIGINT) == 0
    assert len(peer.samples) == 40


def test_a_kill_loses_nothing(tracking: Tracking, peer: StrictPeer, here: Path) -> None:
    run_id = tracking.run(tracking.experiment("killed"))
    tracking.log(run_id, "loss", range(30))
    peer.trouble = answer(500)
    arguments = watching(tracking, "killed")
    with continuous(*arguments, cwd=here, env=pramathus(peer)) as daemon:
        daemon.wait_for(lambda: 'queue_samples{exporter="pramathus"} 30.0' in daemon.get("metrics").text)
        daemon.stop(signal.SIGKILL)
    peer.trouble = None
    with continuous(*arguments, cwd=here, env=pramathus(peer)) as daemon:
        daemon.wait_for(lambda: len(peer.samples) == 30)
    peer.accept_all_or_fail()
    assert peer.repeats == 0


def test_sighup_reloads_and_refuses_what_is_broken(tracking: Tracking, peer: StrictPeer, here: Path) -> None:
    tracking.log(tracking.run(tracking.experiment("reloaded")), "loss", range(5))
    file = here / "config.yaml"
    good = (
        f"mlflow: {{tracking_uri: '{tracking.url}'}}\n"
        "export: {interval: 500ms, experiments: {include: [reloaded]}}\n"
        "exporters: {prometheus: {type: prometheus}}\n"
    )
    file.write_text(good)
    with continuous(cwd=here) as daemon:
        daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
        file.write_text(good + "exportrs: {}\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "config_last_reload_successful 0.0" in daemon.get("metrics").text)
        assert "mlflow_loss" in daemon.get("metrics").text, "the old configuration stays"
        refused = next(line for line in daemon.log.read_text().splitlines() if "configuration rejected" in line)
        (problem,) = json.loads(refused)["problems"]
        assert problem.endswith("config.yaml:4: exportrs: unknown key; did you mean exporters?")

        endpoint = f"{{type: pramathus, endpoint: '{peer.url}', api_key: {peer.token}}}"
        file.write_text(good.replace("exporters: {", f"exporters: {{prod: {endpoint}, "))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "exporters.prod" in daemon.components() and len(peer.samples) == 5)
        assert "config_last_reload_successful 1.0" in daemon.get("metrics").text
        assert 'mlflow_exporter_polls_total{result="ok"}' in daemon.get("metrics").text

        file.write_text(good.replace("type: prometheus}", "type: prometheus}, audit: {type: file, path: /proc/no}"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "config_last_reload_successful 0.0" in daemon.get("metrics").text)
        daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
        assert "exporters.prod" in daemon.components(), "what cannot start is refused too"

        file.write_text(good)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "exporters.prod" not in daemon.components())
        assert 'exporter="prod"' not in daemon.get("metrics").text
        assert daemon.stop() == 0
        assert peer.token not in daemon.log.read_text()


def test_a_second_ctrl_c_does_not_wait(tracking: Tracking, peer: StrictPeer, here: Path) -> None:
    tracking.log(tracking.run(tracking.experiment("impatient")), "loss", range(5))
    env = {**pramathus(peer), "MLFLOW_EXPORTER_EXPORTERS__PRAMATHUS__TIMEOUT": "60s"}
    peer.trouble_with_batches = hang()
    with continuous(*watching(tracking, "impatient"), cwd=here, env=env) as daemon:
        daemon.wait_for(lambda: any(request.method == "POST" for request in peer.requests))
        daemon.process.send_signal(signal.SIGINT)
        daemon.wait_for_log("stopping; draining the backlog")
        assert daemon.stop(signal.SIGINT, within=10) == 130


def test_live_samples_move_the_gauges_until_told_to_stop(here: Path) -> None:
    with background("generate-sample", "--runs", "8", "--live", cwd=here) as writer:
        writer.wait_for_log("step 1 of")
        with continuous("--interval", "0.5s", cwd=here) as daemon:
            daemon.wait_for(lambda: delivered(daemon) > 0)
            before = delivered(daemon)
            daemon.wait_for(lambda: delivered(daemon) > before)
            assert daemon.stop() == 0
        assert writer.stop(signal.SIGINT) == 0


def delivered(daemon: Daemon) -> float:
    """Samples that the file sink has taken so far."""
    name = 'mlflow_exporter_samples_delivered_total{exporter="file"} '
    found = (float(ln.removeprefix(name)) for ln in daemon.get("metrics").text.splitlines() if ln.startswith(name))
    return next(found, 0.0)  # the page is there before the queue is open
