"""``alerts`` in config.yaml become rules that fire when they should, and only then."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.config.alerts import AlertConfig
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.core.patterns import to_re2
from mlflow_monitoring_exporter.prometheus.alert_rules import to_yaml
from tests.docs.pages import loaded
from tests.parts.command import run
from tests.parts.promtool import check_rules, promtool

#: What one experiment shows of one metric, by both ways: scraped, and through the Pushgateway.
WAYS = ('job="mlflow-exporter",instance="exporter:9797"', 'job="mlflow_metrics",experiment_id="1"')


#: What the Pushgateway adds: when each group was pushed.
PUSHED = {"series": 'push_time_seconds{job="mlflow_metrics",experiment_id="1"}', "values": "0+60x60"}


def series(
    of: str, values: str, metric: str = "loss", experiment: str = "churn", *, server: str = "", pushed: str = ""
) -> list[dict[str, str]]:
    labels = f'experiment_name="{experiment}",metric="{metric}"' + (f',server="{server}"' if server else "")
    return [
        {"series": f"mlflow_experiment_metric_{of}{{{labels},{way}}}", "values": its}
        for way, its in zip(WAYS, (values, pushed or values), strict=True)
    ]


def of_run(values: str, run_id: str = "a", *, is_open: bool = True, family: str = "loss") -> list[dict[str, str]]:
    """A run's own series; ``family`` is what the metric is called in Prometheus."""
    labels = f'experiment_name="churn",run_id="{run_id}"'
    life = [{"series": f"mlflow_run_stalled{{{labels},{WAYS[0]}}}", "values": "0x60"}] if is_open else []
    own = {"series": f'mlflow_{family}{{{labels},metric="loss",model_stage="",{WAYS[0]}}}', "values": values}
    return [own, *life] if values else life


def runs_of(experiment: str, server: str = "") -> list[dict[str, str]]:
    label = f',server="{server}"' if server else ""
    name = f'mlflow_experiment_runs{{experiment_name="{experiment}",status="RUNNING"{label},{WAYS[0]}}}'
    return [{"series": name, "values": "1x60"}]


def configured(alert: dict[str, Any], tmp_path: Path) -> Config:
    return loaded(yaml.safe_dump({"alerts": {"it": alert}}), tmp_path)


