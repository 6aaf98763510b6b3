"""From ``alerts`` in config.yaml to rules for Prometheus.

Each alert becomes one rule. Its expression takes the largest over all labels but ``experiment_name``
and ``metric``, so that a value which comes by scrape and by Pushgateway alerts once.
"""

from __future__ import annotations

from typing import Any

import yaml

from mlflow_monitoring_exporter.config.alerts import AlertConfig
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.directions.direction import Direction, Directions
from mlflow_monitoring_exporter.core.patterns import to_re2
from mlflow_monitoring_exporter.prometheus.escaping import quoted
from mlflow_monitoring_exporter.prometheus.families import AGGREGATES

GROUP = "mlflow-config"

_HEAD = "# From `alerts` in config.yaml, by mlflow-monitoring-exporter prometheus rules generate; not to be edited.\n"
_WHOSE = {
    "finished": "in the run that finished last",
    "latest": "in the run that started last",
    "best": "in the best run",
    "mean": "on average over all runs",
    "min": "at the smallest in any run",
    "max": "at the largest in any run",
}


def to_yaml(config: Config) -> str:
    """A rules file as Prometheus 2.x and 3.x load it; without alerts it has no groups."""
    tree = {"groups": [{"name": GROUP, "rules": rules(config)}] if config.alerts else []}
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)
    return _HEAD + text


def rules(config: Config) -> list[dict[str, Any]]:
    """One rule for each alert, in the order of the configuration."""
    directions = Directions(config.export.metrics.direction)
    return [_rule(name, alert, directions) for name, alert in config.alerts.items()]


def _rule(name: str, alert: AlertConfig, directions: Directions) -> dict[str, Any]:
    expression, summary = _condition(alert, directions)
    return {
        "alert": name,
        "expr": expression,
        **({"for": _duration(alert.hold)} if alert.hold else {}),
        "labels": {"severity": alert.severity, **({"action": ",".join(alert.action)} if alert.action else {})},
        "annotations": {
            "summary": f"{{{{ $labels.experiment_name }}}}: {summary}",
            "description": f"The alert {name} in config.yaml is about {alert.metric} in experiments like "
            f"{', '.join(_text(pattern) for pattern in alert.experiments)}.",
            "runbook": "docs/alerts.md#alerts-of-your-own",
        },
    }


def _condition(alert: AlertConfig, directions: Directions) -> tuple[str, str]:
    """The expression, and what it says in words."""
    last, whose = _series("finished", alert), f"{alert.metric} {_WHOSE[alert.of]}"
    if alert.above is not None:
        return f"{_series(alert.of, alert)} > {alert.above!r}", f"{whose} is {{{{ $value }}}}, above {alert.above:g}"
    if alert.below is not None:
        return f"{_series(alert.of, alert)} < {alert.below!r}", f"{whose} is {{{{ $value }}}}, below {alert.below:g}"
    if alert.change is not None:
        # A difference of ours is positive where the last run is better.
        sign = "+" if directions.of(alert.metric) is Direction.MIN else "-"
        difference = _series("delta", alert)
        return (
            f"abs({difference}) > {alert.change!r} * abs({last} {sign} {difference})",
            f"{whose} differs by {{{{ $value }}}} from the one before, which is more than {alert.change:.3g} of it",
        )
    return (
        f"abs({last} - {_series('mean', alert)}) > {alert.zscore!r} * {_series('stddev', alert)}",
        f"{whose} is {{{{ $value }}}} away from the mean, which is more than {alert.zscore:g} standard deviations",
    )


def _series(of: str, alert: AlertConfig) -> str:
    matchers = [f'metric="{alert.metric}"']
    if "*" not in alert.experiments:
        matchers.append(f"experiment_name=~{quoted(to_re2(alert.experiments))}")
    return f"max by (experiment_name, metric) ({AGGREGATES[of].name}{{{','.join(matchers)}}})"


def _duration(seconds: float) -> str:
    return f"{round(seconds)}s" if seconds == round(seconds) else f"{round(seconds * 1000)}ms"


def _text(pattern: str) -> str:
    """As it stands, though Prometheus takes annotations for templates."""
    return pattern.replace("{{", '{{ "{{" }}')
