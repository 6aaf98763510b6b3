"""The dashboards: valid, in step with their source, and every panel shows data."""

from __future__ import annotations

import copy
import json
import math
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from jsonschema import Draft7Validator

from grafana.source.__main__ import encode
from tests.docs.pages import ROOT
from tests.stack.conftest import Stack, api

DIRECTORY = ROOT / "grafana" / "dashboards"
BOARDS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in sorted(DIRECTORY.glob("*.json"))}
SCHEMA = json.loads((Path(__file__).parent / "grafana-dashboard.schema.json").read_text())
# Records came out as "no key at all": what each kind of panel and data source has of its own, and words for values.
SCHEMA["definitions"]["Record<string,unknown>"] = {"type": "object"}
SCHEMA["definitions"]["Record<string,ValueMappingResult>"] = {
    "type": "object",
    "additionalProperties": {"$ref": "#/definitions/ValueMappingResult"},
}
# What events have of the Prometheus data source's own is not in the schema.
for its_own in ("expr", "titleFormat"):
    SCHEMA["definitions"]["AnnotationQuery<DataQuery>"]["properties"][its_own] = {"type": "string"}
PANELS = {
    f"{name}: {panel['title']}": panel
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
}
WAYS = ("mlflow-exporter", "mlflow_metrics")
BUILT_IN = {"__rate_interval", "__data", "__value", "__field"}


def test_the_dashboards_are_those_that_the_product_promises() -> None:
    assert BOARDS.keys() == {
        *("mlflow-dashboard", "mlflow-training", "mlflow-resources"),
        *("mlflow-exporter-health", "mlflow-registry", "mlflow-alerts"),
        *("mlflow-production", "mlflow-drift", "mlflow-ingestion"),
    }
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    assert {board["title"] for board in BOARDS.values()} == {
        *("ML Pipeline Overview", "Training", "Resource Monitoring", "Alerts", "Exporter Health", "Model Registry"),
        *("Production", "Data Drift", "Data Ingestion"),
    }


def test_the_files_are_what_their_source_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "grafana.source", tmp_path], cwd=ROOT, check=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in DIRECTORY.glob("*.json")
    }, "run `make dashboards`"


def problems(tree: Any, kind: str | None = None) -> list[str]:
    """What the schema (of one of its definitions) has against a tree."""
    schema = {**SCHEMA["definitions"][kind], "definitions": SCHEMA["definitions"]} if kind else SCHEMA
    errors = Draft7Validator(schema).iter_errors(tree)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_published_schema_accepts_it(name: str) -> None:
    assert problems({**BOARDS[name], "panels": []}) == []
    for panel in copy.deepcopy(BOARDS[name]["panels"]):
        if panel["type"] == "row":
            assert problems(panel, "RowPanel") == []
            continue
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", []):
            # Null is what Grafana itself writes for the lowest threshold, though its type says number.
            step["value"] = -1e300 if step["value"] is None else step["value"]
        assert problems(panel, "Panel<Record<string,unknown>,Record<string,unknown>>") == [], panel["title"]


def test_the_schema_notices_wrong_types_and_unknown_keys() -> None:
    panel = next(iter(PANELS.values()))
    kind = "Panel<Record<string,unknown>,Record<string,unknown>>"
    assert problems({**panel, "title": 3}, kind)
    assert problems({**panel, "titel": "x"}, kind)


@pytest.mark.parametrize("name", BOARDS)
def test_it_survives_a_round_trip_through_grafanas_own_types(name: str) -> None:
    register_default_plugins()
    assert json.loads(encode(Dashboard.from_json(copy.deepcopy(BOARDS[name])))) == BOARDS[name]


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    panel = PANELS[name]
    assert len(panel["description"]) > 10
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("name", BOARDS)
def test_every_data_source_and_variable_resolves(name: str) -> None:
    board = BOARDS[name]
    variables = {variable["name"] for variable in board["templating"]["list"]}
    text = json.dumps([board["panels"], board["templating"], board["links"]])
    used = set(re.findall(r"\$\{?([A-Za-z_]+)", text)) - {"All", "__all"}
    assert used - BUILT_IN <= variables
    assert variables - used <= {"datasource"}, "a variable that nobody uses"
    assert {ref["uid"] for ref in sources(board)} == {"${datasource}"}
    (provisioned,) = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert {ref["type"] for ref in sources(board)} == {provisioned["type"]}


