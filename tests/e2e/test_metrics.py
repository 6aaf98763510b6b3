"""The command metrics, with a real MLflow."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow_monitoring_exporter.cli.output import EXIT_CONFIG, EXIT_OK
from tests.e2e.conftest import Tracking
from tests.parts.command import run


def test_metrics_says_of_every_key_which_way_is_better_and_why(tracking: Tracking, here: Path) -> None:
    judged, other = tracking.experiment("judged"), tracking.experiment("judged otherwise")
    for experiment in (judged, other):
        tracking.log_values(tracking.run(experiment), {"brier_score": 0.5, "foo": 1.0, "bar": 1.0, "epoch": 3.0})
    tag = {"experiment_id": other, "key": "greater_is_better.foo", "value": "true"}
    tracking.server.post("experiments/set-experiment-tag", tag)
    arguments = ("--tracking-uri", tracking.url, "--set", "export.experiments.include=judged*")
    (here / "config.yaml").write_text('export: {metrics: {direction: {"ba*": min}}}')
    done = run("metrics", *arguments, "--output", "json", cwd=here, env={})
    assert done.code == EXIT_OK, done.err
    assert json.loads(done.out) == [
        {"metric": "bar", "better": "min", "why": "pattern ba*", "experiments": []},
        {"metric": "brier_score", "better": "min", "why": "word brier", "experiments": []},
        {"metric": "epoch", "better": None, "why": "no word that says it", "experiments": []},
        {"metric": "foo", "better": None, "why": "no word that says it", "experiments": ["judged"]},
        {"metric": "foo", "better": "max", "why": "tag of the experiment", "experiments": ["judged otherwise"]},
    ]
    done = run("metrics", *arguments, cwd=here, env={})
    assert "tag of the experiment, in judged otherwise" in done.out
    assert [path.name for path in here.iterdir()] == ["config.yaml"], "no state, no file"


def test_metrics_judges_keys_without_mlflow(here: Path) -> None:
    nowhere = ("--tracking-uri", "http://127.0.0.1:9", "--output", "json")
    done = run("metrics", "rank_test_score", "tokens/s", *nowhere, cwd=here, env={})
    assert (done.code, [one["better"] for one in json.loads(done.out)]) == (EXIT_OK, ["min", "max"]), done.err
    assert run("metrics", "--set", "export.metrics.direction.x=up", cwd=here, env={}).code == EXIT_CONFIG
