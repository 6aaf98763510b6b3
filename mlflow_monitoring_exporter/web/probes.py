"""``mlflow-monitoring-exporter-alive`` and ``-ready``: what a container's health check runs.

They take no argument, because some tools that run Compose files split a command at its spaces.
The daemon is found by the same configuration file and environment that it was started with. Not a
part of the command line, whose imports would nearly double what each check costs.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import sys

from mlflow_monitoring_exporter.config.fields import split_listen
from mlflow_monitoring_exporter.config.load import find_config_file, load_config
from mlflow_monitoring_exporter.config.schema import WebConfig
from mlflow_monitoring_exporter.core.errors import MonitoringExporterError
from mlflow_monitoring_exporter.core.foreign_text import excerpt, in_line, in_text
from mlflow_monitoring_exporter.exporters.plugins import load_plugins

#: Seconds. Health checks have deadlines of their own; ours is shorter, so that the reason is reported.
_TIMEOUT = 5.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def alive() -> None:
    """Exit with 0 if the daemon on this machine works, outages of others included, else with 1."""
    _probe("/livez")


def ready() -> None:
    """Exit with 0 if the daemon on this machine reaches MLflow and every platform, else with 1."""
    _probe("/readyz")


def _probe(page: str) -> None:
    try:
        plugins = load_plugins()
        web = load_config(find_config_file(None, os.environ), exporter_types=plugins.config_types).web
        status, body = _get(web, page)
    except MonitoringExporterError as error:
        sys.exit(f"error: {in_text(str(error))}")
    sys.stdout.write(f"{in_line(_say(body))}\n")
    sys.exit(status != 200)


def _get(web: WebConfig, page: str) -> tuple[int, str]:
    host, port = split_listen(web.listen)
    host = _ANY.get(host, host)
    connection: http.client.HTTPConnection
    if web.tls_cert_file:
        # It is ourselves, over loopback, and the certificate names the outside.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    headers = {}
    if web.username:
        login = f"{web.username}:{web.secret('password').get()}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    try:
        connection.request("GET", page, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(1_000_000).decode(errors="replace")
    except ConnectionRefusedError:
        raise MonitoringExporterError(f"nothing listens on {web.listen}") from None
    except (OSError, http.client.HTTPException) as error:
        raise MonitoringExporterError(f"no answer from {web.listen}: {error}") from None
    finally:
        connection.close()


def _say(body: str) -> str:
    """/readyz in one line, with the reason of whatever is not ready."""
    try:
        components = json.loads(body)["components"].items()
    except (ValueError, TypeError, KeyError, AttributeError):
        return excerpt(body)
    wrong = [f"{name}: {what.get('reason', 'not ready')}" for name, what in components if not what["ready"]]
    return "; ".join(wrong) or "ready"