def sources(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        if "datasource" in tree:
            yield tree["datasource"]
        for inner in tree.values():
            yield from sources(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from sources(inner)


@pytest.mark.parametrize("name", BOARDS)
def test_links_lead_to_dashboards_and_variables_that_exist(name: str) -> None:
    by_uid = {board["uid"]: board for board in BOARDS.values()}
    text = json.dumps(BOARDS[name])
    for uid, query in re.findall(r'"/d/([\w-]+)\?([^"]*)"', text):
        there = {variable["name"] for variable in by_uid[uid]["templating"]["list"]}
        named = {*re.findall(r"var-(\w+)=", query), *re.findall(r"\$\{(\w+):queryparam\}", query)}
        assert named <= there
    assert {link["type"] for link in BOARDS[name]["links"]} == {"dashboards", "link"}
    assert all(set(link["tags"]) <= set(BOARDS[name]["tags"]) for link in BOARDS[name]["links"])


def substituted(expression: str, way: str) -> str:
    """With what the variables are when a dashboard is opened: one way, and all of everything else."""
    values = {"job": way, "by": "experiment_name", "top": "10", "__rate_interval": "10s"}
    return re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", lambda match: values.get(match[1] or match[2], ".*"), expression)


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_shows_data(name: str, stack: Stack) -> None:
    for target in PANELS[name]["targets"]:
        for way in WAYS if "$job" in target["expr"] else WAYS[:1]:
            expression = substituted(target["expr"], way)
            # What is counted over time may need a scrape more than there has been.
            end = time.monotonic() + 20
            while not (found := answer(stack, expression, instant=bool(target.get("instant")))):
                assert time.monotonic() < end, f"nothing by {way}: {expression}"
                time.sleep(0.5)
            check_fields(PANELS[name], target, found)
            if (bounds := BOUNDS.get(PANELS[name]["fieldConfig"]["defaults"]["unit"])) and "time()" not in expression:
                values = [float(value) for element in found for _, value in points(element)]
                assert [value for value in values if value < bounds[0] or value > bounds[1]] == [], expression


#: What can be true, by unit: a machine is busy by 0 to 100 %, and nothing takes less than no time.
BOUNDS = {"percent": (0, 100), "s": (0, math.inf), "dtdurations": (0, math.inf), "bytes": (0, math.inf)}
BOUNDS |= {"cps": (0, math.inf), "decmbytes": (0, math.inf), "watt": (0, math.inf)}


def points(element: Any) -> list[Any]:
    return [element["value"]] if "value" in element else list(element["values"])


@pytest.mark.parametrize("name", BOARDS)
def test_every_event_can_be_asked_for(name: str, stack: Stack) -> None:
    for event in BOARDS[name]["annotations"]["list"]:
        answer(stack, event["expr"], instant=False)


def answer(stack: Stack, expression: str, *, instant: bool) -> list[Any]:
    now = time.time()
    if instant:
        found: list[Any] = api(stack.prometheus, "query", query=expression)["result"]
    else:
        moments = {"start": str(now - 30), "end": str(now), "step": "2"}
        found = api(stack.prometheus, "query_range", query=expression, **moments)["result"]
    return found


def check_fields(panel: Any, target: Any, found: list[Any]) -> None:
    """Legends and columns name labels that are there."""
    labels = {label for element in found for label in element["metric"]}
    legend = substituted(target.get("legendFormat") or "", WAYS[0])
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels
    if panel["type"] == "table":
        (options,) = (t["options"] for t in panel["transformations"] if t["id"] == "filterFieldsByName")
        of_queries = {f"Value #{t['refId']}" for t in panel["targets"]} | {"Value"}
        asked = {word for t in panel["targets"] for word in re.findall(r"\w+", t["expr"])}
        assert set(options["include"]["names"]) - of_queries <= asked


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_has_values(name: str, stack: Stack) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] != "query" or variable["name"] == "server":
            continue  # an only tracking server has no name, and All means it, too
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert found, variable
        selector, label = substituted(found[1], WAYS[0]), found[2]
        assert api(stack.prometheus, f"label/{label}/values", **{"match[]": selector}), variable["name"]


def test_links_to_mlflow_name_runs_that_mlflow_has(stack: Stack) -> None:
    with closing(sqlite3.connect(stack.store)) as connection:
        known = {
            (str(experiment), run) for experiment, run in connection.execute("SELECT experiment_id, run_uuid FROM runs")
        }
    shown = api(stack.prometheus, "query", query='mlflow_run_info{job="mlflow-exporter"}')["result"]
    linked = {(element["metric"]["experiment_id"], element["metric"]["run_uuid"]) for element in shown}
    assert linked
    assert linked <= known
    (fields,) = [
        panel["transformations"][2]["options"]["include"]["names"]
        for panel in PANELS.values()
        if "${__data.fields.run_uuid}" in json.dumps(panel)
    ]
    assert {"experiment_id", "run_uuid"} <= set(fields)
