"""What a real Prometheus knows, by scrape and by Pushgateway, is what MLflow holds."""

from __future__ import annotations

import math
import posixpath
import re
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.prometheus.families import OURS
from tests.e2e.conftest import Tracking
from tests.parts.command import Daemon, continuous
from tests.parts.programs import need
from tests.parts.prometheus_server import Prometheus, prometheus
from tests.parts.pushgateway import Pushgateway, pushgateway

Known = dict[tuple[str, frozenset[tuple[str, str]]], float]
STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
#: Labels of the way, not of the thing.
WAY = {"__name__", "job", "instance", "experiment_id"}


@dataclass
class Surface:
    """A daemon that serves and pushes, and a Prometheus that has both."""

    tracking: Tracking
    daemon: Daemon
    gateway: Pushgateway
    server: Prometheus

    def both(self) -> tuple[Known, Known]:
        """Every series of MLflow by scrape, and by Pushgateway."""
        found = self.server.query('{__name__=~"mlflow_.+",__name__!~"mlflow_exporter_.+"}')
        by_way: dict[bool, Known] = {True: {}, False: {}}
        for labels, value in found:
            rest = frozenset((name, text) for name, text in labels.items() if name not in WAY)
            known = by_way[labels["job"] == "exporter"]
            assert (labels["__name__"], rest) not in known, "no series is there twice"
            known[labels["__name__"], rest] = value
        return by_way[True], by_way[False]

    def wait_for(self, wrong: Callable[[Known], Any], within: float = 90.0) -> Known:
        """What both ways show, once they agree and nothing is ``wrong`` with it."""
        end = time.monotonic() + within
        while True:
            scraped, pushed = self.both()
            problem = difference(scraped, pushed) or wrong(scraped)
            if not problem:
                return scraped
            assert time.monotonic() < end, problem
            time.sleep(0.2)


