"""mlflow-production: what models do once they serve, how right they are, and what was deployed when."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.variables import OF_SERVER

#: The daemon and the serving process may both show it, and with the same values.
_OF = 'deployment=~"$deployment"'
_EACH = "deployment, model, version"
_RATE = "[$__rate_interval]"
_PREDICTIONS = f"max by ({_EACH}, outcome) (rate(mlflow_deployment_predictions_total{{{_OF}}}{_RATE}))"
_ROLLOUT = "mlflow_deployment_{}{{" + OF_SERVER + "}}"


def _quantile(share: float, family: str, by: str = "deployment") -> str:
    rate = f"rate(mlflow_deployment_prediction_{family}_bucket{{{_OF}}}{_RATE})"
    return f"histogram_quantile({share}, sum by ({by}, le) (max by ({_EACH}, le) ({rate})))".replace("(, le)", "(le)")


def dashboard() -> models.Dashboard:
    return parts.board(
        "Production",
        "mlflow-production",
        "Models in production: traffic, latency, errors, confidence, how right they are, and deployments.",
        [variables.way(), variables.server(), variables.deployment(), variables.top()],
        {
            "Traffic": _traffic(),
            "What they say": _answers(),
            "How right they are": _truth(),
            "Deployments": _deployments(),
        },
    )


def _traffic() -> list[parts.PanelBuilder]:
    errors = _PREDICTIONS.replace("{" + _OF, '{outcome="error",' + _OF)
    return [
        parts.number("Predictions a second", "Of all chosen deployments.", f"sum({_PREDICTIONS})", span=6, trend=True),
        parts.number(
            "Errors",
            "Share of predictions that ended as errors.",
            f"sum({errors}) / sum({_PREDICTIONS})",
            unit="percentunit",
            bad_from=0.05,
            span=6,
        ),
        parts.number(
            "95th percentile",
            "Of 20 predictions, 19 take no longer.",
            _quantile(0.95, "latency_seconds", by=""),
            unit="s",
            bad_from=1,
            span=6,
        ),
        parts.number(
            "Accuracy",
            "Of the predictions of the last 24 hours whose truth is known; the worst deployment.",
            f'min(mlflow_deployment_quality{{metric="accuracy",{_OF}}})',
            unit="percentunit",
            span=6,
        ),
        parts.curves(
            "Predictions by outcome",
            "A second, of each deployment.",
            {
                "{{deployment}} {{version}} {{outcome}}": (
                    f"topk($top, sum by (deployment, version, outcome) ({_PREDICTIONS}))"
                )
            },
            unit="cps",
        ),
        parts.curves(
            "Latency",
            "The time that half, 95 % and 99 % of the predictions do not exceed.",
            {
                f"{{{{deployment}}}} p{round(share * 100)}": f"topk($top, {_quantile(share, 'latency_seconds')})"
                for share in (0.5, 0.95, 0.99)
            },
            unit="s",
        ),
    ]


def _answers() -> list[parts.PanelBuilder]:
    classes = f"max by ({_EACH}, class) (increase(mlflow_deployment_class_total{{{_OF}}}[10m]))"
    of_class = f"sum by (deployment, class) ({classes}) / on (deployment) group_left () sum by (deployment) ({classes})"
    return [
        parts.curves(
            "Predicted classes",
            "Shares of the predictions of ten minutes.",
            {"{{deployment}} {{class}}": f"topk($top, {of_class})"},
            unit="percentunit",
        ),
        parts.curves(
            "Confidence",
            "The confidence that half of the predictions have at least, and a tenth at most.",
            {
                "{{deployment}} median": f"topk($top, {_quantile(0.5, 'confidence')})",
                "{{deployment}} lowest tenth": f"topk($top, {_quantile(0.1, 'confidence')})",
            },
            unit="percentunit",
        ),
    ]


def _truth() -> list[parts.PanelBuilder]:
    truth = f"max by (deployment, result) (increase(mlflow_deployment_truth_total{{{_OF}}}[1h]))"
    return [
        parts.curves(
            "Quality",
            "Accuracy, precision, recall and F1 of the predictions of the last 24 hours whose truth is known.",
            {
                "{{deployment}} {{version}} {{metric}}": (
                    f"topk($top, max by ({_EACH}, metric) (mlflow_deployment_quality"
                    f'{{metric=~"accuracy|precision|recall|f1",{_OF}}}))'
                )
            },
            unit="percentunit",
        ),
        parts.curves(
            "Truth",
            "What became of labels in an hour: joined in time or late, told twice, unknown, too old.",
            {"{{deployment}} {{result}}": f"topk($top, {truth})"},
        ),
    ]


def _deployments() -> list[parts.PanelBuilder]:
    # Not by increase: these counters begin with all that MLflow knows.
    failed, begun = (f"sum({_ROLLOUT.format(name)})" for name in ("failed_total", "rollouts_total"))
    return [
        parts.number("Deployments", "All that MLflow knows.", begun, span=6),
        parts.number("Failed", "Share of all deployments.", f"{failed} / {begun}", unit="percentunit", span=6),
        parts.number(
            "Time to restore",
            "From a failed deployment to the one that succeeded; the longest of the last ones.",
            f"max({_ROLLOUT.format('time_to_restore_seconds')})",
            unit="s",
            span=6,
        ),
        parts.number(
            "Lead time",
            "From the making of a version to its deployment; the longest of the last ones.",
            f"max({_ROLLOUT.format('lead_time_seconds')})",
            unit="s",
            span=6,
        ),
        parts.rows(
            "What is where",
            "The deployment of each model in each environment that began last.",
            {
                "Info": f"topk(100, max by (server, model, environment, version, status) ({_ROLLOUT.format('info')}))",
                "Began": "1000 * max by (server, model, environment, version) "
                f"({_ROLLOUT.format('started_timestamp_seconds')})",
            },
            {
                "server": "Server",
                "model": "Model",
                "environment": "Environment",
                "version": "Version",
                "status": "Status",
                "Value #Began": "Began",
            },
            units={"Began": "dateTimeFromNow"},
            first="Value #Began",
        ),
    ]
