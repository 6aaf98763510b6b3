"""``notifications``: who is told, from which ``prometheus rules generate`` writes Alertmanager's configuration.

Secrets are files, and Alertmanager reads them, not we: their paths are those where it runs.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mlflow_monitoring_exporter.config.alerts import RECEIVERS, Severity
from mlflow_monitoring_exporter.config.fields import DurationOrZero, HttpUrl, split_commas
from mlflow_monitoring_exporter.config.section import Section


def _addresses(value: Any) -> Any:
    """One address, several with commas, or a list."""
    found = split_commas(value)
    if isinstance(found, list | tuple) and any(isinstance(one, str) and "@" not in one for one in found):
        raise ValueError("holds something that is no address: write name@host")
    return found


Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]
"""Addresses of mail."""

_Severities = Annotated[tuple[Severity, ...], BeforeValidator(split_commas)]


def _told(*severities: Severity) -> _Severities:
    return Field(severities, description="alerts of these severities; others only if their `action` says so")


class EmailConfig(Section):
    """Mail."""

    smtp_host: str = Field(min_length=1, description="host, or host:port")
    smtp_port: int = Field(587, ge=1, le=65535, description="where smtp_host does not say it")
    sender: str = Field(alias="from", min_length=1, description="address")
    recipients: Addresses = Field(min_length=1, description="addresses")
    username: str | None = Field(None, description="of the mail server")
    password_file: str | None = Field(None, description="where Alertmanager runs")
    require_tls: bool = Field(True, description="refuse to send without TLS")
    severities: _Severities = _told("critical")

    @property
    def smarthost(self) -> str:
        """``host:port``."""
        return self.smtp_host if ":" in self.smtp_host else f"{self.smtp_host}:{self.smtp_port}"


class SlackConfig(Section):
    """An incoming webhook of Slack."""

    webhook_url_file: str = Field(min_length=1, description="where Alertmanager runs; holds the whole address")
    channel: str | None = Field(None, description="default: the webhook's own")
    severities: _Severities = _told("critical", "warning")


class WebhookConfig(Section):
    """Alertmanager's own JSON, to any address."""

    url: HttpUrl
    token_file: str | None = Field(None, description="where Alertmanager runs; holds a bearer token")
    severities: _Severities = _told("critical")


class PagerdutyConfig(Section):
    """PagerDuty's Events API v2."""

    routing_key_file: str = Field(min_length=1, description="where Alertmanager runs; holds the integration key")
    severities: _Severities = _told("critical")


class NotificationsConfig(Section):
    """Receivers of notifications, and how often they are repeated. None by default."""

    email: EmailConfig | None = None
    slack: SlackConfig | None = None
    webhook: WebhookConfig | None = None
    pagerduty: PagerdutyConfig | None = None
    group_wait: DurationOrZero = Field(10.0, description="how long the first alert of a group waits for others")
    group_interval: DurationOrZero = Field(300.0, description="one group is not sent more often than this")
    repeat_interval: DurationOrZero = Field(43_200.0, description="what still fires is told again after this long")

    @property
    def configured(self) -> tuple[str, ...]:
        """The receivers that there are."""
        return tuple(name for name in RECEIVERS if getattr(self, name) is not None)


class LinksConfig(Section):
    """Where links in notifications lead, besides MLflow (mlflow.public_url)."""

    grafana: HttpUrl | None = Field(None, description="where people open Grafana")
    runbooks: str = Field("docs/alerts.md", min_length=1, description="address of docs/alerts.md as people can open it")
