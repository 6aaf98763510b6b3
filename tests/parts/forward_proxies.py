"""Proxies: SOCKS5 (RFC 1928), for everybody or one user, and HTTP."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, cast


@dataclass
class ForwardProxy:
    port: int = 0
    #: Where clients wanted to go.
    asked: list[str] = field(default_factory=list)


@contextmanager
def socks_proxy(user: bytes = b"", password: bytes = b"") -> Iterator[ForwardProxy]:
    """On a free port of 127.0.0.1."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            wire = cast("BinaryIO", self.rfile)
            methods = wire.read(wire.read(2)[1])
            if user:
                if 2 not in methods:
                    self.wfile.write(b"\x05\xff")
                    return
                self.wfile.write(b"\x05\x02")
                wire.read(1)
                given = wire.read(wire.read(1)[0]), wire.read(wire.read(1)[0])
                self.wfile.write(b"\x01\x00" if given == (user, password) else b"\x01\x01")
                if given != (user, password):
                    return
            else:
                self.wfile.write(b"\x05\x00")
            _, _, _, kind = wire.read(4)
            host = socket.inet_ntoa(wire.read(4)) if kind == 1 else wire.read(wire.read(1)[0]).decode()
            port = int.from_bytes(wire.read(2), "big")
            proxy.asked.append(f"{host}:{port}")
            with socket.create_connection((host, port)) as target:
                self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
                back = threading.Thread(target=_copy, args=(target, self.connection), daemon=True)
                back.start()
                _copy(self.connection, target)
                back.join()

    proxy = ForwardProxy()
    with _listening(Handler, proxy):
        yield proxy


@contextmanager
def connect_proxy() -> Iterator[ForwardProxy]:
    """An HTTP proxy that knows CONNECT (RFC 9110, 9.3.6), on a free port of 127.0.0.1."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            target = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            proxy.asked.append(target)
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
                back.start()
                _copy(self.connection, there)
                back.join()

    proxy = ForwardProxy()
    with _listening(Handler, proxy):
        yield proxy


@contextmanager
def _listening(handler: type[socketserver.BaseRequestHandler], proxy: ForwardProxy) -> Iterator[ForwardProxy]:
    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Listener(("127.0.0.1", 0), handler) as listener:
        proxy.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
