"""A platform that speaks HTTP, on a free port of this machine."""

from __future__ import annotations

import io
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

from mlflow_monitoring_exporter.testing.platform import Fault


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class HttpPlatform(ABC):
    """Extend it with what the exporter is told, and how its requests are read. To be used in a ``with``.

    An answer to a fault repeats the secrets, as servers do in their error pages. What is below :attr:`statuses` is for
    the suite, which changes how answers are given.
    """

    #: The settings' secrets.
    secrets: Collection[str] = ()
    #: The status of each fault that has one.
    statuses: Mapping[Fault, int] = {Fault.UNAVAILABLE: 503, Fault.UNAUTHORIZED: 401, Fault.REFUSING: 400}

    #: How an answer says where it ends; one of no content is 204.
    framing: Literal["length", "chunked", "no content"] = "length"
    #: Answered instead of the good answer, to requests of which nothing is read.
    instead: Reply | None = None
    #: White space that follows every body.
    padding: int = 0
    #: Of answers to requests of this method, so many bytes come before the connection ends.
    cut: tuple[str, int] | None = None

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """See :meth:`Platform.settings`; :attr:`url` is where this platform listens."""

    @abstractmethod
    def read(self, request: Request) -> Iterable[Hashable]:
        """What a request delivers; see :meth:`Platform.received`.

        Raise ValueError or LookupError, as ``request.headers["idempotency-key"]`` does, for one that makes no sense: it
        is answered with 400.
        """

    def reply(self, _request: Request) -> Reply:
        """The answer when nothing is wrong."""
        return Reply()

    def __enter__(self) -> Self:
        self._fault: Fault | None = None
        self._received: dict[Hashable, None] = {}
        self._connected = False
        self._stopping = threading.Event()
        #: What came so far, faults or not, those of it that delivered something, and the bytes of the longest answer to
        #: each method.
        self.requests: list[Request] = []
        self.deliveries: list[Request] = []
        self.sizes: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def contacted(self) -> bool:
        """Whether anybody has connected, even if nothing was asked."""
        return self._connected

    def received(self) -> Collection[Hashable]:
        return list(self._received)

    def suffer(self, fault: Fault | None) -> None:
        self._fault = fault

    def _answer(self, request: Request) -> Reply | None:
        """None says nothing at all."""
        self.requests.append(request)
        fault = self._fault
        if fault is Fault.SILENT:
            self._stopping.wait()
            return None
        if fault is not None:
            return Reply(self.statuses[fault], {"Content-Type": "text/plain"}, f"no: {list(self.secrets)}".encode())
        if self.instead is not None:
            return self.instead
        try:
            delivered = dict.fromkeys(self.read(request))
        except (ValueError, LookupError) as error:
            return Reply(400, {"Content-Type": "text/plain"}, f"{type(error).__name__}: {error}".encode())
        if delivered:
            self.deliveries.append(request)
            self._received.update(delivered)
        return self.reply(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                platform._connected = True
                super().setup()

            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = platform._answer(Request(self.command, self.path, headers, body))
                if reply is None:
                    self.close_connection = True
                    return
                whole = self._written(reply)
                platform.sizes[self.command] = max(len(whole), platform.sizes.get(self.command, 0))
                method, end = platform.cut or ("", 0)
                if method == self.command and end < len(whole):
                    whole, self.close_connection = whole[:end], True
                self.wfile.write(whole)

            def _written(self, reply: Reply) -> bytes:
                """As it goes over the wire."""
                body = reply.body + b" " * platform.padding
                status, framing = reply.status, platform.framing
                if framing == "no content" and body:
                    framing = "length"
                headers = {"length": {"Content-Length": str(len(body))}, "chunked": {"Transfer-Encoding": "chunked"}}
                if framing == "chunked":
                    body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
                wire, self.wfile = self.wfile, io.BytesIO()
                try:
                    self.send_response_only(204 if framing == "no content" else status)
                    for name, value in {**reply.headers, **headers.get(framing, {})}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    return self.wfile.getvalue() + body
                finally:
                    self.wfile = wire

            do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = do_PATCH = _take  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Nothing: what matters is in the test's own output."""

        return Handler
