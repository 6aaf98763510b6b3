"""``alerts`` in config.yaml become rules that fire when they should, and only then."""

from __future__ import annotations

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


def series(of: str, values: str, metric: str = "loss", experiment: str = "churn") -> list[dict[str, str]]:
    labels = f'experiment_name="{experiment}",metric="{metric}"'
    return [{"series": f"mlflow_experiment_metric_{of}{{{labels},{way}}}", "values": values} for way in WAYS]


def configured(alert: dict[str, Any], tmp_path: Path) -> Config:
    return loaded(yaml.safe_dump({"alerts": {"it": alert}}), tmp_path)


#: What the alert says, the series that there are, and whether it fires after half an hour.
CASES: dict[str, tuple[dict[str, Any], list[dict[str, str]], bool]] = {
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
}


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_once_for_both_ways(name: str, tmp_path: Path) -> None:
    alert, input_series, fires = CASES[name]
    file = tmp_path / "rules.yml"
    text = to_yaml(configured({"metric": "loss", "severity": "critical", "action": "email,slack", **alert}, tmp_path))
    file.write_text(text)
    labels = {"metric": "loss", "severity": "critical", "action": "email,slack"}
    unescaped = {'a\\"\\\\.+y{{ .Value }}': 'a"\\.+y{{ .Value }}'}
    for each in input_series:
        found = re.search(r'experiment_name="(.*?[^\\])",metric', each["series"])
        assert found
        labels["experiment_name"] = unescaped.get(found[1], found[1])
    # Words differ with the case and are looked at elsewhere; expected are labels, and how many there are.
    expected = [{"exp_labels": labels, "exp_annotations": filled_in(text, labels, input_series)}] if fires else []
    check_rules(
        file,
        tmp_path,
        [
            {
                "interval": "1m",
                "input_series": input_series,
                "alert_rule_test": [{"eval_time": "30m", "alertname": "it", "exp_alerts": expected}],
            }
        ],
    )


def filled_in(text: str, labels: dict[str, str], input_series: list[dict[str, str]]) -> dict[str, str]:
    """As Prometheus fills them in; its value is looked up in the summary of the case's own arithmetic."""
    (rule,) = yaml.safe_load(text)["groups"][0]["rules"]
    value = {key: float(each["values"].split()[-1].partition("x")[0]) for each in input_series for key in [name(each)]}
    if "delta" in value:
        shown = abs(value["delta"])
    elif "stddev" in value:
        shown = abs(value["finished"] - value["mean"])
    else:
        shown = next(value[of] for of in ("latest", "mean", "finished") if of in value)
    meanings = {
        "{{ $labels.experiment_name }}": labels["experiment_name"],
        "{{ $value }}": f"{shown:g}" if shown < 1e20 else "2e+22",
        '{{ "{{" }}': "{{",
    }
    found = {}
    for key, words in rule["annotations"].items():
        found[key] = words
        for template, meaning in meanings.items():
            found[key] = found[key].replace(template, meaning)
    return found


def name(each: dict[str, str]) -> str:
    return each["series"].partition("{")[0].removeprefix("mlflow_experiment_metric_")


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
    assert (rule["alert"], rule["for"], rule["labels"]) == ("low", "600s", {"severity": "warning"})
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
        ("{metric: loss}", "alerts.it: give one of above, below, change, zscore; none is there"),
        ("{metric: loss, above: 1, below: 2}", "alerts.it: give one of above, below, change, zscore; above and below"),
        ("{metric: loss, zscore: 3, of: best}", "alerts.it: zscore looks at the run that finished last"),
        ("{metric: val/*, above: 1}", "alerts.it.metric: 'val/*' is a pattern; name one metric"),
        ("{metric: 'a,b', above: 1}", "alerts.it.metric: is not the key of a metric in MLflow"),
        ("{metric: secret, above: 1}", "alerts.it.metric: secret is not exported: export.metrics leaves it out"),
        ("{above: 1}", "alerts.it.metric: is required"),
        ("{metric: loss, above: 1, fro: 5m}", "alerts.it.fro: unknown key; did you mean for?"),
        ("{metric: loss, above: 1, severity: page}", "alerts.it.severity: input should be 'info', 'warning' or"),
        ("{metric: loss, above: 1, action: [pager]}", "alerts.it.action.0: input should be 'email', 'slack' or"),
        ("{metric: loss, above: 1, experiments: []}", "alerts.it.experiments: "),
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
