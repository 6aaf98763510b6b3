"""Several tracking servers: what comes from each is told apart, and an outage of one is that of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.sample.connection import connected
from tests.parts.command import continuous, run
from tests.parts.growing_store import Store
from tests.parts.pushgateway import pushgateway

#: Two stores have experiments and runs of the same numbers; two runs may even have the same name.
NAMES = ("eu", "us")


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, Store]:
    stores = {name: Store(tmp_path / f"{name}.db", experiments=2, runs=1) for name in NAMES}
    for count, store in enumerate(stores.values(), start=2):
        store.log(count)
    return stores


def configure(directory: Path, stores: dict[str, Store], **more: object) -> None:
    servers = [{"name": name, "tracking_uri": store.uri} for name, store in stores.items()]
    (directory / "config.yaml").write_text(json.dumps({"mlflow": servers, **more}))


def test_every_sample_says_which_server_it_comes_from(stores: dict[str, Store], tmp_path: Path) -> None:
    configure(tmp_path, stores)
    done = run("export-once", "--output", "json", cwd=tmp_path)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [(found["server"], found["poll"]["runs"]) for found in report["mlflow"]] == [("eu", 2), ("us", 2)]
    lines = [json.loads(line) for line in (tmp_path / "mlflow-metrics.jsonl").read_text().splitlines()]
    for name, store in stores.items():
        mine = [line for line in lines if line["metadata"]["server"] == name]
        found = {(one["metadata"]["run_id"], one["name"], one["metadata"]["step"], one["value"]) for one in mine}
        assert found == store.truth
        assert len(mine) == len(store.truth)
    assert run("export-once", cwd=tmp_path).code == 0
    assert len((tmp_path / "mlflow-metrics.jsonl").read_text().splitlines()) == len(lines), "each once"
    done = run("check", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "MLflow eu:" in done.out
    assert "MLflow us:" in done.out


def test_each_group_of_the_pushgateway_is_of_one_server(stores: dict[str, Store], tmp_path: Path) -> None:
    with pushgateway(tmp_path / "pushgateway") as gateway:
        exporters = {"gateway": {"type": "pushgateway", "gateway": gateway.url}}
        configure(tmp_path, stores, exporters=exporters)
        done = run("export-once", cwd=tmp_path)
        assert done.code == 0, done.err

        def groups() -> set[tuple[str, str]]:
            held = requests.get(f"{gateway.url}/api/v1/metrics", timeout=30).json()["data"]
            return {(group["labels"].get("server"), group["labels"]["experiment_id"]) for group in held}

        ids = {("eu", "0"), ("eu", "1"), ("eu", "2"), ("us", "0"), ("us", "1"), ("us", "2")}
        assert groups() == ids
        text = requests.get(f"{gateway.url}/metrics", timeout=30).text
        assert text.count("\nmlflow_loss{") == 4
        with connected(MlflowConfig(tracking_uri=stores["us"].uri)) as client:
            client.delete_experiment("1")
        assert run("export-once", cwd=tmp_path).code == 0
        assert groups() == ids - {("us", "1")}, "the other server's experiment of that number stays"
        configure(tmp_path, {"eu": stores["eu"]}, exporters=exporters)
        assert run("export-once", cwd=tmp_path).code == 0
        assert {server for server, _ in groups()} == {"eu"}, "a server that is watched no more has no groups"


def test_an_outage_of_one_server_is_not_the_others(stores: dict[str, Store], tmp_path: Path) -> None:
    configure(
        tmp_path,
        stores,
        export={"interval": "300ms"},
        exporters={"prometheus": {}},
    )
    with continuous(cwd=tmp_path) as daemon:
        daemon.wait_for(lambda: daemon.get("readyz").ok)
        page = daemon.get("metrics").text
        for name in NAMES:
            assert page.count(f'\nmlflow_loss{{server="{name}",') == 2
        assert "\nmlflow_exporter_experiments 6.0\n" in page
        assert "\nmlflow_exporter_runs 4.0\n" in page
        away = stores["us"].path.with_suffix(".away")
        stores["us"].path.rename(away)
        daemon.wait_for(lambda: not daemon.components()["mlflow.us"]["ready"])
        assert daemon.components()["mlflow.eu"]["ready"]
        stores["eu"].log(1)
        run_id = stores["eu"].runs[0][:8]
        newest = max(item for item in stores["eu"].truth if item[0].startswith(run_id) and item[1] == "loss")[3]
        daemon.wait_for(lambda: f" {newest!r}\n" in daemon.get("metrics").text)
        assert daemon.get("metrics").text.count('\nmlflow_loss{server="us",') == 2, "as last seen"
        away.rename(stores["us"].path)
        daemon.wait_for(lambda: daemon.get("readyz").ok)
        assert daemon.stop() == 0


def test_the_past_of_all_of_them_is_one_file(stores: dict[str, Store], tmp_path: Path) -> None:
    configure(tmp_path, stores)
    done = run("backfill", "--to", "mlflow.om", cwd=tmp_path)
    assert done.code == 0, done.err
    text = (tmp_path / "mlflow.om").read_text()
    assert text.count("# TYPE mlflow_loss ") == 1
    for name, store in stores.items():
        assert text.count(f'server="{name}"') == len(store.truth)


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ([{"tracking_uri": "http://a"}], r"config.yaml:1: mlflow.0: needs a name: there are several servers"),
        ([{"name": "a"}, {"name": "a"}], r"mlflow.1.name: is the name of another server already"),
        ([{"name": "a/b"}], r"mlflow.0.name: string should match pattern"),
        (
            [{"name": "a", "tracking_url": "http://a"}],
            r"mlflow.0.tracking_url: unknown key; did you mean tracking_uri\?",
        ),
        ([], r"mlflow: must name a server, or some"),
        (["http://a"], r"mlflow.0: must be a mapping"),
        ([{"name": "a", "token_file": "/nowhere"}], r"token_file: /nowhere: cannot read this secret file"),
        ([{"name": "a"}, {"name": "b", "token_file": "/nowhere"}], r"mlflow.1.token_file: /nowhere: cannot read"),
    ],
)
def test_a_list_with_a_mistake_is_refused(servers: list[object], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps({"mlflow": servers}))
    done = run("config", "validate", cwd=tmp_path)
    assert done.code == 78
    assert __import__("re").search(said, done.err), done.err


def test_a_variable_for_one_server_is_refused_beside_a_list(stores: dict[str, Store], tmp_path: Path) -> None:
    configure(tmp_path, stores)
    done = run("config", "validate", cwd=tmp_path, env={"MLFLOW_TRACKING_URI": "http://a"})
    assert done.code == 78
    assert "MLFLOW_TRACKING_URI: mlflow is a list in the file: say it there" in done.err
    shown = run("config", "show", cwd=tmp_path).out
    assert "- name: eu" in shown
    assert "- name: us" in shown


def test_a_label_of_the_operators_may_not_be_called_server(stores: dict[str, Store], tmp_path: Path) -> None:
    configure(tmp_path, stores, gauges={"labels": {"add": {"server": "tag.server"}}})
    done = run("config", "validate", cwd=tmp_path)
    assert done.code == 78
    assert "gauges.labels.add.server: is the name of the tracking server's own label" in done.err
