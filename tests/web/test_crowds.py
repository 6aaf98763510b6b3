"""Clients that do not finish what they begin, against the real daemon with few file descriptors."""

from __future__ import annotations

import random
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import trustme

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import Family, Series, Snapshot
from mlflow_monitoring_exporter.exporters.builtin.prometheus import PrometheusConfig, PrometheusExporter
from mlflow_monitoring_exporter.web import connections
from tests.parts.command import Daemon, background, continuous
from tests.parts.growing_store import Store, sending
from tests.parts.programs import free_port, need
from tests.parts.strict_peer import StrictPeer, strict_peer
from tests.web.test_pages import serving

#: File descriptors of the daemon, and connections of the crowd.
FILES, CROWD = 128, 200


@dataclass
class Scene:
    """A daemon that delivers, and how much it has logged so far."""

    daemon: Daemon
    store: Store
    peer: StrictPeer
    lines: int = 0

    def deliver(self) -> None:
        """What is logged now arrives."""
        self.store.log(5)
        self.daemon.wait_for(lambda: len(self.peer.samples) == len(self.store.truth))

    def said(self) -> list[str]:
        """New lines of the log."""
        lines = self.daemon.log.read_text().splitlines()
        new, self.lines = lines[self.lines :], len(lines)
        return new


@contextmanager
def delivering(here: Path, *arguments: str) -> Iterator[Scene]:
    store = Store(here / "mlflow.db")
    few = (need("prlimit"), f"--nofile={FILES}")
    with strict_peer() as peer, continuous(*arguments, cwd=here, env=sending(store, peer), through=few) as daemon:
        scene = Scene(daemon, store, peer)
        scene.deliver()
        scene.said()
        yield scene
        assert daemon.stop() == 0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with delivering(tmp_path_factory.mktemp("crowds")) as running:
        yield running


def connect(daemon: Daemon) -> socket.socket:
    port = int(daemon.url.rpartition(":")[2])
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return connection


def say(connection: socket.socket, words: bytes) -> None:
    with suppress(OSError):  # closed already, to make room
        connection.sendall(words)


def close_all(opened: list[socket.socket]) -> None:
    for connection in opened:
        connection.close()


@contextmanager
def crowd(daemon: Daemon, words: bytes, drip: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that say ``words``, and then nothing, or ``drip`` again and again; a closed one comes again."""
    over = threading.Event()
    opened: list[socket.socket] = []

    def press() -> None:
        while not over.wait(0.5):
            for at, connection in enumerate(opened):
                if over.is_set():
                    return
                if select.select([connection], [], [], 0)[0] and not drip:
                    with suppress(OSError):
                        fresh = connect(daemon)
                        say(fresh, words)
                        connection.close()
                        opened[at] = fresh
                else:
                    say(connection, drip)

    with ExitStack() as closing:
        closing.callback(close_all, opened)
        for _ in range(CROWD):
            opened.append(connect(daemon))
            say(opened[-1], words)
        thread = threading.Thread(target=press, daemon=True)
        if drip != NEVER:
            thread.start()
        try:
            yield opened
        finally:
            over.set()
            if thread.ident:
                thread.join()


#: Says nothing more, and does not come again.
NEVER = b"never"
CROWDS = {
    "no byte": (b"", b""),
    "half a request line": (b"GET /met", b""),
    "half the headers": (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: b\r\n", b""),
    "one byte at a time": (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ", b"x"),
    "a body that never comes": (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b""),
    "a body one byte at a time": (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "idle after an answer": (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "an answer that is not read": (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 4, NEVER),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n" * 10, b""),
}


@pytest.mark.parametrize("kind", CROWDS)
def test_a_crowd_that_does_not_finish_its_requests_keeps_no_one_out(kind: str, scene: Scene) -> None:
    daemon = scene.daemon
    with crowd(daemon, *CROWDS[kind]):
        for _ in range(5):
            assert requests.get(f"{daemon.url}/livez", timeout=30).text == "ok\n"
            assert "mlflow_exporter_build_info" in requests.get(f"{daemon.url}/metrics", timeout=30).text
        scene.deliver()
        used = len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
        assert used < FILES - 20, "some are kept for our own work"
    daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
    lines = scene.said()
    assert len(lines) < 20, "\n".join(lines[:100])
    assert sum("too many connections" in line for line in lines) <= 1


def test_a_tls_handshake_that_is_not_finished_keeps_no_one_out(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = str(tmp_path / "both.pem")
    listen = ("--set", f"web.listen=127.0.0.1:{free_port()}")
    tls = ("--set", f"web.tls_cert_file={pem}", "--set", f"web.tls_key_file={pem}")
    few = (need("prlimit"), f"--nofile={FILES}")
    with background("continuous", *listen, *tls, cwd=tmp_path, through=few) as started:
        daemon = Daemon(started.process, started.log, listen[1].replace("web.listen=", "https://"))

        def answers() -> bool:
            found = requests.get(f"{daemon.url}/livez", timeout=10, verify=str(tmp_path / "ca.pem"))
            return found.text == "ok\n"

        daemon.wait_for(answers)
        before = len(daemon.log.read_text().splitlines())
        # Nothing at all; the beginning of a handshake; no TLS.
        for words in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /metrics HTTP/1.1\r\n\r\n"):
            with crowd(daemon, words):
                assert all(answers() for _ in range(5))
        assert len(daemon.log.read_text().splitlines()) - before < 20
        assert daemon.stop(within=10) == 0


def heard_until_closed(connection: socket.socket) -> bytes:
    """Everything that comes until the other side closes."""
    connection.settimeout(30)
    got = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            got += part
    return got


@pytest.mark.parametrize("words", [words for words, _ in CROWDS.values() if not words.startswith(b"\x16")])
def test_who_is_late_is_closed(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST", 0.3)
    with serving() as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(words)
        heard_until_closed(connection)


def test_a_byte_now_and_then_buys_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST", 1.0)
    with serving() as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        end = time.monotonic() + 30
        with suppress(ConnectionError):
            while True:
                connection.sendall(b"x")
                time.sleep(0.1)
                assert time.monotonic() < end


def large_page() -> PrometheusExporter:
    """Some 20 MB, as they are and compressed."""
    exporter = PrometheusExporter(PrometheusConfig(type="prometheus"))
    label = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=20_000))
    family = Family("mlflow_large", "gauge", "", ("run_id",), tuple(Series((f"{n}{label}",), n) for n in range(1000)))
    exporter.export(Snapshot({"1": (family,)}), deadline=Deadline.after(60))
    return exporter


def test_an_answer_that_is_not_read_ends_and_costs_no_copy_of_a_large_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER", 8.0)
    with serving(scraped=[large_page()]) as url, ExitStack() as closing:
        requests.get(f"{url}/metrics", timeout=30)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        readers = []
        for _ in range(50):
            reader = closing.enter_context(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))))
            reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            readers.append(reader)
        assert requests.get(f"{url}/livez", timeout=30).text == "ok\n"
        assert len(requests.get(f"{url}/metrics", timeout=30).content) > 20_000_000
        # A copy for each of them would be a thousand MB.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000
        time.sleep(9)
        for reader in readers:
            reader.settimeout(30)
            assert len(heard_until_closed(reader)) < 20_000_000