def difference(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> dict[Any, Any]:
    """What is in one, what in the other, where they are not the same."""
    missing = object()
    return {
        key: (one.get(key), other.get(key))
        for key in one.keys() | other.keys()
        if not equal(one.get(key, missing), other.get(key, missing))
    }


def equal(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # noqa: PLR0124 - NaN


def of_experiments(known: Known) -> list[Any]:
    """All but the registry, which other tests fill, too."""
    return [key for key in known if "experiment_name" in dict(key[1])]


def labels_of(known: Known, name: str) -> list[tuple[dict[str, str], float]]:
    return [(dict(labels), value) for (found, labels), value in known.items() if found == name]


@pytest.fixture(scope="module")
def surface(tracking: Tracking, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    here = tmp_path_factory.mktemp("surface")
    arguments = (
        *("--tracking-uri", tracking.url, "--interval", "0.3s", "--max-experiments", "0"),
        *("--set", "export.experiments.include=surface *", "--set", "exporters.file.enabled=false"),
        # Runs that ended long ago are made here: the sweep finds them, and need not take its time.
        *("--set", "export.sweep.every=0.3s"),
        *("--set", "exporters.pushgateway.enabled=true", "--set", "exporters.pushgateway.type=pushgateway"),
    )
    with (
        pushgateway(here / "gateway") as gateway,
        continuous(*arguments, cwd=here, env={"PROMETHEUS_GATEWAY": gateway.address}) as daemon,
        prometheus(
            here / "prometheus", {"exporter": daemon.url.removeprefix("http://"), "pushgateway": gateway.address}
        ) as server,
    ):
        yield Surface(tracking, daemon, gateway, server)
        assert daemon.stop() == 0


def legal(key: str) -> bool:
    """As MLflow sees it (mlflow/utils/validation.py)."""
    return posixpath.normpath(key) == key and not key.startswith("/") and key not in (".", "..")


letters = st.characters(categories=("L", "Nd"), max_codepoint=0x2FFF)
keys = st.text(letters | st.sampled_from("_-. :/"), min_size=1, max_size=20).filter(legal)
ordinary = st.sampled_from(["loss", "accuracy", "val/acc", "val acc", "run_info", "exporter_series", "up_total", "m"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@dataclass(frozen=True)
class Wanted:
    """A run that is to be made."""

    metrics: Mapping[str, float]
    status: str
    end_ms: int | None
    stage: str
    name: str
    deleted: bool


wanted_runs = st.lists(
    st.builds(
        Wanted,
        st.dictionaries(ordinary | keys, st.floats(), max_size=5),
        st.sampled_from(STATUSES),
        st.none() | st.integers(1_790_000_100_000, 1_790_000_200_000),
        texts,
        texts.filter(bool),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=4,
)


def make(tracking: Tracking, experiment_id: str, wanted: Wanted) -> None:
    created = tracking.server.post(
        "runs/create",
        {
            "experiment_id": experiment_id,
            "run_name": wanted.name,
            "start_time": 1_790_000_000_000,
            "tags": [{"key": "stage", "value": wanted.stage}],
        },
    )
    run_id = created["run"]["info"]["run_id"]
    if wanted.metrics:
        tracking.log_values(run_id, wanted.metrics)
    end = {} if wanted.end_ms is None else {"end_time": wanted.end_ms}
    tracking.server.post("runs/update", {"run_id": run_id, "status": wanted.status, **end})
    if wanted.deleted:
        tracking.server.post("runs/delete", {"run_id": run_id})


def truth(tracking: Tracking, experiment_id: str) -> list[dict[str, Any]]:
    """The runs of an experiment as MLflow's own API gives them, with their values as numbers."""
    answer = tracking.server.post("runs/search", {"experiment_ids": [experiment_id], "max_results": 1000})
    runs = []
    for run in answer.get("runs", []):
        values = {m["key"]: number(m["value"]) for m in run["data"].get("metrics", [])}
        tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        runs.append({**run["info"], "values": values, "tags": tags})
    return runs


def number(value: Any) -> float:
    found = float(value)
    return math.copysign(math.inf, found) if abs(found) >= 1.7976931348623157e308 else found


def expected_of_runs(runs: list[dict[str, Any]], experiment: str) -> Known:
    """The metrics of these runs, written down without any of the product's code."""
    ours = {spec.name for spec in OURS} | {"mlflow_run_metric"}
    expected: Known = {}
    for run in runs:
        for key, value in run["values"].items():
            name = "mlflow_" + re.sub(r"[^a-zA-Z0-9_]", "_", key)
            if name in ours or name.startswith("mlflow_exporter_"):
                name = name.replace("mlflow_", "mlflow_metric_", 1)
            labels = {
                "experiment_name": experiment,
                "run_id": run["run_id"][:8],
                "model_stage": run["tags"].get("stage", ""),
                "metric": key,
            }
            expected[name, frozenset((k, v) for k, v in labels.items() if v)] = value
    return expected


def check_aggregates(known: Known, runs: list[dict[str, Any]], experiment: str) -> None:
    """Against the standard library; runs of one start differ in their id only."""

    def of(what: str) -> dict[str, float]:
        found = labels_of(known, f"mlflow_experiment_metric_{what}")
        return {labels["metric"]: value for labels, value in found if labels["experiment_name"] == experiment}

    by_key: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for key in run["values"]:
            by_key.setdefault(key, []).append(run)
    assert of("latest").keys() == by_key.keys()
    for key, having in by_key.items():
        newest = max(having, key=lambda run: run["run_id"])
        assert equal(of("latest")[key], newest["values"][key])
        finite = [run["values"][key] for run in having if math.isfinite(run["values"][key])]
        if not finite:
            assert key not in of("mean")
            continue
        assert (of("min")[key], of("max")[key]) == (min(finite), max(finite))
        scale = max(map(abs, finite)) or 1.0
        assert of("mean")[key] / scale == pytest.approx(statistics.fmean([v / scale for v in finite]), abs=1e-9)
        deviation = statistics.pstdev([v / scale for v in finite])
        assert of("stddev")[key] / scale == pytest.approx(deviation, abs=1e-6)
        assert of("best").get(key) == {"loss": min(finite), "accuracy": max(finite)}.get(key, of("best").get(key))


# A wrong example is waited for before it fails, so none is looked for that is smaller.
@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(wanted=wanted_runs, name=texts)
def test_every_value_is_mlflows_on_both_ways_whatever_it_holds(
    surface: Surface, wanted: list[Wanted], name: str
) -> None:
    tracking = surface.tracking
    experiment = f"surface {time.time_ns()} {name}"
    experiment_id = tracking.experiment(experiment)
    try:
        for one in wanted:
            make(tracking, experiment_id, one)
        check_everything(surface, experiment, experiment_id, [one for one in wanted if not one.deleted])
    finally:
        tracking.server.post("experiments/delete", {"experiment_id": experiment_id})
    surface.wait_for(of_experiments)


def check_everything(surface: Surface, experiment: str, experiment_id: str, wanted: list[Wanted]) -> None:
    tracking = surface.tracking
    runs = truth(tracking, experiment_id)
    assert len(runs) == len(wanted)
    expected = expected_of_runs(runs, experiment)

    def metrics(known: Known) -> Known:
        return {k: v for k, v in known.items() if {"run_id", "metric"} <= {label for label, _ in k[1]}}

    ids = {run["run_id"] for run in runs}

    def uuids(known: Known) -> set[str]:
        return {labels["run_uuid"] for labels, _ in labels_of(known, "mlflow_run_info")}

    counts = {status: sum(run["status"] == status for run in runs) for status in STATUSES}

    def wrong(found: Known) -> Any:
        shown = {labels["status"]: value for labels, value in labels_of(found, "mlflow_experiment_runs")}
        return difference(metrics(found), expected) or uuids(found) ^ ids or difference(shown, counts)

    known = surface.wait_for(wrong)
    check_aggregates(known, runs, experiment)
    info = {labels["run_uuid"]: labels for labels, _ in labels_of(known, "mlflow_run_info")}
    bad = {labels["run_id"]: value for labels, value in labels_of(known, "mlflow_run_nonfinite_metrics")}
    for run in runs:
        shown = info[run["run_id"]]
        assert (shown["status"], shown["run_name"]) == (run["status"], run["run_name"])
        assert bad[run["run_id"][:8]] == sum(not math.isfinite(v) for v in run["values"].values())
    check_text(surface)


def check_text(surface: Surface) -> None:
    """The text itself, as promtool reads it: it may only have an opinion about names that a user chose."""
    ours = {spec.name for spec in OURS}
    for text in (surface.daemon.get("metrics").text, surface.gateway.text()):
        series = [line.rpartition(" ")[0] for line in text.split("\n") if line and not line.startswith("#")]
        assert len(series) == len(set(series))
        done = subprocess.run(
            [need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("mlflow_")]
        assert done.returncode in (0, 3), done.stderr
        assert [line for line in said if line.split()[0] in ours or line.startswith("mlflow_exporter_")] == []


def test_what_is_deleted_is_gone_and_what_is_renamed_is_called_so(surface: Surface) -> None:
    tracking = surface.tracking
    ids = {name: tracking.experiment(f"surface {name}") for name in ("stays", "goes", "old name")}
    runs = {name: [tracking.run(i), tracking.run(i)] for name, i in ids.items()}
    for at, run_id in enumerate(run_id for both in runs.values() for run_id in both):
        tracking.log_values(run_id, {"loss": at / 8})

    def shown(known: Known) -> set[tuple[str, str]]:
        return {(labels["experiment_name"], labels["run_id"]) for labels, _ in labels_of(known, "mlflow_loss")}

    def of(*names: str) -> set[tuple[str, str]]:
        return {(f"surface {name}", run_id[:8]) for name in names for run_id in runs[name]}

    surface.wait_for(lambda known: shown(known) ^ of("stays", "goes", "old name"))
    tracking.server.post("runs/delete", {"run_id": runs["stays"].pop()})
    tracking.server.post("experiments/delete", {"experiment_id": ids["goes"]})
    tracking.server.post("experiments/update", {"experiment_id": ids["old name"], "new_name": "surface new name"})
    runs["new name"] = runs["old name"]
    known = surface.wait_for(lambda known: shown(known) ^ of("stays", "new name"))
    names = {dict(labels)["experiment_name"] for _, labels in of_experiments(known)}
    assert names == {"surface stays", "surface new name"}, "no series of any family has another name"
    for name in ("stays", "old name"):
        tracking.server.post("experiments/delete", {"experiment_id": ids[name]})
    surface.wait_for(of_experiments)


def test_two_runs_that_share_eight_characters_are_two_series(surface: Surface) -> None:
    tracking = surface.tracking
    ids = [tracking.experiment(f"surface twin {n}") for n in range(2)]
    with closing(sqlite3.connect(tracking.server.database, timeout=30)) as connection, connection:
        for n, experiment_id in enumerate(ids):
            run_id = f"deadbeef{n:024x}"
            connection.execute(
                "INSERT INTO runs (run_uuid, name, user_id, status, start_time, lifecycle_stage, experiment_id)"
                " VALUES (?, 'twin', '', 'RUNNING', 1, 'active', ?)",
                (run_id, int(experiment_id)),
            )
            connection.execute(
                "INSERT INTO latest_metrics (run_uuid, key, step, timestamp, value, is_nan)"
                " VALUES (?, 'loss', 0, 1, ?, 0)",
                (run_id, n + 1.0),
            )

    def values(known: Known) -> dict[str, float]:
        return {labels["run_id"]: value for labels, value in labels_of(known, "mlflow_loss")}

    apart = {f"deadbeef{n:024x}"[:32]: n + 1.0 for n in range(2)}
    surface.wait_for(lambda known: difference(values(known), apart))
    for experiment_id in ids:
        tracking.server.post("experiments/delete", {"experiment_id": experiment_id})
    surface.wait_for(of_experiments)


def test_a_promotion_changes_the_stage_and_the_champions_metrics(surface: Surface) -> None:
    tracking = surface.tracking
    experiment_id = tracking.experiment("surface registry")
    tracking.server.post("registered-models/create", {"name": "surface"})
    runs = [tracking.run(experiment_id) for _ in range(2)]
    for run_id, accuracy in zip(runs, (0.75, 0.5), strict=True):
        tracking.log_values(run_id, {"accuracy": accuracy})
        tracking.server.post("model-versions/create", {"name": "surface", "source": "s3://models/m", "run_id": run_id})

    def promote(version: str) -> None:
        body = {"name": "surface", "alias": "champion", "version": version}
        tracking.server.post("registered-models/alias", body)

    def stages(known: Known) -> dict[str, str]:
        return {labels["run_id"]: labels.get("model_stage", "") for labels, _ in labels_of(known, "mlflow_accuracy")}

    def champion(known: Known, family: str) -> list[float]:
        return [v for labels, v in labels_of(known, family) if labels["model"] == "surface"]

    promote("1")
    known = surface.wait_for(lambda known: difference(stages(known), {runs[0][:8]: "champion", runs[1][:8]: ""}))
    assert champion(known, "mlflow_model_alias_metric") == [0.75]
    assert champion(known, "mlflow_model_alias_metric_delta") == [0.25]
    changes = champion(known, "mlflow_model_alias_changes_total")
    promote("2")
    known = surface.wait_for(lambda known: difference(stages(known), {runs[0][:8]: "", runs[1][:8]: "champion"}))
    assert champion(known, "mlflow_model_alias_metric") == [0.5]
    assert champion(known, "mlflow_model_alias_metric_delta") == [0.0]
    assert champion(known, "mlflow_model_alias_changes_total") == [changes[0] + 1]
    info = [labels for labels, _ in labels_of(known, "mlflow_model_version_info") if labels["model"] == "surface"]
    assert [(labels["version"], labels.get("alias")) for labels in info] == [("2", "champion")]
