"""An HTTPS server that looks at its clients' certificates, and keeps connections open."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme


@dataclass
class TlsServer:
    """``seen`` is the serial number of the client's certificate at each request, None where it showed none."""

    url: str
    seen: list[str | None] = field(default_factory=list)
    connections: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext
    known: TlsServer

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake in the thread of its connection, which may be refused."""
        with suppress(OSError):
            wrapped = self.context.wrap_socket(request, server_side=True)
            self.known.connections += 1
            try:
                super().finish_request(wrapped, client_address)
            finally:
                wrapped.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        certificate: Any = self.connection.getpeercert()
        self.server.known.seen.append(certificate["serialNumber"] if certificate else None)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = do_OPTIONS = answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def tls_server(certificate: trustme.LeafCert, clients: trustme.CA | None = None) -> Iterator[TlsServer]:
    """On a free port of 127.0.0.1; with ``clients``, only those whose certificate that authority signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        clients.configure_trust(context)
    listener = _Server(("127.0.0.1", 0), _Handler)
    listener.context = context
    listener.known = TlsServer(f"https://127.0.0.1:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield listener.known
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def write_pair(certificate: trustme.LeafCert, cert_file: Path, key_file: Path | None = None) -> None:
    """Chain and key, in one file or in two; what is there is replaced at once, as Kubernetes and certbot do."""
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    key = certificate.private_key_pem.bytes()
    replace(cert_file, chain if key_file else key + chain)
    if key_file:
        replace(key_file, key)


def replace(file: Path, content: bytes) -> None:
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)