#: What the alert says, the series that there are, and whether it fires after half an hour.
CASES: dict[str, tuple[dict[str, Any], list[dict[str, str]], bool | dict[str, str]]] = {
    "above": ({"above": 0.5}, series("finished", "0.6x60"), True),
    "not above": ({"above": 0.5}, series("finished", "0.5x60"), False),
    "above, as a large number": ({"above": 1e22}, series("finished", "2e22x60"), True),
    "below": ({"below": 0.5}, series("finished", "0.4x60"), True),
    "not below": ({"below": 0.5}, series("finished", "0.5x60"), False),
    "below zero": ({"below": -1}, series("finished", "-2x60"), True),
    "another metric": ({"below": 0.5}, series("finished", "0.4x60", metric="val/loss"), False),
    "the latest run": ({"below": 0.5, "of": "latest"}, series("latest", "0.4x60") + series("finished", "1x60"), True),
    "the mean": ({"above": 0.5, "of": "mean"}, series("mean", "0.6x60"), True),
    "not the mean": ({"above": 0.5, "of": "mean"}, series("mean", "0.4x60") + series("finished", "1x60"), False),
    # A delta is positive where the last run is better: of a loss, lower.
    "a loss that rose by 20%": ({"change": 0.1}, series("finished", "1.2x60") + series("delta", "-0.2x60"), True),
    "a loss that fell by 20%": ({"change": "10%"}, series("finished", "0.8x60") + series("delta", "0.2x60"), True),
    "a loss that rose by 11%": ({"change": 0.12}, series("finished", "1.11x60") + series("delta", "-0.11x60"), False),
    "a loss that fell by 9%": ({"change": 0.1}, series("finished", "0.91x60") + series("delta", "0.09x60"), False),
    "from zero": ({"change": 0.1}, series("finished", "0.1x60") + series("delta", "-0.1x60"), True),
    "no change": ({"change": 0.1}, series("finished", "0x60") + series("delta", "0x60"), False),
    "no run before": ({"change": 0.1}, series("finished", "1x60"), False),
    "four deviations": (
        {"zscore": 3},
        series("finished", "3x60") + series("mean", "1x60") + series("stddev", "0.5x60"),
        True,
    ),
    "four deviations below": (
        {"zscore": 3},
        series("finished", "-3x60") + series("mean", "1x60") + series("stddev", "1x60"),
        True,
    ),
    "two deviations": (
        {"zscore": 3},
        series("finished", "3x60") + series("mean", "1x60") + series("stddev", "1x60"),
        False,
    ),
    "all runs are the same": (
        {"zscore": 3},
        series("finished", "1x60") + series("mean", "1x60") + series("stddev", "0x60"),
        False,
    ),
    "long enough": ({"above": 0.5, "for": "10m"}, series("finished", "0x15 1x60"), True),
    "not long enough": ({"above": 0.5, "for": "20m"}, series("finished", "0x15 1x60"), False),
    "in an experiment": ({"above": 0.5, "experiments": ["chu*", "x"]}, series("finished", "1x60"), True),
    "not in an experiment": ({"above": 0.5, "experiments": ["chur", "?"]}, series("finished", "1x60"), False),
    "an odd name": (
        {"above": 0.5, "experiments": ['a"\\.+[x-z]{{*']},
        series("finished", "1x60", experiment='a\\"\\\\.+y{{ .Value }}'),
        True,
    ),
    "NaN is neither": ({"above": -1e300}, series("finished", "NaN " * 60), False),
    "the worse of two servers": (
        {"below": 0.8},
        series("finished", "0.95x60", server="a") + series("finished", "0.5x60", server="b"),
        {"server": "b"},
    ),
    "an old push beside a scrape": ({"below": 0.8}, series("finished", "0.5x60", pushed="0.95x60"), True),
    "a push beside a better scrape": ({"below": 0.8}, series("finished", "0.95x60", pushed="0.5x60"), False),
    "a push alone": ({"below": 0.8}, series("finished", "0.5x60")[1:], True),
    "worse than a threshold, low being good": ({"threshold": 0.5}, series("finished", "0.6x60"), True),
    "better than a threshold": ({"threshold": 0.5}, series("finished", "0.4x60"), False),
    "any open run": ({"above": 0.5, "of": "open"}, of_run("0.6x60"), {"run_id": "a"}),
    "a run that has ended": ({"above": 0.5, "of": "open"}, of_run("0.6x60", is_open=False), False),
    "one of two open runs": (
        {"above": 0.5, "of": "open"},
        of_run("0.4x60") + of_run("0.6x60", "b"),
        {"run_id": "b"},
    ),
    "an open run, whatever the family is called": (
        {"above": 0.5, "of": "open"},
        of_run("0.6x60", family="run_metric"),
        {"run_id": "a"},
    ),
    "the average of ten minutes": ({"above": 0.5, "window": "10m"}, series("finished", "0x20 0.6x60"), True),
    "a peak within ten minutes": ({"above": 0.5, "window": "10m"}, series("finished", "0x29 2x60"), False),
    "the peak of ten minutes": (
        {"above": 0.5, "window_minutes": 10, "over": "max"},
        series("finished", "0x22 2 0x60"),
        True,
    ),
    "a peak an hour ago": (
        {"above": 0.5, "window_minutes": 5, "over": "max"},
        series("finished", "0x22 2 0x60"),
        False,
    ),
    "an average of half an hour": ({"above": 0.5, "window_hours": 0.5}, series("finished", "0x10 1x60"), True),
    "a loss that rises": ({"rate_above": 0.5, "of": "open"}, of_run("0+1x60"), {"run_id": "a"}),
    "a loss that falls": ({"rate_above": 0.5, "of": "open"}, of_run("60-1x60"), False),
    "a loss that does not fall": ({"rate_above": -0.01, "of": "open", "window": "5m"}, of_run("1x60"), {"run_id": "a"}),
    "an accuracy that stands still": ({"rate_below": 0.01}, series("finished", "1x60"), True),
    "a metric that is missing": ({"missing": "20m"}, runs_of("churn"), True),
    "a metric that is there": ({"missing": "20m"}, runs_of("churn") + series("finished", "1x60"), False),
    "a metric that is missing for ten minutes": (
        {"missing": "20m"},
        runs_of("churn") + series("finished", "1x20 stale"),
        False,
    ),
    "missing on one server": (
        {"missing": "20m"},
        runs_of("churn", "a") + runs_of("churn", "b") + series("finished", "1x60", server="a"),
        {"server": "b"},
    ),
    "missing in an open run": (
        {"missing": "20m", "of": "open"},
        of_run("", "a") + of_run("1x60", "b"),
        {"run_id": "a"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_once_for_both_ways(name: str, tmp_path: Path) -> None:
    alert, input_series, fires = CASES[name]
    file = tmp_path / "rules.yml"
    file.write_text(
        to_yaml(configured({"metric": "loss", "severity": "critical", "action": "email,slack", **alert}, tmp_path))
    )
    labels = {"alertname": "it", "alertstate": "firing", "severity": "critical", "action": "email,slack"}
    labels |= {"experiment_name": "churn", "metric": "loss", **(fires if isinstance(fires, dict) else {})}
    if name == "an odd name":
        labels["experiment_name"] = 'a"\\.+y{{ .Value }}'
    shown = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
    expected = [{"labels": f"ALERTS{{{shown}}}", "value": 1}] if fires else []
    check_rules(
        file,
        tmp_path,
        [
            {
                "interval": "1m",
                "input_series": [*input_series, PUSHED],
                "promql_expr_test": [
                    {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "30m", "exp_samples": expected}
                ],
            }
        ],
    )


_SERVER = {"series": 'mlflow_exporter_server_info{server="",public_url="https://mlflow"}', "values": "1x60"}
_LINKS = {"series": 'mlflow_exporter_links_info{grafana="https://grafana",runbooks="https://docs"}', "values": "1x60"}
_INFO = {
    "series": 'mlflow_run_info{experiment_name="churn",run_id="a",run_uuid="a1",experiment_id="1",run_name="xgb"}',
    "values": "1x60",
}
_DASHBOARD = "https://grafana/d/mlflow-training?var-server=&var-experiment=churn"
#: What an alert says on a phone.
MESSAGES: dict[str, tuple[dict[str, Any], list[dict[str, str]], str]] = {
    "above": (
        {"above": 0.5},
        series("finished", "0.625x60"),
        "churn: loss in the run that finished last is 0.625, above 0.5",
    ),
    "window": (
        {"below": 0.5, "of": "mean", "window": "10m"},
        series("mean", "0.25x60"),
        "churn: loss on average over all runs is on average over 10m 0.25, below 0.5",
    ),
    "change": (
        {"change": "20%"},
        series("finished", "1.4x60") + series("delta", "-0.4x60"),
        "churn: loss in the run that finished last is 1.4, 40% away from the run before, more than 20% of it",
    ),
    "zscore": (
        {"zscore": 3},
        series("finished", "3x60") + series("mean", "1x60") + series("stddev", "0.5x60"),
        "churn: loss in the run that finished last is 3, 4 standard deviations from the mean of all runs, more than 3",
    ),
    "open": ({"above": 0.5, "of": "open"}, of_run("0.625x60"), "churn: run xgb (a): loss is 0.625, above 0.5"),
    "rate": (
        {"rate_above": 0.5, "of": "open"},
        of_run("0+1x60"),
        "churn: run xgb (a): loss changes by 1 a minute over 10m, above 0.5",
    ),
    "missing": ({"missing": "20m"}, runs_of("churn"), "churn: loss in the run that finished last is missing for 20m"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_an_alert_says_what_it_saw_and_where_to_look(name: str, tmp_path: Path) -> None:
    alert, input_series, summary = MESSAGES[name]
    file = tmp_path / "rules.yml"
    file.write_text(to_yaml(configured({"metric": "loss", **alert}, tmp_path)))
    is_open = alert.get("of") == "open"
    annotations = {
        "summary": summary,
        "description": "The alert it in config.yaml is about loss in experiments like *.",
        "dashboard": _DASHBOARD + ("&var-run=a" if is_open else ""),
        "runbook": "https://docs#alerts-of-your-own",
        **({"mlflow": "https://mlflow/#/experiments/1/runs/a1"} if is_open else {}),
    }
    labels = {"severity": "warning", "experiment_name": "churn", "metric": "loss"} | (
        {"run_id": "a"} if is_open else {}
    )
    check_rules(
        file,
        tmp_path,
        [
            {
                "interval": "1m",
                "input_series": [*input_series, PUSHED, _SERVER, _LINKS, _INFO],
                "alert_rule_test": [
                    {
                        "eval_time": "30m",
                        "alertname": "it",
                        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
                    }
                ],
            }
        ],
    )


patterns = st.text(
    st.sampled_from(["*", "?", "[", "]", "!", "-", "^", "a", "b", "z", ".", "\\", "|", "é", " "]), max_size=8
)


@given(st.lists(patterns, min_size=1, max_size=3), patterns)
def test_patterns_match_what_they_match_everywhere_else(wanted: list[str], named: str) -> None:
    expected = any(fnmatchcase(named, pattern) for pattern in wanted)
    assert bool(re.fullmatch(to_re2(wanted), named, re.DOTALL)) == expected


def test_prometheus_accepts_any_pattern_and_any_legal_alert(tmp_path: Path) -> None:
    examples: list[tuple[list[str], str]] = []

    @given(
        st.lists(patterns.filter(bool), min_size=1, max_size=3), st.text(st.characters(categories=["L"]), min_size=1)
    )
    def collect(wanted: list[str], key: str) -> None:
        examples.append((wanted, key))

    collect()
    alerts = {
        f"alert {number}": {"metric": key, "experiments": wanted, "zscore": 3.5, "for": "1500ms"}
        for number, (wanted, key) in enumerate(examples)
    }
    file = tmp_path / "rules.yml"
    file.write_text(to_yaml(loaded(yaml.safe_dump({"alerts": alerts}), tmp_path)))
    assert f"{len(alerts)} rules found" in promtool("check", "rules", file)


def test_the_command_prints_the_rules_or_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("alerts: {low: {metric: val/accuracy, below: 0.8, for: 10m}}\n")
    printed = run("prometheus", "rules", "generate", cwd=tmp_path)
    assert printed.code == 0
    (rule,) = yaml.safe_load(printed.out)["groups"][0]["rules"]
    assert (rule["alert"], rule["for"], rule["labels"]) == ("low", "10m", {"severity": "warning"})
    (tmp_path / "rules.yml").write_text("old")
    written = run("prometheus", "rules", "generate", "--to", "rules.yml", cwd=tmp_path)
    assert written.out == "rules.yml: 1 alert\n"
    assert (tmp_path / "rules.yml").read_text() == printed.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "rules.yml"]


def test_rules_need_no_secret(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "mlflow: {tracking_uri: http://mlflow:5000, token_file: /not/here}\n"
        "exporters: {pramathus: {endpoint: http://sink/in, api_key_file: /not/here/either}}\n"
        "alerts: {low: {metric: val/accuracy, below: 0.8}}\n"
    )
    assert run("config", "validate", cwd=tmp_path).code == 78
    assert "alert: low" in run("prometheus", "rules", "generate", cwd=tmp_path).out


def test_without_alerts_the_file_is_valid_and_empty(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(run("prometheus", "rules", "generate", cwd=tmp_path).out)
    promtool("check", "rules", file)
    assert yaml.safe_load(file.read_text()) == {"groups": []}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{metric: loss, below: .nan}", "alerts.it.below: input should be a finite number"),
        ("{metric: loss, below: .inf}", "alerts.it.below: input should be a finite number"),
        ("{metric: loss, above: high}", "alerts.it.above: input should be a valid number"),
        ("{metric: loss, change: 0}", "alerts.it.change: input should be greater than 0"),
        ("{metric: loss, change: ten%}", "alerts.it.change: 'ten%' is not a share: write 0.1 or 10%"),
        ("{metric: loss, zscore: -1}", "alerts.it.zscore: input should be greater than 0"),
        (
            "{metric: loss}",
            "alerts.it: give one of above, below, threshold, rate_above, rate_below, change, zscore, missing; none",
        ),
        (
            "{metric: loss, above: 1, below: 2}",
            "alerts.it: give one of above, below, threshold, rate_above, rate_below, change, zscore, missing; above",
        ),
        ("{metric: loss, zscore: 3, of: best}", "alerts.it: zscore looks at the run that finished last"),
        ("{metric: val/*, above: 1}", "alerts.it.metric: 'val/*' is a pattern; name one metric"),
        ("{metric: 'a,b', above: 1}", "alerts.it.metric: is not the key of a metric in MLflow"),
        ("{metric: secret, above: 1}", "alerts.it.metric: secret is not exported: export.metrics leaves it out"),
        ("{above: 1}", "alerts.it.metric: is required"),
        ("{metric: loss, above: 1, fro: 5m}", "alerts.it.fro: unknown key; did you mean for?"),
        ("{metric: loss, above: 1, severity: page}", "alerts.it.severity: input should be 'info', 'warning' or"),
        (
            "{metric: loss, above: 1, action: [pager]}",
            "alerts.it.action.0: input should be 'email', 'slack', 'webhook' or",
        ),
        ("{metric: loss, above: 1, experiments: []}", "alerts.it.experiments: "),
        ("{metric: loss, zscore: 3, window: 5m}", "alerts.it: zscore looks at no window; leave out `window`"),
        ("{metric: loss, above: 3, window: 5m, window_hours: 1}", "alerts.it: give one of window, window_minutes"),
        ("{metric: loss, above: 3, window_minutes: -1}", "alerts.it: window_minutes must be a number above 0"),
        ("{metric: loss, missing: 5m, for: 5m}", "alerts.it: missing says for how long already; leave out `for`"),
        ("{metric: epoch, threshold: 3}", "alerts.it.threshold: which values of this metric are better is not known"),
        ("3", "alerts.it: must be a mapping (key: value)"),
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(block: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(f"export: {{metrics: {{exclude: [secret]}}}}\nalerts:\n  it: {block}\n", tmp_path)
    assert str(refused.value).startswith(f"{tmp_path}/config.yaml:3: {said}")


def test_with_a_wrong_threshold_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("alerts: {it: {metric: loss, above: high}}\n")
    for command in (("config", "validate"), ("prometheus", "rules", "generate", "--to", "rules.yml")):
        refused = run(*command, cwd=tmp_path)
        assert (refused.code, refused.out) == (78, "")
        assert refused.err.startswith("error: config.yaml:1: alerts.it.above: "), refused.err
    assert not (tmp_path / "rules.yml").exists()


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    alert = {"metric": "val/loss", "above": 2, "for": "5m", "action": ["slack"]}
    shown = run("config", "show", "--config", "in.yaml", cwd=written(tmp_path, alert)).out
    again = loaded(shown, tmp_path)
    assert again.alerts == {"it": AlertConfig.model_validate(alert)}


def written(directory: Path, alert: dict[str, Any]) -> Path:
    (directory / "in.yaml").write_text(yaml.safe_dump({"alerts": {"it": alert}}))
    return directory


def test_an_alert_of_ones_own_cannot_take_the_name_of_a_shipped_one(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="is the name of an alert in prometheus/rules; call it something else than MlflowRunFailed"
    ):
        loaded("alerts: {MlflowRunFailed: {metric: loss, above: 1}}\n", tmp_path)
