"""A Prometheus whose scrape has limits."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.e2e.conftest import Tracking
from tests.parts.command import continuous
from tests.parts.prometheus_server import prometheus

LIMITS = {
    "sample_limit": 1000,
    "label_limit": 13,
    "label_name_length_limit": 15,
    "label_value_length_limit": 200,
}


def test_texts_of_any_length_do_not_fail_the_scrape_of_a_prometheus_with_limits(
    tracking: Tracking, tmp_path: Path
) -> None:
    keys = [f"{'long/' * 45}{end}" for end in "ab"]
    for number in range(2):
        experiment_id = tracking.experiment(f"limits {number}")
        run_id = tracking.run(experiment_id, **{"mlflow.runName": "n" * 5000, "stage": "s" * 5000, "team": "t" * 5000})
        tracking.log_values(run_id, dict.fromkeys(keys, 0.5))
        with closing(sqlite3.connect(tracking.server.database, timeout=60)) as store, store:
            name = f"limits {'é🚀' * 2500}{number}"  # longer than MLflow's own pages allow, as databases do
            store.execute("UPDATE experiments SET name = ? WHERE experiment_id = ?", (name, experiment_id))
    arguments = (
        *("--tracking-uri", tracking.server.store_uri, "--interval", "0.5s", "--max-experiments", "0"),
        *("--set", "export.experiments.include=limits *", "--set", "exporters.file.enabled=false"),
        *("--set", "gauges.labels.add.team=tag.team"),
    )
    with (
        continuous(*arguments, cwd=tmp_path) as daemon,
        prometheus(tmp_path / "prometheus", {"exporter": daemon.url.removeprefix("http://")}, limits=LIMITS) as server,
    ):
        found = server.wait_for('{__name__=~"mlflow_long_.*"}', lambda answer: len(answer) == 4)
        assert server.query("up") == [({"__name__": "up", "instance": found[0][0]["instance"], "job": "exporter"}, 1.0)]
        names = {labels["experiment_name"] for labels, _ in found}
        assert len(names) == len({labels["metric"] for labels, _ in found}) == 2, "what differs still does"
        assert all(name.startswith("limits é🚀") and len(name.encode()) <= 200 for name in names)
        assert {labels["experiment_name"] for labels, _ in server.query("mlflow_experiment_runs")} == names
