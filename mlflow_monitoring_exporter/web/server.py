"""Serves the pages on a thread of its own.

The socket is bound before anything else starts, so that a port in use is one clear line instead of
a daemon that nobody can scrape.
"""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from mlflow_monitoring_exporter.config.fields import split_listen
from mlflow_monitoring_exporter.config.schema import WebConfig
from mlflow_monitoring_exporter.errors import ConfigError, ConfigProblem

_BACKLOG = 128


class WebServer:
    """Listens from construction on; answers between :meth:`start` and :meth:`stop`.

    Raises ConfigError when it cannot listen, or cannot read its certificate.
    """

    def __init__(self, config: WebConfig, app: ASGIApp) -> None:
        _check_certificate(config)
        self._socket = _listen(config)
        host, port = self._socket.getsockname()[:2]
        scheme = "https" if config.tls_cert_file else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=1,
                ssl_certfile=config.tls_cert_file,
                ssl_keyfile=config.tls_key_file,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port; a request in progress has a second to end."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._socket.close()


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
        raise _problem(key, f"cannot read {path}: {error.strerror}") from error


def _problem(key: str, message: str) -> ConfigError:
    return ConfigError([ConfigProblem("", f"web.{key}", message)])
