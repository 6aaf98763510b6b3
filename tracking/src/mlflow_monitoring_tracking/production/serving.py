"""``/metrics`` in the serving process: as an application to mount, or as a server of its own on a thread.

Each worker answers for all of them, so it does not matter which one a scrape meets.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mlflow_monitoring_tracking.production.exposition import families
from mlflow_monitoring_tracking.production.families import CONTENT_TYPE, text
from mlflow_monitoring_tracking.production.places import ProductionDirectory

_Message = MutableMapping[str, Any]


def page(place: ProductionDirectory) -> bytes:
    """The exposition, in Prometheus' text format.

    :raises OSError: the directory cannot be read.
    """
    return text(families(place)).encode()


def wsgi_app(place: ProductionDirectory) -> Callable[[Any, Callable[..., Any]], Iterable[bytes]]:
    """An application for Flask, Django or gunicorn."""

    def app(_environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, body, kind = _answer(place)
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return app


def asgi_app(
    place: ProductionDirectory,
) -> Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]:
    """An application for FastAPI, Starlette or uvicorn."""

    async def app(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        status, body, kind = _answer(place)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": int(status.partition(" ")[0]), "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


class MetricsServer:
    """A server that runs until :meth:`stop`, or the process ends."""

    def __init__(self, place: ProductionDirectory, address: str, port: int) -> None:
        app = _handler(place)
        self._server = ThreadingHTTPServer((address, port), app)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="tracking-metrics", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _handler(place: ProductionDirectory) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] == "/metrics":
                status, body, kind = _answer(place)
            else:
                status, body, kind = "404 Not Found", b"metrics are at /metrics\n", _PLAIN
            self.send_response(int(status.partition(" ")[0]))
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """A scrape every few seconds is no news."""

    return Handler


_PLAIN = "text/plain; charset=utf-8"


def _answer(place: ProductionDirectory) -> tuple[str, bytes, str]:
    try:
        return "200 OK", page(place), CONTENT_TYPE
    except OSError as error:
        return "503 Service Unavailable", f"{place.path} cannot be read: {error.strerror}\n".encode(), _PLAIN
