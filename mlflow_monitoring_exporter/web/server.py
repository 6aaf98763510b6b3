"""Serves the pages on a thread of its own.

The socket is bound before anything else starts, so that a port in use is one clear line instead of
a daemon that cannot be scraped. Connections are accepted here and not by asyncio, which has no limit
of them, and writes thousands of tracebacks when file descriptors are short.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from mlflow_monitoring_exporter.config.fields import split_listen
from mlflow_monitoring_exporter.config.schema import WebConfig
from mlflow_monitoring_exporter.core.disclosure import is_shown_file
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.web import connections
from mlflow_monitoring_exporter.web.connections import Connection, Connections, most_connections

_log = structlog.get_logger(__name__)

_BACKLOG = 128
#: Seconds until another connection is accepted when there was no file descriptor for one.
_PAUSE = 0.5
#: Seconds for a client to agree that a TLS connection ends.
_GOODBYE = 1.0
#: Seconds for the thread to end. One that compresses a large page may need longer, and ends with the process.
_PATIENCE = 3.0


class WebServer:
    """Listens from construction on; answers between :meth:`start` and :meth:`stop`.

    Raises ConfigError when it cannot listen, or cannot read its certificate.
    """

    def __init__(self, config: WebConfig, app: ASGIApp) -> None:
        _check_certificate(config)
        self._socket = _listen(config)
        self._socket.setblocking(False)
        host, port = self._socket.getsockname()[:2]
        scheme = "https" if config.tls_cert_file else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._connections = Connections(most_connections())
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=1,
                ssl_certfile=config.tls_cert_file,
                ssl_keyfile=config.tls_key_file,
            )
        )
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port; a request in progress has a second to end."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=_PATIENCE)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._server.config.load()
        accepting = asyncio.create_task(self._accept())
        serving = asyncio.create_task(self._server.serve(sockets=[]))
        while not (self._server.should_exit or accepting.done()):  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.05)
        accepting.cancel()
        self._connections.close(answered=False)
        self._server.should_exit = True
        await asyncio.wait([accepting, serving])
        self._connections.close(answered=True)
        if not accepting.cancelled():
            accepting.result()  # raises what ended it

    async def _accept(self) -> None:
        """Accept for ever."""
        loop = asyncio.get_running_loop()
        beginning: set[asyncio.Task[None]] = set()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._socket)
            except ConnectionError:
                continue  # the client has thought better of it
            except OSError as error:
                self._connections.tell_once("no connection can be accepted", reason=error.strerror)
                self._connections.close(answered=False)
                await asyncio.sleep(_PAUSE)
                continue
            await self._connections.make_room()
            task = loop.create_task(self._begin(accepted))
            beginning.add(task)
            task.add_done_callback(beginning.discard)
            await asyncio.sleep(0)  # those who are served go on while others press in

    async def _begin(self, accepted: socket.socket) -> None:
        """Shake hands, and let the connection have what it asks for."""
        loop = asyncio.get_running_loop()
        connection = Connection(
            accepted,
            self._connections,
            config=self._server.config,
            server_state=self._server.server_state,
            app_state={},
            _loop=loop,
        )
        tls = (
            {"ssl_handshake_timeout": connections.REQUEST, "ssl_shutdown_timeout": _GOODBYE}
            if self._server.config.ssl
            else {}
        )
        try:
            await loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._server.config.ssl, **tls)
        except OSError as error:  # no TLS, or too late
            connection.ended()
            accepted.close()
            _log.debug("connection failed", reason=str(error))


def _listen(config: WebConfig) -> socket.socket:
    host, port = split_listen(config.listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise _problem("listen", f"cannot listen on {config.listen}: {error.strerror}") from error
    return listener


def _check_certificate(config: WebConfig) -> None:
    if config.tls_cert_file is None or config.tls_key_file is None:
        return
    for key, path in (("tls_cert_file", config.tls_cert_file), ("tls_key_file", config.tls_key_file)):
        _check_readable(key, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            # An encrypted key would ask for its password on the terminal.
            config.tls_cert_file,
            config.tls_key_file,
            password="",
        )
    except (ssl.SSLError, ValueError) as error:
        reason = "they are not a PEM certificate and its unencrypted key"
        raise _problem(
            "tls_cert_file", f"cannot use {config.tls_cert_file} and {config.tls_key_file}: {reason}"
        ) from error


def _check_readable(key: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        said = str(path) if is_shown_file(path) else "the file that is named here"
        raise _problem(key, f"cannot read {said}: {error.strerror}") from error


def _problem(key: str, message: str) -> ConfigError:
    return ConfigError([ConfigProblem("", f"web.{key}", message)])
