"""The pages: /metrics for Prometheus, /livez and /readyz for whoever supervises the daemon.

====================  ======================================================================
``/``                 what this is, and links
``/metrics``          MLflow's gauges (with a ``prometheus`` exporter) and the self metrics, as text or
                      OpenMetrics, compressed if that is accepted
``/livez``            200 while the process works, MLflow's and platforms' outages included
``/readyz``           200 when MLflow answers and every exporter can deliver, else 503; JSON
====================  ======================================================================

Behind a password, probes that know none still get /livez, and of /readyz whether it is ready, without reasons.
"""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from html import escape
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.config.schema import WebConfig
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.exporters.contract import ScrapedExporter
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.web.metrics_page import MetricsPage

_HOME = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>mlflow-monitoring-exporter</title>
<h1>mlflow-monitoring-exporter {escape(__version__)}</h1>
<ul><li><a href="metrics">metrics</a><li><a href="readyz">readyz</a><li><a href="livez">livez</a></ul></html>
"""

#: Pages of many series that are compressed at a time, on threads; more would keep the others, and each other, waiting.
_AT_ONCE = 4

#: Checks a user name and a password.
Verify = Callable[[str, str], bool]


def build_app(
    registry: CollectorRegistry, readiness: Readiness, config: WebConfig, scraped: Iterable[ScrapedExporter] = ()
) -> ASGIApp:
    """The pages over ``registry``, ``scraped`` and ``readiness``, behind basic authentication if it is configured.

    ``scraped`` is looked through with every request.
    """
    page = MetricsPage(registry, scraped)

    turn = asyncio.Semaphore(_AT_ONCE)

    async def metrics(request: Request) -> Response:
        async with turn:
            return await run_in_threadpool(page.answer, request.headers)

    async def readyz(_request: Request) -> Response:
        report = readiness.report()
        components: dict[str, Any] = {
            name: {
                "ready": condition.ready,
                **({"state": condition.state} if condition.state else {}),
                **({"reason": condition.reason} if condition.reason else {}),
                "since": datetime.fromtimestamp(condition.since, UTC).isoformat(timespec="seconds"),
            }
            for name, condition in sorted(report.items())
        }
        ready = bool(report) and all(condition.ready for condition in report.values())
        return JSONResponse({"ready": ready, "components": components}, status_code=200 if ready else 503)

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def home(_request: Request) -> Response:
        return HTMLResponse(_HOME)

    async def briefly(_request: Request) -> Response:
        ready = readiness.ready
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    app: ASGIApp = Starlette(
        routes=[Route("/", home), Route("/metrics", metrics), Route("/livez", livez), Route("/readyz", readyz)]
    )
    if config.username is None:
        return app
    probes = Starlette(routes=[Route("/livez", livez), Route("/readyz", briefly)])
    return BasicAuth(app, probes, _verify(config))


def _verify(config: WebConfig) -> Verify:
    username, password = config.username or "", config.secret("password")

    def verify(user: str, word: str) -> bool:
        try:
            expected = password.get()
        except ConfigError:
            return False
        # Both are always compared, so that the time taken tells nothing.
        right_user = secrets.compare_digest(user.encode(), username.encode())
        right_word = expected is not None and secrets.compare_digest(word.encode(), expected.encode())
        return right_user and right_word

    return verify


#: Pages that need no password: the supervisor of a container has no password, and would restart it for ever.
_OF_PROBES = ("/livez", "/readyz")


class BasicAuth:
    """Requires the right user and password (RFC 7617); who sends none gets what ``probes`` answers on their pages."""

    def __init__(self, app: ASGIApp, probes: ASGIApp, verify: Verify) -> None:
        self._app = app
        self._probes = probes
        self._verify = verify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._admits(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, send)
            return
        if scope["path"] in _OF_PROBES and "authorization" not in Headers(scope=scope):
            await self._probes(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "user and password, please\n", 401, {"WWW-Authenticate": 'Basic realm="mlflow-monitoring-exporter"'}
        )
        await refusal(scope, receive, send)

    def _admits(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            user, colon, word = b64decode(encoded.strip(" "), validate=True).decode().partition(":")
        except (Base64Error, UnicodeDecodeError, ValueError):
            return False
        return scheme.lower() == "basic" and bool(colon) and self._verify(user, word)
