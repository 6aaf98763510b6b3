"""A session with one server, and a timer that ends what takes too long."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.config.tls import TlsFiles
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.http.credentials import Credentials, display_url
from mlflow_monitoring_exporter.http.framing import FramedResponse, says_its_length
from mlflow_monitoring_exporter.http.response import HttpFailedError, HttpResponse
from mlflow_monitoring_exporter.http.tls import TlsAdapter, cut_off, why_tls
from mlflow_monitoring_exporter.http.watchdog import Watchdog

_CHUNK = 64 * 1024
_WATCHDOG = Watchdog()
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_MALFORMED_HINT = re.compile(r"MalformedAnswerError\('([^']+)'\)")


class _Session(requests.Session):
    """Never prepares to follow a redirect, for which it would read the whole body, however long."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        if resp.is_redirect:
            urlsplit(resp.headers["Location"])  # ValueError: a mad one


class _CuttableAdapter(TlsAdapter):
    """Knows the TCP connection that it opened last, so that another thread can end it.

    ``sent_whole`` says whether the last request went out to its end: urllib3 also reads the answers of those who
    close their ears before.
    """

    _socket: socket.socket | None = None
    sent_whole = False

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        # Any: requests' stubs know only the base of urllib3's pools, which has no ConnectionCls.
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if "ConnectionCls" not in vars(pool):
            # Any: which of urllib3's connection classes this is depends on scheme and proxy.
            connection_class: Any = pool.ConnectionCls
            adapter = self

            class KnownConnection(connection_class):  # type: ignore[misc]
                response_class = FramedResponse

                def connect(self) -> None:
                    super().connect()
                    adapter._socket = self.sock

                def request(self, *args: Any, **kwargs: Any) -> None:
                    adapter.sent_whole = False
                    super().request(*args, **kwargs)
                    adapter.sent_whole = True

            pool.ConnectionCls = KnownConnection
        return pool

    def cut(self) -> None:
        """End whatever is being read or written; the connection is useless afterwards."""
        if isinstance(self._socket, socket.socket):
            with suppress(OSError):
                # Not SSLSocket.shutdown: it drops the TLS state under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def cut_at(self, deadline: Deadline) -> AbstractContextManager[None]:
        """Within the block, the connection is cut when ``deadline`` passes."""
        return _WATCHDOG.watching(deadline, self.cut)


class HttpClient:
    """A session with one server: connection reuse, our credentials, a total deadline each time.

    Not for several threads at once.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        ca_file: Path | None = None,
        client_cert_file: Path | None = None,
        client_key_file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        max_body: int = 1 << 30,
        surplus: int | None = None,
    ) -> None:
        """``max_body`` bytes of an answer are kept. A longer one is an error or, with ``surplus``, whose status counts
        all the same, cut in what is kept: up to so many more bytes are read and thrown away, then we hang up.
        """
        self._credentials = credentials or Credentials()
        self._tls = TlsFiles(ca_file, client_cert_file, client_key_file)
        self._max_body = max_body
        self._surplus = surplus
        self._session = _Session()
        self._session.headers["User-Agent"] = f"mlflow-monitoring-exporter/{__version__}"
        self._session.headers.update(headers or {})
        self._adapter = _CuttableAdapter(self._tls, max_retries=0)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)

    def request(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | list[str]] | None = None,
    ) -> HttpResponse:
        """Send one request and read the whole answer, whatever its status.

        Raises HttpFailedError when no complete answer came before ``deadline``, or a good one to half a request.
        """
        if deadline.expired:
            raise HttpFailedError("no time was left to send the request")
        secure = url.lower().startswith("https:")
        if secure:
            self._adapter.renew()
        try:
            with (
                self._adapter.cut_at(deadline),
                self._session.request(
                    method,
                    display_url(url),
                    data=body,
                    headers=dict(headers or {}),
                    params=params,
                    auth=self._credentials,
                    timeout=deadline.remaining(),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                if not self._adapter.sent_whole and response.status_code < 400:
                    raise HttpFailedError("answered before it had read the whole request")
                return self._read(response, deadline)
        except (
            requests.RequestException,
            HTTPError,
            OSError,
            ValueError,
        ) as error:  # ValueError: a mad Location header
            why = "timed out" if deadline.expired else _why(error, self._tls)
            if secure and why in _SILENCE:
                why += cut_off(self._tls)
            raise HttpFailedError(self._credentials.redact(why)) from None

    def describe(self, response: HttpResponse) -> str:
        """What the server answered, for people, without our secrets."""
        return response.describe(self._credentials.redact)

    def cut(self) -> None:
        """End the request that is under way, from any thread: it raises HttpFailedError."""
        self._adapter.cut()

    def close(self) -> None:
        self._session.close()

    def _read(self, response: requests.Response, deadline: Deadline) -> HttpResponse:
        status, headers = response.status_code, response.headers
        chunks: list[bytes] = []
        size = 0
        try:
            for chunk in response.iter_content(_CHUNK):
                if size < self._max_body:
                    chunks.append(chunk[: self._max_body - size])
                size += len(chunk)
                if size > self._max_body + (self._surplus or 0):
                    break
        except (requests.RequestException, HTTPError, OSError):
            if size <= self._max_body or not deadline.expired:
                raise
        if size > self._max_body and self._surplus is None:
            raise HttpFailedError(f"the answer is larger than {self._max_body} bytes")
        cut = size > self._max_body
        if deadline.expired and not cut:  # our own cut looks like the end of an answer that names no length
            raise HttpFailedError("timed out")
        return HttpResponse(
            status, headers, b"".join(chunks), cut=cut, framed=not cut and says_its_length(status, headers)
        )


#: What a server that refuses our certificate does, unless it says so.
_SILENCE = ("connection reset", "connection closed without an answer")


def _why(error: Exception, tls: TlsFiles) -> str:
    """A network failure in a few words. The library's own texts repeat URLs and object addresses."""
    if why := _why_proxy(error) or why_tls(error, tls):
        return why
    if isinstance(error, requests.exceptions.Timeout):
        return "timed out"
    text = str(error)
    if match := _MALFORMED_HINT.search(text):
        return f"not a valid HTTP answer: {match[1]}"
    for needle, reason in (
        ("SOCKS", "the SOCKS proxy did not connect"),
        ("Connection refused", "connection refused"),
        ("Name or service not known", "unknown host name"),
        ("Temporary failure in name resolution", "unknown host name"),
        ("No route to host", "no route to host"),
        ("Network is unreachable", "network unreachable"),
        ("Connection reset", "connection reset"),
        ("Read timed out", "timed out"),
        ("EOF occurred", "connection closed without an answer"),
        ("without response", "connection closed without an answer"),
        ("IncompleteRead", "the answer was cut short"),
        ("ended prematurely", "the answer was cut short"),
        ("InvalidChunkLength", "not a valid HTTP answer: a chunk does not say how long it is"),
        ("Response chunk", "not a valid HTTP answer: a chunk does not say how long it is"),
        ("nvalid", "not a valid HTTP request or answer"),
    ):
        if needle in text:
            return reason
    return f"connection failed ({type(error).__name__})"


def _why_proxy(error: Exception) -> str | None:
    """What went wrong between us and a proxy, if that is what went wrong."""
    text = str(error)
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return "the address of the proxy is not valid"
    if isinstance(error, requests.exceptions.ProxyError):
        refused = _TUNNEL.search(text)
        return f"the proxy answered {refused[1]}" if refused else "the proxy did not answer"
    if "SOCKS support" in text:
        return "the proxy speaks SOCKS, which needs pip install 'mlflow-monitoring-exporter[socks]'"
    return None
