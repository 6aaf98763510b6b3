"""What a client is sent follows from its headers, and no header is too odd for an answer."""

from __future__ import annotations

import gzip
import http.client
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from starlette.datastructures import Headers

from mlflow_monitoring_exporter.web.metrics_page import MetricsPage
from mlflow_monitoring_exporter.web.negotiation import takes_gzip, wishes
from tests.web.test_pages import serving

TEXT, NEW_TEXT = "text/plain; version=0.0.4; charset=utf-8", "text/plain; version=1.0.0; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def page() -> MetricsPage:
    registry = CollectorRegistry()
    Gauge("answer", "Of everything.", registry=registry).set(42)
    return MetricsPage(registry, ())


def content_type(*accept: str) -> str:
    headers = Headers(raw=[(b"accept", value.encode("latin-1")) for value in accept])
    return page().answer(headers).headers["content-type"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/*", TEXT),
        ("application/*", OPENMETRICS),
        ('text/plain; version="0.0.4"', TEXT),
        ('text/plain;version="1.0.0"', NEW_TEXT),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ('APPLICATION/OpenMetrics-Text; Version="1.0.0"', OPENMETRICS),
        ('application/openmetrics-text; version="1\\.0.0"', OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1", TEXT),
        ("application/openmetrics-text; version=0.0.1, */*;q=0.1", TEXT),
        ("application/openmetrics-text; q=0", TEXT),
        ("application/openmetrics-text;q=0, application/*", TEXT),
        ("text/plain;q=0, */*", OPENMETRICS),
        ("text/*;q=0, */*;q=0.1", OPENMETRICS),
        ("text/plain;q=0.3, application/openmetrics-text;q=0.4", OPENMETRICS),
        ("text/plain;q=0.4, application/openmetrics-text;q=0.3", TEXT),
        ("text/plain;version=1.0.0;q=0.9, text/plain;version=0.0.4;q=0.5", NEW_TEXT),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", TEXT),
        ("image/png", TEXT),
        ("text/plain; version=not.a.version", TEXT),
        ("text/plain; version=", TEXT),
        ("application/openmetrics-text; q=huge", TEXT),
        ("application/openmetrics-text; q=2", TEXT),
        ("application/openmetrics-text; q=nan", TEXT),
        ('image/x; name="a, application/openmetrics-text; q=1", text/plain;q=0.1', TEXT),
        # Prometheus 3 and 2 as they ask.
        (PROMETHEUS_3, OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
    ],
)
def test_the_format_is_the_one_that_is_wanted_most(accept: str, expected: str) -> None:
    assert content_type(accept) == expected


def test_a_header_may_come_in_several_lines() -> None:
    assert content_type("text/plain;q=0.1", "application/openmetrics-text;q=0.2") == OPENMETRICS
    headers = Headers(raw=[(b"accept-encoding", b"identity;q=0.5"), (b"accept-encoding", b"gzip")])
    assert page().answer(headers).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("x-gzip", True),
        ('gzip;q="0.5"', True),
        ("gzip;q=0.001", True),
        ("gzip;q=0.000", False),
        ("gzip;q=0.5, identity;q=0.8", False),
        ("gzip;q=0.8, identity;q=0.5", True),
        ("gzip, identity", True),
        ("identity, *;q=0.5", False),
        ("identity;q=0", True),
        ("identity;q=0, gzip;q=0", False),
        ("identity;q=0, *", True),
        ("*;q=0", False),
        ("*;q=0, gzip", True),
        ("gzip;q=oops", False),
        ("gzip;q=-1", False),
        (";;;,,,", False),
    ],
)
def test_a_page_is_compressed_when_that_is_wanted_more(accepted: str, *, compressed: bool) -> None:
    assert takes_gzip(accepted) is compressed


#: What headers are made of, put together in every way, and anything else that HTTP can carry.
WORDS = st.sampled_from(
    (
        *'",;=\\/*. \t',
        *("q", "q=", "0", "1", "0.5", "nan", "1e9", "-1", "version", '"1.0.0"', "0.0.4", "charset=utf-8"),
        *("text/plain", "application/openmetrics-text", "gzip", "identity", "\xe9", "\xff", "\x80"),
    )
)
HEADER = st.lists(WORDS, max_size=30).map("".join) | st.text(
    st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=80
)


@given(accept=st.lists(HEADER, max_size=3), encodings=st.lists(HEADER, max_size=3))
@settings(deadline=None)
def test_whatever_the_headers_say_the_answer_is_a_page_that_is_what_it_says(
    accept: Sequence[str], encodings: Sequence[str]
) -> None:
    raw = [(b"accept", value.encode("latin-1")) for value in accept]
    raw += [(b"accept-encoding", value.encode("latin-1")) for value in encodings]
    answer = page().answer(Headers(raw=raw))
    body = b"".join(answer.parts)
    assert answer.headers["content-length"] == str(len(body))
    text = (gzip.decompress(body) if "content-encoding" in answer.headers else body).decode()
    is_openmetrics = answer.headers["content-type"] == OPENMETRICS
    assert text.endswith("# EOF\n") == is_openmetrics
    parse = openmetrics_families if is_openmetrics else text_families
    assert [family.name for family in parse(text)] == ["answer"]


@pytest.mark.parametrize("part", ['"', '\\"', ",", ";", '"\\', "a=", "*/*,", "gzip;q=0.1,", " ", "\xe9"])
def test_a_very_long_header_is_read_in_no_time(part: str) -> None:
    # Time that grew with the square of the length would be minutes.
    list(wishes(part * 200_000))
    takes_gzip(part * 200_000)


PAGES = ("/", "/metrics", "/livez", "/readyz")
#: Of a header's value HTTP has visible characters, spaces, tabs, and what is beyond ASCII.
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(
    str.strip
)
VALUES = HEADER.map(lambda text: "".join(c for c in text if c >= " " and c != "\x7f").strip()) | VALUE
LOGIN = VALUES | VALUES.map("Basic ".__add__) | VALUES.map("basic bWU6".__add__)
TOKEN = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+-.^_`|~0123456789", min_size=1, max_size=12
)
METHOD = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE", "get"]) | TOKEN
PATH = st.sampled_from(PAGES) | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40).map(
    "/".__add__
)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[str]]:
    """A server for everybody, and one that asks for a password."""
    secret: Path = tmp_path_factory.mktemp("web") / "password"
    secret.write_text("planted")
    with serving() as free, serving(username="me", password_file=str(secret)) as guarded:
        yield [urlsplit(url).netloc for url in (free, guarded)]


def ask(address: str, method: str, target: str, headers: Sequence[tuple[str, str]]) -> int:
    """The status; 0 when the connection was closed without one."""
    host, _, port = address.rpartition(":")
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers),
        "Connection: close",
        "",
        "",
    ]
    with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        answer = http.client.HTTPResponse(connection, method=method)
        try:
            answer.begin()
            answer.read()
        except http.client.RemoteDisconnected:
            return 0
        return answer.status


@given(
    request=st.tuples(METHOD, PATH),
    headers=st.fixed_dictionaries(
        {"Host": VALUES, "Accept": VALUES, "Accept-Encoding": VALUES, "Authorization": LOGIN}
    ),
)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_makes_the_server_fail(
    addresses: Sequence[str], request: tuple[str, str], headers: Mapping[str, str]
) -> None:
    for address in addresses:
        status = ask(address, *request, list(headers.items()))
        assert status < 500 or (status == 503 and request[1].startswith("/readyz")), "only readiness may say that"
        if request == ("GET", "/metrics"):
            assert status == (200 if address == addresses[0] else 401)
