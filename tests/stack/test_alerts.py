"""Shipped rules: valid, tested, explained, and an alert reaches people."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, fenced
from tests.parts.programs import need
from tests.parts.promtool import promtool
from tests.stack.conftest import Stack, api

RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
TESTS = sorted((ROOT / "prometheus" / "tests").glob("*.yml"))
ALERTS: dict[str, Any] = {
    rule["alert"]: rule
    for file in RULES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
ALERTMANAGER = yaml.safe_load((ROOT / "alertmanager" / "alertmanager.yml").read_text())


def test_prometheus_accepts_the_rules_and_their_unit_tests_pass() -> None:
    promtool("check", "rules", *RULES)
    promtool("test", "rules", *TESTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_firing_and_a_silent_test(name: str) -> None:
    expected = [
        bool(case.get("exp_alerts"))
        for file in TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name and test["name"].startswith(f"{name} ")
    ]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_it_is_and_where_its_runbook_is(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == name.lower()
    text = (ROOT / page).read_text()
    assert f"\n### {name}\n" in text
    assert f"\n### {name}\n" in text.split("\n## Alerts of the stack\n")[1]


def test_every_runbook_is_of_an_alert_that_exists() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    assert set(re.findall(r"^### (Mlflow\w+)$", text, re.MULTILINE)) == ALERTS.keys()


def test_inhibitions_name_alerts_that_exist() -> None:
    for rule in ALERTMANAGER["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, operator, pattern = re.fullmatch(r'(\w+)(=~|!=|=)"(.*)"', matcher).groups()  # type: ignore[union-attr]
            if label == "alertname":
                found = [name for name in ALERTS if re.fullmatch(pattern, name)]
                assert found if operator == "=~" else pattern in ALERTS, matcher
            for part in pattern.split("|") if operator == "=~" else ():
                assert label != "alertname" or any(re.fullmatch(part, name) for name in ALERTS), part


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical", "critical"),
        ("severity=critical action=slack", "critical"),
        ("severity=warning", "slack"),
        ("severity=info", "none"),
        ("severity=info action=webhook", "webhook"),
        ("severity=warning action=email", "email,slack"),
        ("severity=warning action=slack", "slack"),
        ("severity=info action=email,slack,webhook", "email,webhook,slack"),
    ],
)
def test_everybody_is_told_once(labels: str, receivers: str) -> None:
    file = f"--config.file={ROOT / 'alertmanager' / 'alertmanager.yml'}"
    command = [need("amtool"), "config", "routes", "test", file, f"--verify.receivers={receivers}", *labels.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_group_is_not_sent_again_within_five_minutes() -> None:
    assert ALERTMANAGER["route"]["group_interval"] == "5m"
    intervals = {"5m", *(route.get("group_interval", "5m") for route in ALERTMANAGER["route"]["routes"])}
    assert intervals == {"5m"}


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_with_the_shipped_intervals_an_alert_is_sent_within_a_minute() -> None:
    """Scrape, evaluation and grouping, each at its worst; the test below measures the rest with shorter ones."""
    shipped = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["global"]
    parts = (shipped["scrape_interval"], shipped["evaluation_interval"], ALERTMANAGER["route"]["group_wait"])
    assert sum(map(seconds, parts)) <= 45
    assert "for" not in ALERTS["MlflowRunStalled"]


def test_a_stalled_run_reaches_a_webhook_and_slack_within_a_minute(stack: Stack) -> None:
    (first, *_) = wait_for(stack, "/warnings", "MlflowRunStalled")
    assert first["status"] == "firing"
    (run,) = api(stack.prometheus, "query", query='mlflow_run_stalled{job="mlflow-exporter"} == 1')["result"]
    assert first["labels"]["run_id"] == run["metric"]["run_id"]
    assert first["labels"]["experiment_name"] == run["metric"]["experiment_name"]
    slack = [json.loads(request.body) for request in stack.sent("/slack")]
    assert any("is stalled" in attachment["text"] for body in slack for attachment in body["attachments"])


def test_an_alert_of_the_configuration_reaches_the_receiver_that_it_names(stack: Stack) -> None:
    (first, *_) = wait_for(stack, "/webhook", "sample accuracy")
    assert first["labels"]["metric"] == "accuracy"
    assert first["annotations"]["summary"].startswith("churn-classifier: accuracy in the run that finished last is 0.")
    authorizations = {request.headers["authorization"] for request in stack.sent("/webhook")}
    assert authorizations == {"Bearer planted-secret"}


def wait_for(stack: Stack, path: str, alert: str) -> list[Any]:
    """The notifications of an alert, at most a minute after its condition came true."""
    while not (found := stack.alerts(path, alert)):
        (since,) = api(stack.prometheus, "query", query=f'min(ALERTS_FOR_STATE{{alertname="{alert}"}})')["result"]
        assert time.time() < float(since["value"][1]) + 60, f"{alert} was not sent to {path}"
        time.sleep(0.2)
    return found


def test_every_query_of_readme_has_an_answer(stack: Stack) -> None:
    (block,) = fenced("promql", (ROOT / "README.md").read_text())
    queries = [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]
    assert len(queries) >= 5
    answered = [query for query in queries if api(stack.prometheus, "query", query=query)["result"]]
    # What asks whether something is wrong may have nothing to say; here a run is stalled.
    assert set(queries) - set(answered) <= {query for query in queries if query.endswith("< 0")}


def test_no_rule_fails_over_real_data(stack: Stack) -> None:
    rules = [rule for group in api(stack.prometheus, "rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} >= ALERTS.keys() | {"sample accuracy"}
    assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
    assert recorded
    for name in recorded:
        assert api(stack.prometheus, "query", query=name)["result"], f"{name} records nothing"


@pytest.mark.parametrize("file", [ROOT / "prometheus" / "prometheus.yml"], ids=lambda path: path.name)
def test_promtool_accepts_the_configuration(file: Path) -> None:
    promtool("check", "config", "--syntax-only", file)
