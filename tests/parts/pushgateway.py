"""A real Pushgateway, and what it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import trustme
from prometheus_client.parser import text_string_to_metric_families

from mlflow_monitoring_exporter.prometheus.families import OURS
from tests.parts.programs import free_port, need, running

_OURS = {spec.name for spec in OURS}
USER, PASSWORD = "pusher", "gateway-password"
_PASSWORD_HASH = "$2b$04$abcdefghijklmnopqrstuuI0EVCxk/RrYgEz8Sv5UwNgivC34N6Z2"


@dataclass(frozen=True, slots=True)
class Pushgateway:
    url: str

    @property
    def address(self) -> str:
        """``host:port``"""
        return self.url.removeprefix("http://")

    def text(self) -> str:
        return requests.get(f"{self.url}/metrics", timeout=10).text

    def series(self) -> list[tuple[str, Mapping[str, str], float]]:
        """Name, labels and value of every metric of a run; aggregates and all else are left out."""
        families = text_string_to_metric_families(self.text())
        return [
            (sample.name, sample.labels, float(sample.value))
            for family in families
            for sample in family.samples
            if sample.name.startswith("mlflow_") and "metric" in sample.labels and sample.name not in _OURS
        ]

    def groups(self) -> list[Mapping[str, str]]:
        """The labels of every group."""
        answer: Any = requests.get(f"{self.url}/api/v1/metrics", timeout=10).json()
        return [group["labels"] for group in answer["data"]]

    def pushed(self) -> list[tuple[Mapping[str, str], float]]:
        """The labels of every group, and when it was pushed last, in Unix seconds."""
        answer: Any = requests.get(f"{self.url}/api/v1/metrics", timeout=10).json()
        return [(g["labels"], float(g["push_time_seconds"]["metrics"][0]["value"])) for g in answer["data"]]

    def clear(self) -> None:
        """Delete every group."""
        assert requests.put(f"{self.url}/api/v1/admin/wipe", timeout=10).status_code == 202
        while self.groups():
            pass


@contextmanager
def pushgateway(directory: Path) -> Iterator[Pushgateway]:
    """On a free port of 127.0.0.1; its log is in ``directory``."""
    with pushgateway_at(free_port(), directory) as started:
        yield started


@contextmanager
def pushgateway_at(port: int, directory: Path) -> Iterator[Pushgateway]:
    """On this port; it begins empty."""
    url = f"http://127.0.0.1:{port}"
    with _started(url, directory):
        yield Pushgateway(url)


@contextmanager
def guarded_pushgateway(directory: Path, certificate: trustme.LeafCert) -> Iterator[str]:
    """The URL of one that speaks TLS, and lets only USER with PASSWORD in."""
    chain, key, settings = (directory / name for name in ("chain.pem", "key.pem", "web.yml"))
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    tls = {"cert_file": str(chain), "key_file": str(key)}
    # JSON is YAML.
    settings.write_text(json.dumps({"tls_server_config": tls, "basic_auth_users": {USER: _PASSWORD_HASH}}))
    url = f"https://127.0.0.1:{free_port()}"
    with _started(url, directory, f"--web.config.file={settings}"):
        yield url


@contextmanager
def strict_pushgateway(
    directory: Path,
    certificate: trustme.LeafCert,
    clients: trustme.CA,
    *,
    client_cert_file: Path,
    client_key_file: Path,
) -> Iterator[str]:
    """The URL of one that lets only those in whose certificate ``clients`` signed; the files are of one of them."""
    chain, key, authority, settings = (directory / f"gateway-{name}" for name in ("chain", "key", "clients", "web.yml"))
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    clients.cert_pem.write_to_path(authority)
    tls = {
        "cert_file": str(chain),
        "key_file": str(key),
        "client_ca_file": str(authority),
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    settings.write_text(json.dumps({"tls_server_config": tls}))
    url = f"https://127.0.0.1:{free_port()}"
    arguments = (f"--web.config.file={settings}",)
    with _started(url, directory, *arguments, shown=(str(client_cert_file), str(client_key_file))):
        yield url


@contextmanager
def _started(url: str, directory: Path, *arguments: str, shown: tuple[str, str] | None = None) -> Iterator[None]:
    address = url.partition("//")[2]
    command = [
        need("prometheus-pushgateway"),
        f"--web.listen-address={address}",
        "--web.enable-admin-api",
        "--persistence.file=",  # Debian's default is a file that every gateway of the machine would share
        *arguments,
    ]
    with running(command, log=directory / "pushgateway.log", ready_url=f"{url}/-/ready", certificate=shown):
        yield
