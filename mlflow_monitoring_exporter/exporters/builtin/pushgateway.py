"""Keeps a Prometheus Pushgateway in step: what it holds is compared with what it should hold.

::

    exporters:
      pushgateway:
        type: pushgateway
        gateway: localhost:9091        # http:// unless it says https://
        job_name: mlflow_metrics
        username: pusher               # optional, with password or password_file
        password_file: /run/secrets/pushgateway_password
        timeout: 10s                   # total, per request
        ca_file: /etc/ssl/private-ca.pem

A group is ``job`` + ``experiment_id``, and ``server`` where tracking servers have names; the registry's has an
empty ``experiment_id``. PUT replaces it, so a run that
is gone is gone there too; POST would leave families behind that no longer exist. A group is pushed
when it changed, when the gateway does not hold what was pushed last (one that is killed may have acknowledged more
than it wrote down), and every ten minutes, so that the gateway's ``push_time_seconds`` tells who still pushes. Groups
with exactly these labels and our job are ours, whoever pushed them: they are deleted once no experiment stands behind
them. No other group is touched; of the servers that another replica shows, none either.

A gateway refuses a whole push for one family that it holds with another type. So a family that another client's
group has with another type is left out, and everything else is pushed; it is pushed once the other one is gone.
Scrape it with ``honor_labels: true``.
"""

from __future__ import annotations

import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal
from urllib.parse import quote

import structlog
from pydantic import BeforeValidator, Field

from mlflow_monitoring_exporter.config.auth import BasicAuth
from mlflow_monitoring_exporter.config.fields import HttpUrl
from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.core.values import Family, Snapshot, split_group
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import Endpoint, HttpSettings
from mlflow_monitoring_exporter.exporters.listing import HeldGroup, Types, read_listing
from mlflow_monitoring_exporter.http import Credentials, HttpResponse, display_url
from mlflow_monitoring_exporter.prometheus.exposition import TEXT, Encoder
from mlflow_monitoring_exporter.prometheus.timeseries import JOB

_log = structlog.get_logger(__name__)

#: Every group with every series, as JSON (https://github.com/prometheus/pushgateway#query-api).
_LISTING = "/api/v1/metrics"
#: Bytes of that; a hundred thousand series make about thirty million.
_MAX_LISTING = 1 << 28
#: What the gateway says of a family that is in the way, or that is wrong in itself.
_NAMED = re.compile(r'\b(?:metric|named) "([^"]+)"')
#: Reasons in one message.
_TOLD = 5
#: Seconds by which the time of a push and that of its answer may differ; the latter has no fractions.
_SAME_PUSH = 2.0
#: Seconds after which a group is pushed again though nothing of it changed: alerts leave out what is old.
_AGAIN = 600.0


def _with_scheme(value: object) -> object:
    return f"http://{value}" if isinstance(value, str) and "://" not in value else value


class PushgatewayConfig(HttpSettings, BasicAuth, ExporterConfig):
    """A Pushgateway."""

    type: Literal["pushgateway"]
    gateway: Annotated[HttpUrl, BeforeValidator(_with_scheme)] = Field(description="host:port, or a URL")
    job_name: str = Field(JOB, min_length=1, description="the label job of every series")


def _grouping(name: str, value: str) -> str:
    """One ``/name/value`` of a group's path; values that a path cannot carry go as base64.

    A path cannot carry ``.`` and ``..`` either: clients and servers resolve them.
    """
    if value.strip(".") and "/" not in value:
        return f"/{name}/{quote(value, safe='')}"
    return f"/{name}@base64/{urlsafe_b64encode(value.encode()).decode().rstrip('=') or '='}"


