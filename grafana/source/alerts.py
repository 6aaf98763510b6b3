"""mlflow-alerts: what fires, and whether notifications are sent."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables

_RATE = "[$__rate_interval]"
#: Ours all have a severity.
_OURS = 'severity=~"$severity",server=~"$server"'
#: What each alert of the stack says, in a few words.
_SAYS = {
    "MlflowExporterDown": "The exporter cannot be scraped",
    "MlflowExporterNotPolling": "MLflow has not been read for ten minutes",
    "MlflowExporterNotDelivering": "An exporter fails again and again",
    "MlflowExporterUnauthorized": "A platform refuses our credentials",
    "MlflowExporterQueueOld": "Samples have waited for a quarter of an hour",
    "MlflowExporterDeadLetters": "A platform refused samples for good",
    "MlflowExporterSamplesDropped": "Samples were lost, for a queue was full",
    "MlflowExporterSeriesBudgetHit": "There are more series than gauges.max_series",
    "MlflowExporterConfigRefused": "A new configuration was refused",
    "MlflowExporterStateReset": "A damaged state file was set aside",
    "MlflowRunFailed": "A run failed",
    "MlflowRunStalled": "A run says RUNNING, and is silent",
    "MlflowRunOrphaned": "A run is RUNNING, and no process logs to it",
    "MlflowRunNonFinite": "A run logs NaN or infinity",
    "MlflowMetricBehindBest": "Metrics are far behind the best run",
    "MlflowMetricRegressed": "Metrics are worse than in the run before",
    "MlflowDeploymentErrors": "More than 5 % of the predictions end as errors",
    "MlflowDeploymentSlow": "Predictions take longer than a second",
    "MlflowDeploymentDrift": "Features are no longer what they were",
    "MlflowNoNewRuns": "No run has started for a week",
    "MlflowChallengerBetter": "The challenger beats the champion",
}
_FIRING = f"ALERTS{{alertstate='firing',{_OURS}}}"
#: Its value is when the condition came true; of those that fire, not of those that wait.
_SINCE = f"ALERTS_FOR_STATE{{{_OURS}}} and ignoring (alertstate) {_FIRING}"
_LABELS = "alertname, severity, server, experiment_name, metric, run_name, run_id, model, exporter, component"


def _what(alerts: str) -> str:
    """Alerts by the labels that people need, and once more their name, for words that stand for it."""
    return f'max by ({_LABELS}, what) (label_replace({alerts}, "what", "$1", "alertname", "(.*)"))'


def _runbooks() -> variables.Variable:
    made = variables.choice(
        "runbooks",
        "Runbooks",
        "Where the page with the runbooks is.",
        "label_values(mlflow_exporter_links_info, runbooks)",
        several=False,
    )
    return made.hide(models.VariableHide.HIDE_VARIABLE)


#: Alertmanager counts for every kind of receiver that there is; these are in its file.
_TO_US = '{integration=~"email|slack|webhook"}'


def dashboard() -> models.Dashboard:
    return parts.board(
        "Alerts",
        "mlflow-alerts",
        "Alerts of prometheus/rules and of `alerts` in config.yaml, and their way to people.",
        [
            variables.choice(
                "severity", "Severity", "Which severities.", "label_values(ALERTS{severity!=''}, severity)"
            ),
            variables.server(),
            _runbooks(),
        ],
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
            "The worst first. The name of an alert leads to what to do, a run to its curves.",
            {
                "Alert": f"topk(100, {_what(_FIRING)})",
                "Since": f"topk(100, 1000 * {_what(_SINCE)})",
                "Rank": "topk(100, 4 * "
                + _what("ALERTS{alertstate='firing',severity='critical'," + _OURS + "}")
                + " or 2 * "
                + _what("ALERTS{alertstate='firing',severity='warning'," + _OURS + "}")
                + " or "
                + _what("ALERTS{alertstate='firing'," + _OURS + "}")
                + ")",
            },
            {
                "severity": "Severity",
                "alertname": "Alert",
                "what": "What it says",
                "server": "Server",
                "experiment_name": "Experiment",
                "metric": "Metric",
                "run_name": "Run",
                "run_id": "Id",
                "model": "Model",
                "exporter": "Exporter",
                "component": "Component",
                "Value #Since": "Since",
                "Value #Rank": "Rank",
            },
            units={"Since": "dateTimeFromNow"},
            links={
                "Experiment": "/d/mlflow-training?var-experiment=${__value.raw}&${datasource:queryparam}",
                "Id": "/d/mlflow-training?var-run=${__value.raw}&${datasource:queryparam}",
                "Alert": "${runbooks}#${__value.raw}",
            },
            words={"What it says": _SAYS},
            first="Value #Rank",
            hidden=("Rank",),
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
