"""mlflow-alerts: what fires, and whether notifications are sent."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables

_RATE = "[$__rate_interval]"
#: Ours all have a severity.
_OURS = 'severity=~"$severity"'
#: Alertmanager counts for every kind of receiver that there is; these are in its file.
_TO_US = '{integration=~"email|slack|webhook"}'


def dashboard() -> models.Dashboard:
    return parts.board(
        "MLflow: alerts",
        "mlflow-alerts",
        "Alerts of prometheus/rules and of `alerts` in config.yaml, and their way to people.",
        [variables.choice("severity", "Severity", "Which severities.", "label_values(ALERTS{severity!=''}, severity)")],
        {"Alerts": _alerts(), "Notification": _notification()},
    )


def _alerts() -> list[parts.PanelBuilder]:
    return [
        *(
            parts.number(
                severity.capitalize(),
                f"Alerts of severity {severity} that fire.",
                f"count(ALERTS{{alertstate='firing',severity='{severity}'}}) or vector(0)",
                bad_from=1 if severity != "info" else None,
                span=6,
            )
            for severity in ("critical", "warning", "info")
        ),
        parts.number(
            "Pending",
            "Alerts whose condition holds, but not for long enough yet.",
            "count(ALERTS{alertstate='pending',severity!=''}) or vector(0)",
            span=6,
        ),
        parts.rows(
            "What fires",
            "docs/alerts.md says of every alert what to do.",
            {
                "Alert": "max by (alertname, severity, experiment_name, metric, run_name, model, exporter, component)"
                f" (ALERTS{{alertstate='firing',{_OURS}}})"
            },
            {
                "severity": "Severity",
                "alertname": "Alert",
                "experiment_name": "Experiment",
                "metric": "Metric",
                "run_name": "Run",
                "model": "Model",
                "exporter": "Exporter",
                "component": "Component",
            },
            links={"Experiment": "/d/mlflow-training?var-experiment=${__value.raw}&${datasource:queryparam}"},
            height=10,
        ),
        parts.curves(
            "Firing over time",
            "Alerts that fire, by name.",
            {"{{alertname}}": f"count by (alertname) (ALERTS{{alertstate='firing',{_OURS}}})"},
            span=24,
            stacked=True,
        ),
    ]


def _notification() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Notifications",
            "Sent per minute by Alertmanager, by the kind of receiver.",
            {"{{integration}}": f"60 * sum by (integration) (rate(alertmanager_notifications_total{_TO_US}{_RATE}))"},
            span=8,
        ),
        parts.curves(
            "Failed notifications",
            "Per minute. Alertmanager's log says why: a secret file that is not there, or a server that refuses.",
            {
                "{{integration}}": f"60 * sum by (integration) (rate(alertmanager_notifications_failed_total{_TO_US}{_RATE}))"
            },
            span=8,
        ),
        parts.curves(
            "Rules that fail",
            "Evaluations of rules that failed, per minute. Any is a mistake in a rule.",
            {"{{rule_group}}": f"60 * sum by (rule_group) (rate(prometheus_rule_evaluation_failures_total{_RATE}))"},
            span=8,
        ),
    ]
