"""Client certificates, authorities and proxies, against real TLS servers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.config.tls import BUNDLE_VARIABLES, TlsFiles, TlsFilesError
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ConfigError,
    ExportError,
    RetryableExportError,
    SourceUnavailableError,
)
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from mlflow_monitoring_exporter.http import HttpClient, HttpFailedError
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from tests.parts.forward_proxies import connect_proxy, socks_proxy
from tests.parts.otlp_receiver import over_grpc
from tests.parts.pushgateway import strict_pushgateway
from tests.parts.tls_server import TlsServer, replace, tls_server, write_pair

AUTHORITY, CLIENTS = trustme.CA(), trustme.CA()
SERVER = AUTHORITY.issue_cert("127.0.0.1")
CLIENT, NEXT = CLIENTS.issue_cert("exporter.example"), CLIENTS.issue_cert("exporter.example")
PLUGINS = load_plugins()
LONG_AGO = datetime.now(UTC) - timedelta(days=2)


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *BUNDLE_VARIABLES,
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """The three keys, and files that fit."""
    named = {name: tmp_path / f"{name}.pem" for name in ("ca_file", "client_cert_file", "client_key_file")}
    AUTHORITY.cert_pem.write_to_path(named["ca_file"])
    write_pair(CLIENT, named["client_cert_file"], named["client_key_file"])
    return named


@pytest.fixture(scope="module")
def strict() -> Iterator[TlsServer]:
    """Lets only those in whose certificate CLIENTS signed."""
    with tls_server(SERVER, CLIENTS) as server:
        yield server


def get(client: HttpClient, server: TlsServer) -> int:
    return client.request("GET", server.url, deadline=Deadline.after(20)).status


BLOCKS: dict[str, dict[str, Any]] = {
    "pramathus": {"endpoint": "", "api_key": "key"},
    "http_json": {"endpoint": ""},
    "remote_write": {"url": "", "protocol": "v1"},
    "influx": {"url": "", "database": "mlflow"},
    "otlp": {"endpoint": ""},
    "pushgateway": {"gateway": ""},
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_exporter_that_speaks_http_shows_its_certificate(
    kind: str, strict: TlsServer, files: dict[str, Any]
) -> None:
    block = {name: value or strict.url for name, value in BLOCKS[kind].items()}
    for shown, serial in ((files, True), ({"ca_file": files["ca_file"]}, False)):
        strict.seen.clear()
        exporter = PLUGINS[kind].create(PLUGINS[kind].config(type=kind, **block, **shown))
        exporter.start()
        if serial:
            with suppress(ExportError):  # of an answer that is not this platform's
                exporter.check()
            assert strict.seen[0] is not None
        else:
            with pytest.raises(RetryableExportError, match="client certificate"):
                exporter.check()
            assert strict.seen == []
        exporter.close()


def test_the_tracking_server_is_shown_a_certificate(strict: TlsServer, files: dict[str, Any]) -> None:
    for shown, reached in ((files, True), ({"ca_file": files["ca_file"]}, False)):
        strict.seen.clear()
        api = MlflowApi(MlflowConfig(tracking_uri=strict.url, **shown), threading.Event())
        if reached:
            assert api.call("GET", "experiments/search", {}) == {}
            assert strict.seen[0] is not None
        else:
            with pytest.raises(SourceUnavailableError, match="client certificate"):
                api.call("GET", "experiments/search", {})
        api.close()


def test_one_file_may_hold_certificate_and_key(strict: TlsServer, files: dict[str, Any]) -> None:
    write_pair(CLIENT, files["client_cert_file"])
    client = HttpClient(ca_file=files["ca_file"], client_cert_file=files["client_cert_file"])
    assert get(client, strict) == 200
    client.close()


def test_a_rotated_certificate_counts_with_the_next_request_and_only_then_is_connected_anew(
    files: dict[str, Any],
) -> None:
    with tls_server(SERVER, CLIENTS) as server:
        client = HttpClient(**files)
        assert [get(client, server) for _ in range(3)] == [200] * 3
        assert server.connections == 1
        write_pair(NEXT, files["client_cert_file"], files["client_key_file"])
        assert [get(client, server) for _ in range(3)] == [200] * 3
        assert server.connections == 2
        old, new = server.seen[0], server.seen[-1]
        assert old != new
        assert server.seen == [old] * 3 + [new] * 3
        client.close()


def test_an_authority_that_is_no_longer_trusted_ends_connections_that_are_kept(files: dict[str, Any]) -> None:
    with tls_server(SERVER, CLIENTS) as server:
        client = HttpClient(**files)
        assert get(client, server) == 200
        replace(files["ca_file"], trustme.CA().cert_pem.bytes())
        with pytest.raises(HttpFailedError, match="certificate verify failed"):
            get(client, server)
        replace(files["ca_file"], AUTHORITY.cert_pem.bytes())
        assert get(client, server) == 200
        client.close()


def test_half_a_rotation_fails_for_now_and_the_other_half_mends_it(strict: TlsServer, files: dict[str, Any]) -> None:
    client = HttpClient(**files)
    assert get(client, strict) == 200
    replace(files["client_key_file"], NEXT.private_key_pem.bytes())
    with pytest.raises(HttpFailedError, match=r"client_cert_file .* and client_key_file .*not that of the certificate"):
        get(client, strict)
    write_pair(NEXT, files["client_cert_file"], files["client_key_file"])
    assert get(client, strict) == 200
    client.close()


def pair_of(files: dict[str, Any]) -> dict[str, Path]:
    return {name: file for name, file in files.items() if name != "ca_file"}


def encrypted(key: bytes) -> bytes:
    loaded = load_pem_private_key(key, None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))


KEY, CHAIN = CLIENT.private_key_pem.bytes(), CLIENT.cert_chain_pems[0].bytes()
WRONG: dict[str, tuple[bytes | None, bytes | None, str, str]] = {
    "no certificate file": (None, KEY, "client_cert_file", "cannot read client_cert_file {cert}: No such file"),
    "no key file": (CHAIN, None, "client_key_file", "cannot read client_key_file {key}: No such file"),
    "no certificate in it": (b"hello", KEY, "client_cert_file", "client_cert_file {cert} holds no PEM certificate"),
    "no key in it": (CHAIN, b"hello", "client_key_file", "client_key_file {key} holds no PEM private key"),
    "an encrypted key": (CHAIN, encrypted(KEY), "client_key_file", "the key in client_key_file {key} is encrypted"),
    "another's key": (
        CHAIN,
        NEXT.private_key_pem.bytes(),
        "client_key_file",
        "client_cert_file {cert} and client_key_file {key}: the key is not that of the certificate",
    ),
    "a broken certificate": (
        CHAIN[:200] + CHAIN[300:],
        KEY,
        "client_key_file",
        "client_cert_file {cert} and client_key_file {key}: not a PEM certificate chain",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_pair_is_one_line_that_names_file_line_and_key(name: str, tmp_path: Path) -> None:
    cert, key, which, said = WRONG[name]
    files = {"cert": tmp_path / "tls.crt", "key": tmp_path / "tls.key"}
    for file, content in ((files["cert"], cert), (files["key"], key)):
        if content is not None:
            file.write_bytes(content)
    said = said.format_map(files)
    config = tmp_path / "config.yaml"
    config.write_text(
        "exporters:\n  sink:\n    type: http_json\n    endpoint: https://sink.example\n"
        f"    client_cert_file: {files['cert']}\n    client_key_file: {files['key']}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load_config(config, exporter_types=PLUGINS.config_types, environ={}, certificates=True)
    (line,) = str(refused.value).splitlines()
    number = 5 if which == "client_cert_file" else 6
    assert line.startswith(f"{config}:{number}: exporters.sink.{which}: {said}")
    client = HttpClient(client_cert_file=files["cert"], client_key_file=files["key"])
    with pytest.raises(HttpFailedError) as failed:
        client.request("GET", "https://127.0.0.1:1", deadline=Deadline.after(5))
    assert str(failed.value).startswith(said)
    client.close()


def test_a_certificate_without_any_key_says_where_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(CHAIN)
    with pytest.raises(TlsFilesError, match="holds no private key: add it there, or name its file in client_key_file"):
        TlsFiles(None, tmp_path / "tls.crt").context()


@pytest.mark.parametrize(
    "block",
    [
        "mlflow: {client_key_file: a}",
        "exporters: {p: {type: pushgateway, gateway: 'h:1', client_key_file: a}}",
    ],
)
def test_a_key_without_a_certificate_is_refused(block: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block)
    with pytest.raises(ConfigError, match="client_key_file needs client_cert_file"):
        load_config(tmp_path / "config.yaml", exporter_types=PLUGINS.config_types, environ={})


def test_an_expired_certificate_is_said_to_be_one_whosever_it_is(files: dict[str, Any]) -> None:
    old: dict[str, Any] = {"not_before": LONG_AGO, "not_after": LONG_AGO + timedelta(days=1)}
    write_pair(CLIENTS.issue_cert("exporter.example", **old), files["client_cert_file"], files["client_key_file"])
    with tls_server(SERVER, CLIENTS) as server:
        client = HttpClient(**files)
        with pytest.raises(HttpFailedError, match=f"client_cert_file {files['client_cert_file']}"):
            get(client, server)
        client.close()
    with tls_server(AUTHORITY.issue_cert("127.0.0.1", **old)) as server:
        client = HttpClient(ca_file=files["ca_file"])
        with pytest.raises(HttpFailedError, match=r"certificate has expired$"):
            get(client, server)
        client.close()


def test_a_pushgateway_that_requires_certificates(tmp_path: Path, files: dict[str, Any]) -> None:
    with strict_pushgateway(tmp_path, SERVER, CLIENTS, **pair_of(files)) as url:
        plugin = PLUGINS["pushgateway"]
        made = plugin.create(plugin.config(type="pushgateway", gateway=url, **files))
        made.check()
        write_pair(NEXT, files["client_cert_file"], files["client_key_file"])
        made.check()
        write_pair(trustme.CA().issue_cert("stranger"), files["client_cert_file"], files["client_key_file"])
        with pytest.raises(RetryableExportError, match="client_cert_file"):
            made.check()
        made.close()
        without = plugin.create(plugin.config(type="pushgateway", gateway=url, ca_file=files["ca_file"]))
        with pytest.raises(RetryableExportError, match="client certificate"):
            without.check()
        without.close()


def test_a_channel_of_grpc_shows_its_certificate_and_takes_a_rotated_one(files: dict[str, Any]) -> None:
    pair = (SERVER.private_key_pem.bytes(), SERVER.cert_chain_pems[0].bytes())
    required = grpc.ssl_server_credentials([pair], CLIENTS.cert_pem.bytes(), require_client_auth=True)
    plugin = PLUGINS["otlp"]
    with over_grpc(required) as receiver:
        block = {"type": "otlp", "endpoint": receiver.url, "protocol": "grpc", "timeout": "5s"}
        made = plugin.create(plugin.config(**block, **files))
        made.start()
        made.check()
        stranger = trustme.CA().issue_cert("stranger")
        write_pair(stranger, files["client_cert_file"], files["client_key_file"])
        with pytest.raises(RetryableExportError):
            made.check()
        replace(files["client_key_file"], NEXT.private_key_pem.bytes())
        with pytest.raises(RetryableExportError, match="the key is not that of the certificate"):
            made.check()
        write_pair(NEXT, files["client_cert_file"], files["client_key_file"])
        made.check()
        replace(files["ca_file"], trustme.CA().cert_pem.bytes())
        with pytest.raises(RetryableExportError):
            made.check()
        replace(files["ca_file"], AUTHORITY.cert_pem.bytes())
        made.check()
        made.close()
        assert len(receiver.requests) == 3


def test_grpc_goes_through_the_proxy_of_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = PLUGINS["otlp"]
    with over_grpc() as receiver, connect_proxy() as proxy:

        def check() -> None:
            made = plugin.create(plugin.config(type="otlp", endpoint=receiver.url, protocol="grpc", timeout="10s"))
            made.start()
            try:
                made.check()
            finally:
                made.close()

        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        check()
        assert proxy.asked == [receiver.url.removeprefix("http://")]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        check()
        assert len(proxy.asked) == 1
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("HTTP_PROXY", "socks5://me:hidden-word@127.0.0.1:1")
        with pytest.raises(ConfigError, match="gRPC knows only http:// proxies") as failed:
            check()
        assert "hidden-word" not in str(failed.value)


@pytest.mark.parametrize("variable", BUNDLE_VARIABLES)
def test_variables_name_the_authorities_where_no_ca_file_does(
    variable: str, strict: TlsServer, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(files.pop("ca_file")))
    client = HttpClient(**files)
    assert get(client, strict) == 200
    client.close()
    other = files["client_cert_file"].with_name("other.pem")
    trustme.CA().cert_pem.write_to_path(other)
    client = HttpClient(ca_file=other, **files)
    with pytest.raises(HttpFailedError, match="verify failed"):
        get(client, strict)
    client.close()
    monkeypatch.setenv(variable, "/nothing/here.pem")
    client = HttpClient(**files)
    with pytest.raises(HttpFailedError, match=f"cannot read {variable} /nothing/here.pem: No such file"):
        get(client, strict)
    client.close()


def test_the_variable_of_a_certificate_of_mlflow_replaces_a_pair_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("mlflow: {client_cert_file: a.pem, client_key_file: b.pem}\n")
    environ = {"MLFLOW_TRACKING_CLIENT_CERT_PATH": "both.pem"}
    mlflow = load_config(file, exporter_types=PLUGINS.config_types, environ=environ).mlflow
    assert (mlflow.client_cert_file, mlflow.client_key_file) == (Path("both.pem"), None)


@pytest.mark.parametrize(
    ("uri", "value", "refused"),
    [
        ("https://mlflow.example", "true", True),
        ("https://mlflow.example", "1", True),
        ("https://mlflow.example", "false", False),
        ("https://mlflow.example", "", False),
        ("http://mlflow.example", "true", False),
        ("sqlite:///mlflow.db", "true", False),
    ],
)
def test_trusting_anybody_is_refused_aloud_where_it_would_matter(uri: str, value: str, *, refused: bool) -> None:
    environ = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_INSECURE_TLS": value}
    if not refused:
        load_config(None, exporter_types=PLUGINS.config_types, environ=environ)
        return
    with pytest.raises(ConfigError, match=r"^MLFLOW_TRACKING_INSECURE_TLS: is not obeyed: .* set mlflow\.ca_file"):
        load_config(None, exporter_types=PLUGINS.config_types, environ=environ)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_carries_what_no_proxy_does_not_exempt(
    scheme: str, strict: TlsServer, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks_proxy(b"me", b"hidden-word") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://me:hidden-word@127.0.0.1:{proxy.port}")
        client = HttpClient(**files)
        assert get(client, strict) == 200
        assert proxy.asked == [strict.url.removeprefix("https://")]
        client.close()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        client = HttpClient(**files)
        assert get(client, strict) == 200
        assert len(proxy.asked) == 1
        client.close()


@pytest.mark.parametrize(
    "proxy",
    [
        "http://me:hidden-word@127.0.0.1:1",
        "socks5://me:hidden-word@127.0.0.1:1",
        "http://me:hidden-word@",
        "socks5://{}",
    ],
)
def test_a_proxy_that_fails_is_one_line_without_its_password(
    proxy: str, strict: TlsServer, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks_proxy(b"me", b"other") as strange:
        monkeypatch.setenv("HTTPS_PROXY", proxy.format(f"me:hidden-word@127.0.0.1:{strange.port}"))
        client = HttpClient(**files)
        with pytest.raises(HttpFailedError, match="proxy") as failed:
            get(client, strict)
        assert "hidden-word" not in str(failed.value)
        assert "\n" not in str(failed.value)
        client.close()


def test_without_the_extra_a_socks_proxy_is_one_clear_line(
    strict: TlsServer, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from requests import adapters, exceptions

    def missing(*_: object, **__: object) -> None:
        raise exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    # What requests has in its place where PySocks is not installed.
    monkeypatch.setattr(adapters, "SOCKSProxyManager", missing)
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:hidden-word@127.0.0.1:1")
    client = HttpClient(**files)
    with pytest.raises(HttpFailedError, match=r"pip install 'mlflow-monitoring-exporter\[socks\]'"):
        get(client, strict)
    client.close()
