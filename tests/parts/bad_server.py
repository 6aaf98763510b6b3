"""A local HTTP server that misbehaves to order.

::

    with bad_server(answer(503), hang(), answer(200)) as server:
        ...                         # the third request and every later one gets the last behaviour
        server.requests[0].body
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO, Literal, cast

Behaviour = Callable[[BinaryIO, threading.Event], None]
"""Writes the answer to one request; long waits end when the event is set. Afterwards the connection closes."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


Framing = Literal["length", "chunked", "connection"]
"""How an answer says where its body ends."""


def answer(
    status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, framing: Framing = "length"
) -> Behaviour:
    """A complete answer."""
    length = {"length": {"Content-Length": str(len(body))}, "chunked": _CHUNKED, "connection": {}}[framing]
    content = b"".join(_chunk(piece) for piece in (body, b"") if framing == "chunked") or body
    whole = {**length, "Connection": "close", **(headers or {})}
    return lambda wire, _: _write(wire, _head(status, whole) + content)


_CHUNKED = {"Transfer-Encoding": "chunked"}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def endless(status: int, framing: Framing = "length") -> Behaviour:
    """A body that goes on for as long as anybody listens."""
    length = {"length": {"Content-Length": str(1 << 50)}, "chunked": _CHUNKED, "connection": {}}[framing]
    piece = b"x" * 65536

    def behave(wire: BinaryIO, stop: threading.Event) -> None:
        _write(wire, _head(status, {**length, "Location": "http://elsewhere/"}))
        while not stop.is_set():
            _write(wire, _chunk(piece) if framing == "chunked" else piece)

    return behave


def redirect(location: str, status: int = 302) -> Behaviour:
    return answer(status, {"Location": location})


def html(status: int = 200) -> Behaviour:
    """What a login page or a wrong port answers."""
    return answer(status, {"Content-Type": "text/html"}, b"<!doctype html><title>Welcome</title>")


def hang() -> Behaviour:
    """Take the request and say nothing until the test ends."""
    return lambda _, stop: cast("None", stop.wait())


def close() -> Behaviour:
    """Take the request and close the connection."""
    return lambda *_: None


def reset() -> Behaviour:
    """Take the request and reset the connection."""

    def behave(wire: BinaryIO, _: threading.Event) -> None:
        connection = cast("socket.socket", getattr(wire, "_sock"))  # noqa: B009 - socketserver's writer keeps it there
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return behave


def slowly(seconds: float) -> Behaviour:
    """A good answer that comes late."""

    def behave(wire: BinaryIO, stop: threading.Event) -> None:
        stop.wait(seconds)
        _write(wire, _head(200, {"Content-Length": "0", "Connection": "close"}))

    return behave


def raw(data: bytes) -> Behaviour:
    """Exactly these bytes."""
    return lambda wire, _: _write(wire, data)


def cut_short() -> Behaviour:
    """Promise a hundred bytes, send seven, close."""
    return raw(_head(200, {"Content-Length": "100"}) + b"partial")


def drip(part: Literal["headers", "body", "endless body"], seconds: float = 0.05) -> Behaviour:
    """One byte every ``seconds``, for ever: no single read of it takes long.

    An "endless body" names no length: it ends when the connection does.
    """
    head = {
        "headers": b"HTTP/1.1 200 OK\r\nX-Drip: ",
        "body": _head(200, {"Content-Length": "1000000"}),
        "endless body": _head(200, {"Connection": "close"}),
    }[part]

    def behave(wire: BinaryIO, stop: threading.Event) -> None:
        _write(wire, head)
        while not stop.wait(seconds):
            _write(wire, b"x")

    return behave


def _write(wire: BinaryIO, data: bytes) -> None:
    wire.write(data)
    wire.flush()


@dataclass
class BadServer:
    """``behaviours`` may be replaced at any time; the last one is repeated. ``judge`` decides instead, if set."""

    url: str
    behaviours: list[Behaviour]
    requests: list[Received] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    judge: Callable[[Received], Behaviour] | None = None

    def take(self, request: Received) -> Behaviour:
        with self.lock:
            self.requests.append(request)
            if self.judge is None:
                return self._next()
        return self.judge(request)

    def _next(self) -> Behaviour:
        return self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]


def _read_request(wire: BinaryIO) -> Received | None:
    words = wire.readline().decode("latin-1").split()
    if len(words) != 3:
        return None
    headers: dict[str, str] = {}
    while line := wire.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = wire.read(int(headers.get("content-length", "0")))
    return Received(words[0], words[1], headers, body)


@contextmanager
def bad_server(*behaviours: Behaviour) -> Iterator[BadServer]:
    """A server on a free port of 127.0.0.1."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = _read_request(cast("BinaryIO", self.rfile))
            if request is not None:
                with suppress(OSError):
                    server.take(request)(cast("BinaryIO", self.wfile), server.stop)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Handler) as listener:
        server = BadServer(f"http://127.0.0.1:{listener.server_address[1]}", list(behaviours) or [answer(200)])
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            listener.shutdown()
            thread.join()
