"""A proxy that breaks some of the answers on their way.

::

    with FaultyProxy(server.url, faults) as proxy:
        proxy.url

``faults`` says for each request what happens to it: None, or one of FAULTS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import requests

#: Too many requests; a crash; half of the answer, or of its bytes; a page of somebody else's.
FAULTS = ("429", "500", "half", "cut", "html")


class FaultyProxy:
    """Forwards to ``target`` what ``fault`` lets through; it is given the method and path of each request."""

    def __init__(self, target: str, fault: Callable[[str], str | None]) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.target, self._server.fault = target, fault
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    target: str
    fault: Callable[[str], str | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(f"{self.command} {self.path.partition('?')[0]}")
        if fault in ("429", "500"):
            self._send(int(fault), b"{}", {"Retry-After": "0"})
            return
        if fault == "html":
            self._send(502, b"<html>Bad Gateway</html>", {})
            return
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        found = requests.request(
            self.command, f"{self.server.target}{self.path}", data=body, headers=headers, timeout=60
        )
        content = found.content
        if fault == "half":
            content = content[: len(content) // 2]
        self._send(found.status_code, content, {}, cut=fault == "cut")

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
