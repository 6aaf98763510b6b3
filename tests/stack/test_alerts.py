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

from mlflow_monitoring_exporter.config.alerts import SHIPPED_ALERTS
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.schema import ExportConfig
from mlflow_monitoring_exporter.prometheus.alertmanager import NULL, to_yaml
from tests.docs.pages import PLUGINS, ROOT, fenced
from tests.parts.command import run
from tests.parts.programs import need
from tests.parts.promtool import promtool
from tests.stack.conftest import RULES, Stack, api

TESTS = sorted((ROOT / "prometheus" / "tests").glob("*.yml"))
ALERTS: dict[str, Any] = {
    rule["alert"]: rule
    for file in RULES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
ALERTMANAGER = yaml.safe_load((ROOT / "alertmanager" / "alertmanager.yml").read_text())
#: Everybody.
EVERYBODY = """
notifications:
  email: {smtp_host: smtp.example.com, from: a@example.com, recipients: "b@example.com, c@example.com",
          username: a, password_file: secrets/smtp_password}
  slack: {webhook_url_file: secrets/slack_url, channel: "#mlflow"}
  webhook: {url: "https://example.com/alerts", token_file: secrets/webhook_token}
  pagerduty: {routing_key_file: secrets/pagerduty_key}
"""


def test_prometheus_accepts_the_rules_and_their_unit_tests_pass() -> None:
    promtool("check", "rules", *RULES)
    promtool("test", "rules", *TESTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_firing_and_a_silent_test(name: str) -> None:
    expected = [
        bool(case.get("exp_alerts"))
        for file in TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["alertname"] == name and test["name"].startswith(f"{name} ")
    ]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_it_is_and_where_its_runbook_is(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].rpartition("#")
    assert anchor == name.lower()
    assert page.endswith("{{ else }}docs/alerts.md{{ end }}")
    text = (ROOT / "docs" / "alerts.md").read_text()
    assert f"\n### {name}\n" in text
    assert f"\n### {name}\n" in text.split("\n## Alerts of the stack\n")[1]


def test_the_names_of_shipped_alerts_are_taken() -> None:
    assert ALERTS.keys() == SHIPPED_ALERTS


def test_every_rule_keeps_the_tracking_server() -> None:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"]):
                    kept = {label.strip() for label in labels.split(",")}
                    assert "server" in kept or kept <= {"job"}, rule["expr"]


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


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alertmanager's configuration with every kind of receiver."""
    here = tmp_path_factory.mktemp("everybody")
    (here / "config.yaml").write_text(EVERYBODY)
    assert run("prometheus", "rules", "generate", "--alertmanager", "alertmanager.yml", cwd=here).code == 0
    return here / "alertmanager.yml"


def amtool(*arguments: str | Path) -> str:
    done = subprocess.run([need("amtool"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical", "email slack webhook pagerduty"),
        ("severity=critical action=slack", "email slack webhook pagerduty"),
        ("severity=warning", "slack"),
        ("severity=info", ""),
        ("severity=info action=webhook", "webhook"),
        ("severity=warning action=email", "email slack"),
        ("severity=warning action=slack", "slack"),
        ("severity=info action=email,slack,webhook,pagerduty", "email slack webhook pagerduty"),
    ],
)
def test_everybody_is_told_once(labels: str, receivers: str, everybody: Path) -> None:
    told = amtool("config", "routes", "test", f"--config.file={everybody}", *labels.split())
    assert [name for name in told.strip().split(",") if name != NULL] == receivers.split()


def test_alertmanager_accepts_what_is_written(everybody: Path) -> None:
    amtool("check-config", everybody)
    amtool("check-config", ROOT / "alertmanager" / "alertmanager.yml")


def test_the_shipped_file_is_what_the_shipped_configuration_says_and_has_no_receiver() -> None:
    config = load_config(ROOT / "config.yaml", exporter_types=PLUGINS.config_types, environ={})
    assert (ROOT / "alertmanager" / "alertmanager.yml").read_text() == to_yaml(config)
    assert [receiver.keys() for receiver in ALERTMANAGER["receivers"]] == [{"name"}], "so nothing fails at first"


def test_an_action_without_a_receiver_is_told_when_the_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "alerts: {low: {metric: loss, above: 1, action: [slack, email]}}\n" + EVERYBODY
    )
    write = ("prometheus", "rules", "generate", "--alertmanager", "alertmanager.yml")
    assert not run(*write, cwd=tmp_path).err
    (tmp_path / "config.yaml").write_text("alerts: {low: {metric: loss, above: 1, action: [slack, email]}}\n")
    written = run(*write, cwd=tmp_path)
    assert written.err == "warning: alerts.low.action: slack, email is not in notifications, and gets nothing\n"
    assert written.out == "alertmanager.yml: receivers: none; no notification is sent\n"


def test_one_group_is_not_sent_again_within_five_minutes() -> None:
    assert ALERTMANAGER["route"]["group_interval"] == "5m"


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_with_the_shipped_intervals_an_alert_is_sent_within_a_minute() -> None:
    """Scrape, evaluation and grouping, each at its worst; the test below measures the rest with shorter ones."""
    shipped = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["global"]
    often = {group["interval"] for file in RULES for group in yaml.safe_load(file.read_text())["groups"]}
    assert often == {"5s", "1m"}
    polled = ExportConfig().between_polls
    parts = (shipped["scrape_interval"], "5s", ALERTMANAGER["route"]["group_wait"])
    assert polled + sum(map(seconds, parts)) <= 45
    assert "for" not in ALERTS["MlflowRunStalled"]


def test_a_stalled_run_reaches_a_webhook_and_slack_within_a_minute(stack: Stack) -> None:
    (first, *_) = wait_for(stack, "/webhook", "MlflowRunStalled")
    assert first["status"] == "firing"
    (run,) = api(stack.prometheus, "query", query='mlflow_run_stalled{job="mlflow-exporter"} == 1')["result"]
    assert first["labels"]["run_id"] == run["metric"]["run_id"]
    assert first["labels"]["experiment_name"] == run["metric"]["experiment_name"]
    (now,) = [
        alert["annotations"]
        for alert in api(stack.prometheus, "alerts")["alerts"]
        if alert["labels"]["alertname"] == "MlflowRunStalled"
    ]
    assert now["mlflow"].startswith("https://mlflow.example.com/#/experiments/"), now
    assert now["runbook"] == "https://docs.example.com/alerts.md#mlflowrunstalled"
    told = slack(stack, "is stalled")
    # Values that were pushed may be there before the exporter's own page, which knows where links lead.
    assert first["annotations"]["mlflow"] in {"", now["mlflow"]}
    assert first["annotations"]["mlflow"] in told
    assert re.search(r"^warning, since 20\d\d-", told, re.MULTILINE)


def slack(stack: Stack, words: str) -> str:
    """The text that Slack was told, once it holds these words; a receiver of its own, so it may be a little later."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for request in stack.sent("/slack"):
            for attachment in json.loads(request.body)["attachments"]:
                if words in attachment["text"]:
                    return str(attachment["text"])
        time.sleep(0.2)
    raise AssertionError(f"Slack was not told: {words}")


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
    until = time.monotonic() + 90
    while True:
        rules = [rule for group in api(stack.prometheus, "rules")["groups"] for rule in group["rules"]]
        if "unknown" not in {rule["health"] for rule in rules} or time.monotonic() > until:
            break  # every one was evaluated
        time.sleep(0.5)
    assert {rule["name"] for rule in rules} >= ALERTS.keys() | {"sample accuracy"}
    assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]
    filters = ("behind:ratio", "worse:ratio")  # of what is bad, so there may be none
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording" and not rule["name"].endswith(filters)]
    assert recorded
    for name in recorded:
        stack.prometheus.wait_for(name, bool, within=90)  # some are recorded once a minute


@pytest.mark.parametrize("file", [ROOT / "prometheus" / "prometheus.yml"], ids=lambda path: path.name)
def test_promtool_accepts_the_configuration(file: Path) -> None:
    promtool("check", "config", "--syntax-only", file)
