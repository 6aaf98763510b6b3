"""The pages, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from mlflow_monitoring_exporter.config.schema import WebConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.exporters.builtin.prometheus import PrometheusConfig, PrometheusExporter
from mlflow_monitoring_exporter.exporters.contract import ScrapedExporter
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.web.app import build_app
from mlflow_monitoring_exporter.web.server import WebServer
from tests.exporters.samples import snapshot


@contextmanager
def serving(
    readiness: Readiness | None = None, scraped: Iterable[ScrapedExporter] = (), **config: object
) -> Iterator[str]:
    web = WebConfig.model_validate({"listen": "127.0.0.1:0", **config})
    registry = CollectorRegistry()
    Gauge("answer", "Of everything.", registry=registry).set(42)
    server = WebServer(web, build_app(registry, readiness or Readiness(), web, scraped))
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def get(url: str, **options: object) -> requests.Response:
    return requests.get(url, timeout=10, **options)  # type: ignore[arg-type]


def test_the_pages_are_there_and_nothing_else() -> None:
    with serving() as url:
        assert "metrics" in get(f"{url}/").text
        assert get(f"{url}/livez").text == "ok\n"
        assert "answer 42.0\n" in get(f"{url}/metrics").text
        assert get(f"{url}/docs").status_code == 404
        assert requests.post(f"{url}/metrics", timeout=10).status_code == 405


def test_a_scraper_that_asks_for_openmetrics_gets_it() -> None:
    with serving() as url:
        answer = get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        families = text_string_to_metric_families(answer.text)
        assert [family.name for family in families] == ["answer"]
        assert get(f"{url}/metrics").headers["Content-Type"].startswith("text/plain; version=")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_scraped_exporters_are_on_the_page_in_the_same_format_and_compressed_if_wanted(accept: str) -> None:
    exporter = PrometheusExporter(PrometheusConfig(type="prometheus"))
    exporter.export(snapshot(loss=0.5), deadline=Deadline.after(1))
    with serving(scraped=[exporter]) as url:
        plain = get(f"{url}/metrics", headers={"Accept": accept, "Accept-Encoding": "identity"})
        squeezed = get(f"{url}/metrics", headers={"Accept": accept, "Accept-Encoding": "gzip"})
    assert ("Content-Encoding" in plain.headers, squeezed.headers["Content-Encoding"]) == (False, "gzip")
    assert squeezed.text == plain.text, "the same text"
    assert plain.text.endswith("# EOF\n") == bool(accept)
    assert plain.text.count("# EOF") == bool(accept)
    parse: Any = text_string_to_metric_families if accept else plain_families
    assert sorted(family.name for family in parse(plain.text)) == ["answer", "mlflow_loss"]
    assert plain.headers["Vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        *((accepted, True) for accepted in ("gzip", "deflate, gzip;q=0.5", "GZIP", "*", "x;q=1, gzip ; q=1.0")),
        *((accepted, False) for accepted in ("", "identity", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "gzipped", "br")),
    ],
)
def test_what_accept_encoding_says_is_obeyed(accepted: str, compressed: bool) -> None:
    with serving() as url:
        answer = get(f"{url}/metrics", headers={"Accept-Encoding": accepted})
    assert ("Content-Encoding" in answer.headers) is compressed
    assert "answer 42.0" in answer.text


def test_readiness_says_which_part_is_not_ready_and_why() -> None:
    readiness = Readiness()
    with serving(readiness) as url:
        assert get(f"{url}/readyz").status_code == 503, "nothing is known yet"
        readiness.good("mlflow")
        assert get(f"{url}/readyz").status_code == 200
        readiness.bad("exporters.prod", "http://sink: connection refused", state="backing_off")
        answer = get(f"{url}/readyz")
        assert answer.status_code == 503
        assert answer.json()["ready"] is False
        assert answer.json()["components"]["exporters.prod"]["reason"] == "http://sink: connection refused"
        assert answer.json()["components"]["exporters.prod"]["state"] == "backing_off"
        assert answer.json()["components"]["mlflow"]["ready"] is True
        assert get(f"{url}/livez").status_code == 200, "alive all the same"


def test_with_a_password_no_one_gets_in_without_it(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("pässword:with colon\n")
    with serving(username="prometheus", password_file=str(secret)) as url:
        for page in ("metrics", ""):
            answer = get(f"{url}/{page}")
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert get(f"{url}/metrics", auth=("prometheus", "wrong")).status_code == 401
        assert get(f"{url}/metrics", auth=("admin", "pässword:with colon".encode())).status_code == 401
        assert get(f"{url}/metrics", auth=(b"prometheus", "pässword:with colon".encode())).status_code == 200
        for header in ("Basic", "Basic !!!", "Basic cHJvbWV0aGV1cw==", "Bearer abc", "Basic /w=="):
            assert get(f"{url}/metrics", headers={"Authorization": header}).status_code == 401
        secret.write_text("rotated")
        assert get(f"{url}/metrics", auth=("prometheus", "rotated")).status_code == 200, "a rotated file is read again"


def test_probes_without_the_password_learn_whether_it_is_ready_and_no_reason(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("word")
    readiness = Readiness()
    with serving(readiness, username="prometheus", password_file=str(secret)) as url:
        assert get(f"{url}/livez").text == "ok\n"
        assert (get(f"{url}/readyz").status_code, get(f"{url}/readyz").json()) == (503, {"ready": False})
        readiness.good("mlflow")
        assert (get(f"{url}/readyz").status_code, get(f"{url}/readyz").json()) == (200, {"ready": True})
        readiness.bad("exporters.prod", "http://sink: connection refused")
        assert (get(f"{url}/readyz").status_code, get(f"{url}/readyz").json()) == (503, {"ready": False})
        assert "connection refused" in get(f"{url}/readyz", auth=("prometheus", "word")).text
        assert get(f"{url}/readyz", auth=("prometheus", "wrong")).status_code == 401, "and who tries is told"
        assert get(f"{url}/livez", auth=("prometheus", "wrong")).status_code == 401


def test_tls_is_served_with_the_given_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with serving(tls_cert_file=str(tmp_path / "cert.pem"), tls_key_file=str(tmp_path / "key.pem")) as url:
        assert url.startswith("https://")
        assert get(f"{url}/livez", verify=str(tmp_path / "ca.pem")).text == "ok\n"


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_certificate_that_cannot_be_used_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "cert.pem").write_bytes(content)
        (tmp_path / "key.pem").write_bytes(content)
    with (
        pytest.raises(ConfigError, match=r"^web\.tls_cert_file: cannot .*cert\.pem.*") as caught,
        serving(tls_cert_file=str(tmp_path / "cert.pem"), tls_key_file=str(tmp_path / "key.pem")),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught, serving(listen=listen):
            pass
    assert str(caught.value) == f"web.listen: cannot listen on {listen}: Address already in use"


def test_ipv6_works_where_the_machine_has_it() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(ConfigError, match=r"cannot listen on \[::1\]:0"), serving(listen="[::1]:0"):
            pass
        return
    with serving(listen="[::1]:0") as url:
        assert get(f"{url}/livez").text == "ok\n"
