"""From ``notifications`` in config.yaml to Alertmanager's configuration: who is told of what, and in which words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_monitoring_exporter.config.notifications import (
    EmailConfig,
    NotificationsConfig,
    PagerdutyConfig,
    SlackConfig,
    WebhookConfig,
)
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.prometheus.conditions import duration
from mlflow_monitoring_exporter.prometheus.yaml_text import to_yaml_text

_HEAD = (
    "# From `notifications` in config.yaml, by mlflow-monitoring-exporter prometheus rules generate --alertmanager;\n"
    "# not to be edited. Loads in Alertmanager 0.25 and later.\n"
)
#: The receiver that sends nothing, by the name that kube-prometheus gives it: its alerts are looked at in Grafana.
NULL = "null"
_SUBJECT = (
    '{{ if eq .Status "resolved" }}Resolved: {{ end }}{{ (index .Alerts 0).Annotations.summary }}'
    "{{ if gt (len .Alerts) 1 }} (and {{ len (slice .Alerts 1) }} more){{ end }}"
)
_EACH = (
    "{{ .Annotations.summary }}\n{{ .Annotations.description }}\n"
    '{{ .Labels.severity }}, since {{ .StartsAt.Format "2006-01-02 15:04 MST" }}'
    "{{ if .Labels.server }}, tracking server {{ .Labels.server }}{{ end }}\n"
)
_LINKS = ("mlflow", "dashboard", "runbook")


def to_yaml(config: Config) -> str:
    """The whole file."""
    return _HEAD + to_yaml_text(tree(config.notifications))


def tree(config: NotificationsConfig) -> dict[str, Any]:
    """As Alertmanager reads it. Without any receiver no notification is sent, and none fails."""
    return {
        "route": {
            "receiver": NULL,
            "group_by": ["alertname", "server", "experiment_name", "model", "deployment"],
            "group_wait": duration(config.group_wait),
            "group_interval": duration(config.group_interval),
            "repeat_interval": duration(config.repeat_interval),
            "routes": [_route(name, getattr(config, name).severities) for name in config.configured],
        },
        "inhibit_rules": _inhibitions(),
        "receivers": [{"name": NULL}, *_receivers(config)],
    }


def _receivers(config: NotificationsConfig) -> Iterator[dict[str, Any]]:
    if config.email:
        yield {"name": "email", "email_configs": [_email(config.email)]}
    if config.slack:
        yield {"name": "slack", "slack_configs": [_slack(config.slack)]}
    if config.webhook:
        yield {"name": "webhook", "webhook_configs": [_webhook(config.webhook)]}
    if config.pagerduty:
        yield {"name": "pagerduty", "pagerduty_configs": [_pagerduty(config.pagerduty)]}


def _route(name: str, severities: tuple[str, ...]) -> dict[str, Any]:
    """Told once, though both the severity and the action of an alert may ask for it."""
    asks = [f'action=~"(.*,)?{name}(,.*)?"']
    wanted = [[f'severity=~"{"|".join(severities)}"'], asks] if severities else [asks]
    return {
        "receiver": NULL,
        "continue": True,
        "routes": [{"matchers": matchers, "receiver": name} for matchers in wanted],
    }


def _inhibitions() -> list[dict[str, Any]]:
    """What an alert says already, another one need not."""
    return [
        # While the exporter is down or does not read, what is known of runs and of itself is old.
        {
            "source_matchers": ['alertname="MlflowExporterDown"'],
            "target_matchers": ['alertname=~"Mlflow.+"', 'alertname!="MlflowExporterDown"'],
        },
        {
            "source_matchers": ['alertname="MlflowExporterNotPolling"'],
            "target_matchers": ['alertname=~"MlflowRun.+|MlflowMetric.+|MlflowNoNewRuns|MlflowChallenger.+"'],
            "equal": ["server"],
        },
        # Parked says why nothing is delivered and why the queue grows.
        {
            "source_matchers": ['alertname="MlflowExporterUnauthorized"'],
            "target_matchers": ['alertname=~"MlflowExporterNotDelivering|MlflowExporterQueueOld"'],
            "equal": ["exporter"],
        },
        # The worse severity of the same thing.
        {
            "source_matchers": ['severity="critical"'],
            "target_matchers": ['severity=~"warning|info"'],
            "equal": ["alertname", "server", "experiment_name", "metric", "run_id", "model"],
        },
    ]


def _email(config: EmailConfig) -> dict[str, Any]:
    links = "".join(
        f'{{{{ if .Annotations.{name} }}}}<a href="{{{{ .Annotations.{name} }}}}">{name}</a> {{{{ end }}}}'
        for name in _LINKS
    )
    body = _EACH.replace("\n", "<br>\n")
    return {
        "to": ", ".join(config.recipients),
        "from": config.sender,
        "smarthost": config.smarthost,
        "require_tls": config.require_tls,
        **_given(auth_username=config.username, auth_password_file=config.password_file),
        "send_resolved": True,
        "headers": {"Subject": _SUBJECT},
        "html": f"{{{{ range .Alerts }}}}<p>{body}{links}</p>\n{{{{ end }}}}",
        "text": f"{{{{ range .Alerts }}}}{_EACH}{_plain_links()}\n{{{{ end }}}}",
    }


def _slack(config: SlackConfig) -> dict[str, Any]:
    links = " ".join(
        f"{{{{ if .Annotations.{name} }}}}<{{{{ .Annotations.{name} }}}}|{name}>{{{{ end }}}}" for name in _LINKS
    )
    return {
        "api_url_file": config.webhook_url_file,
        **_given(channel=config.channel),
        "send_resolved": True,
        "title": _SUBJECT,
        "title_link": "{{ (index .Alerts 0).Annotations.mlflow }}",
        "text": f"{{{{ range .Alerts }}}}{_EACH}{links}\n\n{{{{ end }}}}",
    }


def _webhook(config: WebhookConfig) -> dict[str, Any]:
    credentials = {"authorization": {"credentials_file": config.token_file}} if config.token_file else None
    return {"url": config.url, "send_resolved": True, **_given(http_config=credentials)}


def _pagerduty(config: PagerdutyConfig) -> dict[str, Any]:
    links = [{"href": f"{{{{ (index .Alerts 0).Annotations.{name} }}}}", "text": name} for name in _LINKS]
    return {
        "routing_key_file": config.routing_key_file,
        "send_resolved": True,
        "description": _SUBJECT,
        "severity": "{{ if .CommonLabels.severity }}{{ .CommonLabels.severity }}{{ else }}warning{{ end }}",
        "details": {"alerts": f"{{{{ range .Alerts }}}}{_EACH}\n{{{{ end }}}}"},
        "links": links,
    }


def _plain_links() -> str:
    return "".join(
        f"{{{{ if .Annotations.{name} }}}}{name}: {{{{ .Annotations.{name} }}}}\n{{{{ end }}}}" for name in _LINKS
    )


def _given(**values: object) -> Mapping[str, object]:
    return {name: value for name, value in values.items() if value is not None}
