"""A whole stack on this machine, without containers: `make stack`.

::

    generate-sample --live -> mlflow server -> continuous -> Pushgateway -> Prometheus
                                                  ^-------------------------'

Prometheus and the Pushgateway are used where they are installed, and reported as skipped where they
are not. Ctrl-C stops everything; the data is in the directory given as the first argument.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

MLFLOW, PUSHGATEWAY, PROMETHEUS, EXPORTER = 5000, 9091, 9090, 9797
HOST = "127.0.0.1"


def url(port: int) -> str:
    return f"http://{HOST}:{port}"


class Stack:
    """Programs that were started, in order; each logs to a file of its own name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str, ready: str = "", **environment: str) -> None:
        """Start ``command`` and wait until ``ready`` answers."""
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(process)
        end = time.monotonic() + 120
        while ready and not answers(ready):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{name} did not start; see {self.directory / name}.log")
            time.sleep(0.2)
        print(f"  {name:<12} {ready or self.directory / f'{name}.log'}", flush=True)

    def stop(self) -> None:
        for process in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.running:
            process.wait()


def answers(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2) as response:
        return bool(response.status == 200)
    return False


def prometheus_config(directory: Path) -> Path:
    jobs = {"mlflow-exporter": EXPORTER, "pushgateway": PUSHGATEWAY}
    scrapes = [
        {"job_name": job, "honor_labels": job == "pushgateway", "static_configs": [{"targets": [f"{HOST}:{port}"]}]}
        for job, port in jobs.items()
    ]
    file = directory / "prometheus.yml"
    rules = str(Path(__file__).resolve().parents[1] / "prometheus" / "rules" / "*.yml")
    settings = {"global": {"scrape_interval": "5s"}, "rule_files": [rules], "scrape_configs": scrapes}
    file.write_text(json.dumps(settings))  # JSON is YAML
    return file


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "stack").resolve()
    directory.mkdir(parents=True, exist_ok=True)
    exporter = (sys.executable, "-m", "mlflow_monitoring_exporter")
    stack = Stack(directory)
    try:
        stack.start(
            "mlflow",
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(MLFLOW), "--workers", "1"),
            *("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "artifacts"),
            ready=f"{url(MLFLOW)}/health",
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )
        stack.start("samples", *exporter, "generate-sample", "--live", MLFLOW_TRACKING_URI=url(MLFLOW))
        gateway = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
        if gateway:
            # Debian's Pushgateway would keep its groups outside of this directory.
            options = (f"--web.listen-address={HOST}:{PUSHGATEWAY}", "--persistence.file=pushgateway.data")
            stack.start("pushgateway", gateway, *options, ready=f"{url(PUSHGATEWAY)}/-/ready")
        else:
            print("  pushgateway  skipped: not installed")
        # Through the Pushgateway or by scrape: both would show every series twice.
        scraped = "false" if gateway else "true"
        stack.start(
            "exporter",
            *(*exporter, "continuous", "--interval", "5s", "--set", f"web.listen={HOST}:{EXPORTER}"),
            *("--set", f"exporters.prometheus.enabled={scraped}"),
            ready=f"{url(EXPORTER)}/readyz",
            MLFLOW_TRACKING_URI=url(MLFLOW),
            PROMETHEUS_GATEWAY=f"{HOST}:{PUSHGATEWAY}" if gateway else "",
        )
        if program := shutil.which("prometheus"):
            stack.start(
                "prometheus",
                *(
                    program,
                    f"--config.file={prometheus_config(directory)}",
                    f"--storage.tsdb.path={directory / 'tsdb'}",
                ),
                f"--web.listen-address={HOST}:{PROMETHEUS}",
                ready=f"{url(PROMETHEUS)}/-/ready",
            )
        else:
            print("  prometheus   skipped: not installed")
        print("Try avg by (experiment_name) (mlflow_accuracy) in Prometheus. Ctrl-C stops everything.", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        stack.stop()


if __name__ == "__main__":
    main()