@dataclass(frozen=True, slots=True)
class _Pushed:
    """What the gateway acknowledged, when by its own clock, in Unix seconds (None if it did not say), and by ours."""

    families: tuple[Family, ...]
    at: float | None
    sent: float

    def is_held(self, at: float | None) -> bool:
        """Whether the group held since ``at`` is the one that was pushed, and lately; False when that is unknown."""
        lately = time.monotonic() - self.sent < _AGAIN
        return lately and at is not None and (self.at is None or abs(at - self.at) < _SAME_PUSH)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A family of a group that the gateway does not take, and why."""

    group: str
    family: str
    reason: str


class PushgatewayExporter:
    """One Pushgateway. Remembers what it pushed to each group."""

    def __init__(self, config: PushgatewayConfig) -> None:
        self._config = config
        credentials = None
        if config.username is not None:
            credentials = Credentials(username=config.username, password=config.secret("password"))
        self._gateway = Endpoint(config.gateway, config, credentials=credentials, max_body=_MAX_LISTING)
        self._encoder = Encoder()
        self._pushed: dict[str, _Pushed] = {}
        self._warned = False
        self._left_out: frozenset[str] = frozenset()

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def check(self) -> None:
        """Read the gateway's status, which needs the same credentials as a push."""
        answer = self._gateway.send("GET", "/api/v1/status")
        if not self._gateway.reached(answer):
            raise self._gateway.refusal(answer, "its status")

    def export(self, payload: Snapshot, *, deadline: Deadline) -> None:
        """Make the gateway hold these groups and no others of our job.

        What the gateway does not take, a family or a group, does not keep the rest from being pushed. Raises
        PermanentExportError that names it.
        """
        listed = self._listed(deadline)
        servers = {split_group(group)[0] for group in payload.groups}
        ours: dict[str, HeldGroup] = {}
        theirs: list[HeldGroup] = []
        for held in listed or ():
            group = held.ours(self._config.job_name)
            if group is None or not (payload.whole or split_group(group)[0] in servers):
                theirs.append(held)
            else:
                ours[group] = held
        self._encoder.turn()
        wanted, refused = self._without_conflicts(payload, Types(theirs))
        self._make_room(wanted, ours, deadline)
        for group, families in wanted.items():
            last = self._pushed.get(group)
            at = ours[group].pushed_at if group in ours else None
            if last is None or last.families != families or not last.is_held(at):
                refused += self._put(group, families, deadline)
        for group in sorted((self._pushed.keys() | ours.keys()) - wanted.keys()):
            if payload.whole or split_group(group)[0] in servers:
                self._delete(group, deadline)
        self._tell(payload, refused)

    def _without_conflicts(
        self, payload: Snapshot, theirs: Types
    ) -> tuple[dict[str, tuple[Family, ...]], list[_Refused]]:
        """What can be pushed beside what others hold, and what cannot."""
        wanted: dict[str, tuple[Family, ...]] = {}
        refused: list[_Refused] = []
        for group, families in payload.groups.items():
            reasons = {family.name: why for family in families if (why := theirs.conflict(family))}
            if left := tuple(family for family in families if family.name not in reasons) if reasons else families:
                wanted[group] = left
            refused += [_Refused(group, name, why) for name, why in reasons.items()]
        return wanted, refused

    def _make_room(
        self, wanted: Mapping[str, tuple[Family, ...]], ours: dict[str, HeldGroup], deadline: Deadline
    ) -> None:
        """Delete groups of ours from an earlier time, when a family had another type, or each keeps the others out."""
        families = {family.name: family for group in wanted.values() for family in group}
        for group, held in list(ours.items()):
            before = Types([held])
            if any(before.conflict(family) for family in families.values()):
                self._delete(group, deadline)
                del ours[group]

    def _tell(self, payload: Snapshot, refused: Sequence[_Refused]) -> None:
        reasons = list(dict.fromkeys(one.reason for one in refused))
        if (names := frozenset(reasons)) != self._left_out:
            self._left_out = names
            for reason in reasons:
                _log.warning("series left out of the push", gateway=self._gateway.where, reason=reason)
        if not refused:
            return
        which = {(one.group, one.family) for one in refused}
        places: list[int] = []
        at = 0
        for group, families in payload.groups.items():
            for family in families:
                if (group, family.name) in which:
                    places += range(at, at + len(family.series))
                at += len(family.series)
        more = f"; and {len(reasons) - _TOLD} more" if len(reasons) > _TOLD else ""
        told = "; ".join(reasons[:_TOLD]) + more
        raise PermanentExportError(
            f"{self._gateway.where} does not take {len(places)} series: {told}", status=400, rejected=places
        )

    def close(self) -> None:
        self._gateway.close()

    def _listed(self, deadline: Deadline) -> list[HeldGroup] | None:
        """Every group of the gateway; None when it does not tell."""
        answer = self._gateway.send("GET", _LISTING, deadline=deadline)
        if answer.status in (404, 405, 501):  # older than 1.0, or behind something that lets only pushes through
            if not self._warned:
                self._warned = True
                _log.warning(
                    "Pushgateway does not list its groups; pushing all of them each time", gateway=self._gateway.where
                )
            return None
        if not answer.ok and not (answer.is_page and answer.status < 300):
            raise self._gateway.refusal(answer, "its groups")
        try:
            return read_listing(answer.body)
        except (ValueError, TypeError, LookupError, AttributeError):
            text = f"{self._gateway.where}{_LISTING} does not answer like a Pushgateway"
            hint = "; is that a login page? check its address and its credentials" if answer.is_page else ""
            raise RetryableExportError(f"{text}{hint}") from None

    def _put(self, group: str, families: tuple[Family, ...], deadline: Deadline) -> list[_Refused]:
        """Replace a group; what of it the gateway does not take.

        The listing does not tell everything, and may be old by now: then the gateway names the family.
        """
        self._pushed.pop(group, None)
        refused: list[_Refused] = []
        while families:
            body = self._encoder.text(families)
            answer = self._gateway.send(
                "PUT", self._path(group), deadline=deadline, body=body, headers={"Content-Type": TEXT}
            )
            if answer.ok:
                self._pushed[group] = _Pushed(families, _date(answer), time.monotonic())
                break
            error = self._gateway.refusal(answer, _what(group))
            if not isinstance(error, PermanentExportError):
                raise error
            named = set(_NAMED.findall(answer.body.decode("utf-8", "replace")))
            found = [family for family in families if family.name in named] or families
            refused += [_Refused(group, family.name, str(error)) for family in found]
            families = tuple(family for family in families if family not in found)
        return refused

    def _delete(self, group: str, deadline: Deadline) -> None:
        self._send("DELETE", self._path(group), deadline, what=_what(group))
        self._pushed.pop(group, None)

    def _path(self, group: str) -> str:
        server, experiment_id = split_group(group)
        named = _grouping("server", server) if server else ""
        return f"/metrics{_grouping('job', self._config.job_name)}{named}{_grouping('experiment_id', experiment_id)}"

    def _send(
        self, method: str, path: str, deadline: Deadline | None, *, what: str, body: bytes | None = None
    ) -> HttpResponse:
        headers = None if body is None else {"Content-Type": TEXT}
        answer = self._gateway.send(method, path, deadline=deadline, body=body, headers=headers)
        if not answer.ok:
            raise self._gateway.refusal(answer, what)
        return answer


def _what(group: str) -> str:
    """A group for people."""
    server, experiment_id = split_group(group)
    what = f"experiment {experiment_id}" if experiment_id else "the model registry"
    return f"{what} of {server}" if server else what


def _date(answer: HttpResponse) -> float | None:
    """When the answer was given, by the clock of who gave it."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None


plugin = ExporterPlugin(
    config=PushgatewayConfig,
    create=PushgatewayExporter,
    mode=DeliveryMode.LATEST,
    target=lambda config: f"{display_url(config.gateway)} job {config.job_name}",
)
