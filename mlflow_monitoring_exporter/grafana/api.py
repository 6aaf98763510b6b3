"""Dashboards in a Grafana that is not ours, through its HTTP API.

Folders and dashboards have identifiers of our own (``uid``), so that they are found again and not made twice
(https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from mlflow_monitoring_exporter.config.section import Secret
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import MonitoringExporterError
from mlflow_monitoring_exporter.http import Credentials, HttpClient, HttpFailedError, HttpResponse, display_url

#: What Grafana itself writes into a dashboard.
_ITS_OWN = ("id", "version")
#: Seconds for one request.
_TIMEOUT = 30.0
_NOT_FOUND, _PROVISIONED = 404, 412


class GrafanaError(MonitoringExporterError):
    """Grafana does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a dashboard, or would have."""

    name: str
    title: str
    result: Literal["created", "updated", "unchanged"]


class Grafana:
    """One Grafana, with a service account's token."""

    def __init__(self, url: str, token: Secret, *, ca_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._client = HttpClient(credentials=Credentials(token=token), ca_file=ca_file)

    def apply(self, dashboards: Mapping[str, Any], *, folder: str, dry_run: bool) -> list[Applied]:
        """Create or replace dashboards in the folder of this title; those that are the same are left alone.

        With ``dry_run`` nothing is written. Raises GrafanaError.
        """
        folder_uid = self._folder(folder, dry_run=dry_run)
        applied = []
        for name, dashboard in dashboards.items():
            there = self._call("GET", f"/api/dashboards/uid/{quote(dashboard['uid'])}", missing=True)
            result: Literal["created", "updated", "unchanged"] = "created"
            if there is not None:
                same = _content(there["dashboard"]) == _content(dashboard)
                here = there.get("meta", {}).get("folderUid", "") == folder_uid
                result = "unchanged" if same and here else "updated"
            if result != "unchanged" and not dry_run:
                body = {"dashboard": {**dashboard, "id": None}, "folderUid": folder_uid, "overwrite": True}
                self._call("POST", "/api/dashboards/db", {**body, "message": "mlflow-monitoring-exporter"})
            applied.append(Applied(name, dashboard["title"], result))
        return applied

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _folder(self, title: str, *, dry_run: bool) -> str:
        """The folder of this title, made if there is none; empty is Grafana's top level."""
        if not title:
            return ""
        for folder in self._call("GET", "/api/folders?limit=1000") or ():
            if folder["title"] == title:
                return str(folder["uid"])
        if dry_run:
            return f"(new) {title}"
        return str(self._call("POST", "/api/folders", {"title": title})["uid"])

    def _call(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        """The answer's JSON; None for one that is not there, if it may be ``missing``."""
        url = f"{self._url}{path}"
        try:
            answer = self._client.request(
                method,
                url,
                deadline=Deadline.after(_TIMEOUT),
                body=None if body is None else json.dumps(body).encode(),
                headers={"Content-Type": "application/json", "Accept": "application/json"},
            )
        except HttpFailedError as error:
            raise GrafanaError(f"{display_url(self._url)}: {error}") from None
        if missing and answer.status == _NOT_FOUND:
            return None
        if not answer.ok:
            raise GrafanaError(f"{display_url(url)} answered {self._client.describe(answer)}{_hint(answer)}")
        try:
            return json.loads(answer.body)
        except ValueError:
            raise GrafanaError(f"{display_url(url)} does not answer like a Grafana; is that its address?") from None


def _content(dashboard: Any) -> Any:
    return {key: value for key, value in dashboard.items() if key not in _ITS_OWN}


def _hint(answer: HttpResponse) -> str:
    if answer.status == 401:
        return "; is the token one of a service account of this Grafana?"
    if answer.status == 403:
        return "; the service account needs the role Editor"
    if answer.status == _PROVISIONED:
        return "; a dashboard of this uid is provisioned from a file there, which the API cannot replace"
    return ""
