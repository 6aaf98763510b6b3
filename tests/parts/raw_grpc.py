"""A receiver of gRPC that answers with exactly these bytes of HTTP/2, and hangs up.

::

    with raw_grpc(headers() + message(b"") + trailers(0)) as url:
        ...                                 # one call, of which the answer is whole
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS = 0, 1, 3, 4
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_STREAM = 1
_OK = 0x88  # :status 200, of HPACK's static table


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _fields(fields: Mapping[str, str]) -> bytes:
    """HPACK without an index, for names and values shorter than 127 bytes."""
    texts = [text.encode() for pair in fields.items() for text in pair]
    return b"".join((b"\0" if place % 2 == 0 else b"") + bytes([len(text)]) + text for place, text in enumerate(texts))


def headers(kind: str = "application/grpc", *, end: bool = False, **more: str) -> bytes:
    """The head of an answer with status 200."""
    fields = {"content-type": kind, **{name.replace("_", "-"): value for name, value in more.items()}}
    return _frame(_HEADERS, _END_HEADERS | (_END_STREAM if end else 0), _STREAM, bytes([_OK]) + _fields(fields))


def message(body: bytes, *, end: bool = False) -> bytes:
    return _frame(_DATA, _END_STREAM if end else 0, _STREAM, b"\0" + len(body).to_bytes(4, "big") + body)


def data(content: bytes, *, end: bool = False) -> bytes:
    return _frame(_DATA, _END_STREAM if end else 0, _STREAM, content)


def trailers(status: int | None) -> bytes:
    """The end of an answer; without a status, as somebody leaves it who does not speak gRPC."""
    fields = {"x-nothing": "to say"} if status is None else {"grpc-status": str(status)}
    return _frame(_HEADERS, _END_HEADERS | _END_STREAM, _STREAM, _fields(fields))


def reset(code: int) -> bytes:
    """The stream is ended in the middle, with an error code of HTTP/2."""
    return _frame(_RESET, 0, _STREAM, code.to_bytes(4, "big"))


@contextmanager
def raw_grpc(answer: bytes) -> Iterator[str]:
    """A server on a free port of 127.0.0.1."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            wire = cast("BinaryIO", self.rfile)
            with suppress(OSError):
                if wire.read(len(_PREFACE)) != _PREFACE:
                    return
                self.wfile.write(_frame(_SETTINGS, 0, 0))
                while head := wire.read(9):
                    wire.read(int.from_bytes(head[:3], "big"))
                    kind, flags = head[3], head[4]
                    if kind == _SETTINGS and not flags & _ACK:
                        self.wfile.write(_frame(_SETTINGS, _ACK, 0))
                    if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                        self.wfile.write(answer)
                        # Whoever closes with something unread resets, and what was written may be lost.
                        self.connection.shutdown(socket.SHUT_WR)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            thread.join()
