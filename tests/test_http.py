"""TLS, and what is said of it. Deadlines and failures are covered where exporters and sources use them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from mlflow_monitoring_exporter.config.section import Secret
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.foreign_text import excerpt, one_line
from mlflow_monitoring_exporter.http import Credentials, HttpClient, HttpFailedError, HttpResponse, display_url

AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An HTTPS server whose certificate AUTHORITY signed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    listener = HTTPServer(("127.0.0.1", 0), Handler)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.server_address[1]}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def get(url: str, ca_file: Path | None = None) -> HttpResponse:
    client = HttpClient(ca_file=ca_file)
    try:
        return client.request("GET", url, deadline=Deadline.after(5))
    finally:
        client.close()


def test_a_private_authority_is_trusted_when_it_is_named(server: str, tmp_path: Path) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    assert get(server, tmp_path / "ca.pem").body == b"ok"


def test_an_unknown_authority_is_refused_with_advice(server: str, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    for ca_file in (None, tmp_path / "other.pem"):
        with pytest.raises(HttpFailedError, match=r"^TLS failed: certificate verify failed: .*; ca_file must hold"):
            get(server, ca_file)


def test_a_bundle_that_cannot_be_used_is_named(server: str, tmp_path: Path) -> None:
    with pytest.raises(HttpFailedError, match=r"^cannot read ca_file .*missing\.pem: No such file or directory$"):
        get(server, tmp_path / "missing.pem")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(HttpFailedError, match=r"^ca_file .*empty\.pem holds no PEM certificate$"):
        get(server, tmp_path / "empty.pem")


def test_a_bundle_that_breaks_later_is_named_too(server: str, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(bundle)
    client = HttpClient(ca_file=bundle, headers={"Connection": "close"})
    for break_it, reason in (
        (lambda: bundle.write_text("no certificate"), r"^ca_file .*ca\.pem holds no PEM certificate$"),
        (bundle.unlink, r"^cannot read ca_file .*ca\.pem: No such file or directory$"),
    ):
        break_it()
        with pytest.raises(HttpFailedError, match=reason):
            client.request("GET", server, deadline=Deadline.after(5))
        AUTHORITY.cert_pem.write_to_path(bundle)
        assert client.request("GET", server, deadline=Deadline.after(5)).ok
    client.close()


def test_a_plain_server_behind_https_is_said_so(server: str) -> None:
    with pytest.raises(
        HttpFailedError, match=r"connection closed without an answer|cut short|connection reset|not a valid"
    ):
        get(server.replace("https", "http"))


def test_a_secret_at_the_cut_of_a_long_answer_does_not_slip_through() -> None:
    client = HttpClient(credentials=Credentials(token=Secret(SecretStr("a-long-secret-token"))))
    for filler, paddings in ((b"x", range(270, 310)), (b" ", range(65536 - 30, 65536 + 5))):
        for padding in paddings:
            body = filler * padding + b"a-long-secret-token" + b"y" * 100
            assert "a-long" not in client.describe(HttpResponse(400, {}, body))
    client.close()


def test_a_server_that_repeats_our_header_does_not_betray_the_password() -> None:
    client = HttpClient(credentials=Credentials(username="me", password=Secret(SecretStr("hidden"))))
    said = client.describe(HttpResponse(400, {}, b"Authorization: Basic bWU6aGlkZGVu is not for me:hidden"))
    assert said == "HTTP 400 Bad Request: Authorization: Basic [redacted] is not for me:[redacted]"
    client.close()


def test_an_address_is_shown_without_its_user_and_password() -> None:
    assert display_url("https://me:p%40ss@host:8443/path?x=1") == "https://host:8443/path?x=1"
    assert display_url("http://[::1]:9091") == "http://[::1]:9091"


@pytest.mark.parametrize("length", [301, 5_000, 200_000])
def test_a_long_answer_keeps_its_end_where_the_cause_stands(length: int) -> None:
    body = b"cannot write: " + b"x " * length + b"because the disk is full"
    text = HttpResponse(400, {}, body).describe()
    assert text.startswith("HTTP 400 Bad Request: cannot write: ")
    assert text.endswith("because the disk is full")
    assert " ... " in text
    assert len(text) < 350


@pytest.mark.parametrize("at", range(-40, 40, 3))
def test_a_secret_beside_the_part_that_is_not_looked_at_does_not_slip_through(at: int) -> None:
    secret = b"hunter2-hunter2-hunter2"
    body = bytearray(b"." * 300_000)
    for place in (64 * 1024 + at, len(body) - 64 * 1024 + at, len(body) - 200 + at, 140 + at):
        body[place : place + len(secret)] = secret
    text = HttpResponse(400, {}, bytes(body)).describe(lambda said: said.replace(secret.decode(), "[redacted]"))
    assert "unter" not in text


@given(st.text(max_size=2000), st.integers(10, 400))
def test_an_excerpt_is_one_printable_line_of_bounded_length_with_both_ends(text: str, longest: int) -> None:
    line, found = one_line(text), excerpt(text, longest)
    assert found.isprintable()
    assert len(found) <= longest
    assert found == line or (line.startswith(found[:2]) and line.endswith(found[-2:]))
