"""From ``alerts`` in config.yaml to rules for Prometheus.

Each alert becomes one rule, and fires once for each tracking server, experiment and, with ``of: open``, run.
"""

from __future__ import annotations

from typing import Any

from mlflow_monitoring_exporter.config.alerts import AlertConfig
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.core.directions.direction import Directions
from mlflow_monitoring_exporter.prometheus.conditions import condition_of, duration
from mlflow_monitoring_exporter.prometheus.yaml_text import to_yaml_text

GROUP = "mlflow-config"
#: Seconds between two evaluations.
_INTERVAL = "5s"

_HEAD = "# From `alerts` in config.yaml, by mlflow-monitoring-exporter prometheus rules generate; not to be edited.\n"
#: Where people open MLflow; what follows is part of the link, up to an `end`.
_MLFLOW = (
    "{{ with printf `mlflow_exporter_server_info{server=%q,public_url!=''}` $labels.server | query }}"
    '{{ . | first | label "public_url" }}'
)
_RUN = (
    "{{ with printf `mlflow_run_info{server=%q,experiment_name=%q,run_id=%q}` $labels.server $labels.experiment_name "
    "$labels.run_id | query }}{{ with first . }}"
)
_TRAINING = "/d/mlflow-training?var-server={{ $labels.server }}&var-experiment={{ urlquery $labels.experiment_name }}"
_OF_RUN = "&var-run={{ $labels.run_id }}"
_RUNBOOK = (
    '{{ with query "mlflow_exporter_links_info" }}{{ . | first | label "runbooks" }}{{ else }}docs/alerts.md{{ end }}'
    "#alerts-of-your-own"
)


def to_yaml(config: Config) -> str:
    """A rules file as Prometheus 2.x and 3.x load it; without alerts it has no groups."""
    group = {"name": GROUP, "interval": _INTERVAL, "rules": rules(config)}
    return _HEAD + to_yaml_text({"groups": [group] if config.alerts else []})


def rules(config: Config) -> list[dict[str, Any]]:
    """One rule for each alert, in the order of the configuration."""
    directions = Directions(config.export.metrics.direction)
    return [_rule(name, alert, directions) for name, alert in config.alerts.items()]


def _rule(name: str, alert: AlertConfig, directions: Directions) -> dict[str, Any]:
    condition = condition_of(alert, directions)
    of_run = alert.of == "open"
    run = (
        f": run {_RUN}{{{{ .Labels.run_name }}}}{{{{ end }}}}{{{{ end }}}} ({{{{ $labels.run_id }}}})" if of_run else ""
    )
    link = (
        f"{_RUN}{{{{ $run := .Labels }}}}{_MLFLOW}"
        "/#/experiments/{{ $run.experiment_id }}/runs/{{ $run.run_uuid }}{{ end }}{{ end }}{{ end }}"
    )
    return {
        "alert": name,
        "expr": condition.expression,
        **({"for": duration(condition.hold)} if condition.hold else {}),
        "labels": {"severity": alert.severity, **({"action": ",".join(alert.action)} if alert.action else {})},
        "annotations": {
            "summary": f"{{{{ $labels.experiment_name }}}}{run}: {condition.summary}",
            "description": f"The alert {name} in config.yaml is about {alert.metric} in experiments like "
            f"{', '.join(_text(pattern) for pattern in alert.experiments)}.",
            **({"mlflow": link} if of_run else {}),
            "dashboard": "{{ with query \"mlflow_exporter_links_info{grafana!=''}\" }}"
            f'{{{{ . | first | label "grafana" }}}}{_TRAINING}{_OF_RUN if of_run else ""}{{{{ end }}}}',
            "runbook": _RUNBOOK,
        },
    }


def _text(pattern: str) -> str:
    """As it stands, though Prometheus takes annotations for templates."""
    return pattern.replace("{{", '{{ "{{" }}')
