"""What is an answer, and what is not. Exporters are held to the same by the suite of their contract."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import BinaryIO, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.http import HttpClient, HttpFailedError, HttpResponse
from tests.parts.bad_server import BadServer, Framing, answer, bad_server, drip, endless, html, raw

BODY = b'{"runs": [], "errors": false}'
HONEST = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n" + BODY,
    "bare line feeds": b"HTTP/1.1 200\nContent-Length: 29\n\n" + BODY,
    "said twice": b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\ncontent-length: 29, 29\r\n\r\n" + BODY,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n"
    + BODY[:16]
    + b"\r\n0d;x=y\r\n"
    + BODY[16:]
    # its last chunk has a size of two digits, so that half of it would be another size
    + b"\r\n00\r\nX-Checksum: 1\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n",
    "after hints": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 Fine\r\n\r\n",
    "a folded header": b"HTTP/1.0 200 OK\r\nX-Old: a\r\n b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[BadServer]:
    with bad_server() as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[HttpClient]:
    client = HttpClient()
    yield client
    client.close()


def ask(client: HttpClient, server: BadServer, method: str = "GET", seconds: float = 30.0) -> HttpResponse:
    body = b"{}" if method == "POST" else None
    return client.request(method, server.url, deadline=Deadline.after(seconds), body=body)


@pytest.mark.parametrize("form", HONEST)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_honest_answer_that_is_cut_at_any_byte_is_none(
    server: BadServer, client: HttpClient, form: str, method: str
) -> None:
    whole = HONEST[form]
    server.behaviours = [raw(whole)]
    answered = ask(client, server, method)
    assert answered.ok
    assert answered.framed
    assert answered.body in (BODY, b"")
    for at in range(len(whole)):
        server.behaviours = [raw(whole[:at])]
        with pytest.raises(HttpFailedError, match=r"cut short|closed without an answer"):
            ask(client, server, method)


def test_a_body_without_a_length_ends_with_its_connection_and_says_so(server: BadServer, client: HttpClient) -> None:
    """HTTP allows it. That its header block is whole is still asked for."""
    head = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    server.behaviours = [raw(head + b"taken")]
    answered = ask(client, server)
    assert (answered.ok, answered.body, answered.framed) == (True, b"taken", False)
    for at in range(len(head)):
        server.behaviours = [raw(head[:at])]
        with pytest.raises(HttpFailedError):
            ask(client, server)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GARBAGE = {
    "no status line": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half a page": b"<html>Welcome</html>\r\n\r\n",
    "another protocol": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status with a sign": b"HTTP/1.1 +200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a line that is no header": b"HTTP/1.1 200 OK\r\ngarbage\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "a header without a name": b"HTTP/1.1 200 OK\r\n: 0\r\nContent-Length: 0\r\n\r\n",
    "a continuation of nothing": b"HTTP/1.1 200 OK\r\n more\r\nContent-Length: 0\r\n\r\n",
    "a lone carriage return": b"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 7\r\n\r\npartial",
    "two lengths in one": b"HTTP/1.1 200 OK\r\nContent-Length: 7, 0\r\n\r\npartial",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: zero\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a size that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzero\r\n\r\n",
    **{
        f"a size like {size}": CHUNKED + f"{size}\r\nhello\r\n0\r\n\r\n".encode()
        for size in ("0x5", "+5", "0_5", "-5", " 5", "5 5", "")
    },
    **{f"an end like {size}": CHUNKED + f"{size}\r\n\r\n".encode() for size in ("-0", "+0", "0_0", "0x0")},
    "a chunk that goes on": CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
    "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "announced without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 200,
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("what", GARBAGE)
def test_what_is_no_answer_counts_as_none(server: BadServer, client: HttpClient, what: str) -> None:
    server.behaviours = [raw(GARBAGE[what])]
    with pytest.raises(HttpFailedError, match="not a valid HTTP answer"):
        ask(client, server, "POST")


@given(data=st.binary(max_size=60))
@example(data=b"HTTP/1.1 200")
@example(data=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
def test_no_garbage_is_taken_for_an_answer(server: BadServer, client: HttpClient, data: bytes) -> None:
    server.behaviours = [raw(data)]
    with pytest.raises(HttpFailedError):
        ask(client, server, "POST")


def test_an_early_hint_is_not_the_answer_to_the_next_request() -> None:
    """Both come over one connection: whoever takes the hint for the answer takes the answer for the next one."""
    hint, bad = b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"
    with talking(hint + HONEST["length"], hint + bad) as url:
        client = HttpClient()
        statuses = [client.request("POST", url, deadline=Deadline.after(30), body=b"{}").status for _ in range(2)]
        client.close()
    assert statuses == [200, 503]


def test_a_body_that_must_not_be_is_not_the_answer_to_the_next_request() -> None:
    wrong = b"HTTP/1.1 204 No Content\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n"
    with talking(wrong) as url, talking(HONEST["length"]) as other:
        client = HttpClient()
        assert client.request("POST", url, deadline=Deadline.after(30), body=b"{}").status == 204
        assert client.request("POST", other, deadline=Deadline.after(30), body=b"{}").status == 200
        with pytest.raises(HttpFailedError):  # a connection of its own, which is not listened to any more
            client.request("POST", url, deadline=Deadline.after(30), body=b"{}")
        client.close()


def test_of_two_ways_to_say_the_length_chunks_count(server: BadServer, client: HttpClient) -> None:
    server.behaviours = [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
    ]
    assert ask(client, server).body == b"whole"


def test_a_good_answer_to_half_a_request_is_none() -> None:
    """urllib3 reads the answers of those who hang up while it still sends."""
    for status, error in ((b"200 OK", HttpFailedError), (b"413 Too Large", None)):
        with talking(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n", read=1000) as url:
            client = HttpClient()
            if error is None:
                try:
                    assert client.request("POST", url, deadline=Deadline.after(30), body=bytes(1 << 25)).status == 413
                except HttpFailedError as lost:  # the kernel may throw away what was not read yet
                    assert "connection reset" in str(lost)  # noqa: PT017
            else:
                with pytest.raises(error, match=r"before it had read the whole request|connection reset"):
                    client.request("POST", url, deadline=Deadline.after(30), body=bytes(1 << 25))
            client.close()


LARGE = 3_000_000


@pytest.mark.parametrize("framing", ["length", "chunked", "connection"])
@pytest.mark.parametrize("status", [200, 400, 302, 503])
def test_of_a_large_answer_the_status_and_the_beginning_count(status: int, framing: Framing) -> None:
    body = b"x" * LARGE
    with bad_server(answer(status, {"Location": "http://elsewhere/"}, body, framing=framing)) as server:
        client = HttpClient(max_body=1000, surplus=1 << 24)
        answered = ask(client, server)
        assert (answered.status, answered.body, answered.cut) == (status, b"x" * 1000, True)
        assert ask(client, server).status == status, "and the next one is the next one"
        client.close()


def test_an_answer_of_exactly_what_is_kept_is_whole(server: BadServer) -> None:
    client = HttpClient(max_body=1000, surplus=0)
    server.behaviours = [answer(200, body=b"x" * 1000)]
    assert (ask(client, server).cut, ask(client, server).framed) == (False, True)
    server.behaviours = [answer(200, body=b"x" * 1001)]
    assert (ask(client, server).cut, ask(client, server).framed) == (True, False)
    client.close()


@pytest.mark.parametrize("status", [200, 302])
@pytest.mark.parametrize("framing", ["length", "chunked", "connection"])
def test_an_answer_without_end_is_read_up_to_a_bound(status: int, framing: Framing) -> None:
    with bad_server(endless(status, framing)) as server:
        client = HttpClient(max_body=1000, surplus=1 << 20)
        answered = ask(client, server)
        client.close()
    assert (answered.status, len(answered.body), answered.cut) == (status, 1000, True)


@pytest.mark.parametrize("part", ["body", "endless body"])
def test_an_answer_that_drips_until_the_deadline_is_none(part: Literal["body", "endless body"]) -> None:
    with bad_server(drip(part)) as server:
        client = HttpClient(max_body=1000, surplus=1000)
        with pytest.raises(HttpFailedError, match="timed out"):
            ask(client, server, seconds=0.5)
        client.close()


def test_of_a_large_answer_that_stops_on_the_way_the_beginning_counts_at_the_deadline() -> None:
    def behave(wire: BinaryIO, stop: threading.Event) -> None:
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)(wire, stop)
        stop.wait()

    with bad_server(behave) as server:
        client = HttpClient(max_body=1000, surplus=1 << 24)
        answered = ask(client, server, seconds=2.0)
        client.close()
    assert (answered.status, answered.body, answered.cut) == (200, b"x" * 1000, True)


def test_whoever_needs_the_whole_answer_gets_none_that_is_too_large(server: BadServer) -> None:
    server.behaviours = [answer(200, body=b"x" * 1001)]
    client = HttpClient(max_body=1000)
    with pytest.raises(HttpFailedError, match="larger than 1000 bytes"):
        ask(client, server)
    client.close()


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html>\n<title>Log in</title>",
        b"\xef\xbb\xbf\r\n <!doctype HTML>",
        b"<HTML><body>",
        b"<!-- saved -->",
        b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
        b"<form action=/login>",
        b"<meta http-equiv=refresh content=0>",
        b"<script>location = '/login'</script>",
    ],
)
def test_a_page_for_people_is_known_by_its_look(body: bytes) -> None:
    for kind in ("text/plain", "application/json", ""):
        assert not HttpResponse(200, {"Content-Type": kind}, body).ok


def test_a_page_for_people_is_known_by_its_word(server: BadServer, client: HttpClient) -> None:
    assert not HttpResponse(200, {"Content-Type": "text/html; charset=utf-8"}, b"Please log in").ok
    server.behaviours = [html()]
    assert client.describe(ask(client, server)) == "HTTP 200 OK (an HTML page)"


def test_no_page_is_taken_for_one() -> None:
    for kind, body in (
        ("text/html", b""),
        ("text/html", b" \n"),
        ("application/json", b'{"a": "<html>"}'),
        ("", b"<ok/>"),
        ("application/xml", b"<headers><a/></headers>"),
        ("application/xml", b'<?xml version="1.0"?><Success/>'),
    ):
        assert HttpResponse(200, {"Content-Type": kind}, body).ok


class talking:  # noqa: N801 - used like a function
    """A server that gives these answers over one connection, one to each request, of which it reads ``read`` bytes."""

    def __init__(self, *answers: bytes, read: int | None = None) -> None:
        self._answers = answers
        self._read = read
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        self._listener.close()
        with connection:
            for one in self._answers:
                if self._read is not None:
                    connection.recv(self._read)
                else:
                    request = b""
                    while not request.endswith(b"\r\n\r\n{}"):
                        request += connection.recv(65536)
                connection.sendall(one)
            if self._read is None:
                connection.settimeout(10)
                connection.recv(1)  # until the other side has enough
