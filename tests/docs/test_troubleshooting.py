"""The page of troubles quotes what the software really prints: each trouble is made here."""

from __future__ import annotations

import re
import resource
import socket
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
import trustme
from sqlalchemy import create_engine, text

from mlflow_monitoring_exporter.state.database import Database
from tests.docs.pages import ROOT, rows, section
from tests.parts.bad_server import Behaviour, answer, bad_server, cut_short, html
from tests.parts.command import Daemon, continuous, run
from tests.parts.databases import driver_url, postgresql
from tests.parts.pgbouncer import pgbouncer
from tests.parts.programs import free_port
from tests.web.test_probes import probe

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


def refused(here: Path) -> str:
    return run("check", "--tracking-uri", f"http://127.0.0.1:{free_port()}", cwd=here).err


def other_host(here: Path) -> str:
    # As MLflow says it.
    with bad_server(answer(403, body=b"Invalid Host header - possible DNS rebinding attack detected")) as server:
        return run("check", "--tracking-uri", server.url, cwd=here).err


def another_service(here: Path) -> str:
    with bad_server(answer(200, {"Content-Type": "application/json"}, b'{"status": "ok"}')) as server:
        return run("check", "--tracking-uri", server.url, cwd=here).err


def no_store(here: Path) -> str:
    return run("check", cwd=here).err


def misspelled(here: Path) -> str:
    return run("config", "validate", "--set", "export.intervall=5s", cwd=here).err


def port_in_use(here: Path) -> str:
    with continuous(cwd=here) as daemon:
        listen = f"web.listen={daemon.url.removeprefix('http://')}"
        return run("continuous", "--set", listen, "--set", "state.url=sqlite:///other.db", cwd=here).err


def state_in_use(here: Path) -> str:
    with continuous(cwd=here):
        return run("continuous", "--set", f"web.listen=127.0.0.1:{free_port()}", cwd=here).err


def no_daemon(here: Path) -> str:
    return probe("ready", {"MLFLOW_EXPORTER_WEB__LISTEN": f"127.0.0.1:{free_port()}"}, here)[1]


def database_away(here: Path) -> str:
    return run("export-once", "--set", f"state.url=postgresql://me@127.0.0.1:{free_port()}/state", cwd=here).err


def database_refuses(here: Path) -> str:
    with postgresql() as url:
        return run("export-once", "--set", f"state.url={url}", "--set", "state.password=wrong", cwd=here).err


def database_in_use(here: Path) -> str:
    with postgresql() as url, continuous("--set", f"state.url={url}", cwd=here) as daemon:
        daemon.wait_for(lambda: daemon.components()["replica"]["ready"])
        return run("export-once", "--set", f"state.url={url}", cwd=here).err


def database_behind_a_pool(here: Path) -> str:
    with postgresql() as url, pgbouncer(url, pool_mode="transaction") as pooled:
        return run("export-once", "--set", f"state.url={pooled}", cwd=here).err


def another_release(here: Path, schema: int) -> str:
    Database(f"sqlite:///{here}/exporter-state.db").close()
    with closing(sqlite3.connect(here / "exporter-state.db")) as state, state:
        state.execute("UPDATE meta SET value = ? WHERE key = 'schema'", [schema])
    return run("queue", "list", cwd=here).err


def too_many_exporters(here: Path) -> str:
    names = "\n".join(f"  file-{n}: {{type: file, path: {n}.jsonl}}" for n in range(64))
    (here / "config.yaml").write_text(f"exporters:\n{names}\n")
    return run("export-once", cwd=here).err


def other_file(here: Path, name: str) -> str:
    (here / "notes.txt").write_text("my shopping list")
    with sqlite3.connect(here / "other.db") as other:
        other.execute("CREATE TABLE runs (run_uuid TEXT)")
    other.close()
    return run("export-once", "--set", f"state.url=sqlite:///{name}", cwd=here).err


def given_up(here: Path) -> str:
    with postgresql() as url, continuous("--set", f"state.url={url}", cwd=here) as daemon:
        daemon.wait_for(lambda: daemon.components()["replica"]["ready"])
        engine = create_engine(driver_url(url))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM mlflow_exporter.replica"))
        engine.dispose()
        daemon.wait_for_log("lease expired; rejoining")
        daemon.wait_for(lambda: daemon.components()["replica"]["ready"])
        return daemon.log.read_text()


def login_page(here: Path) -> str:
    return _sink_that_answers(html(), here)


def cut_answer(here: Path) -> str:
    return _sink_that_answers(cut_short(), here)


def _sink_that_answers(behaviour: Behaviour, here: Path) -> str:
    with bad_server(behaviour) as server:
        sink = {"PRAMATHUS_ENDPOINT": server.url, "PRAMATHUS_API_KEY": "key", "PRAMATHUS_ENABLED": "true"}
        said = run("check", cwd=here, env=sink)
    return said.out + said.err


def too_many_connections(here: Path) -> str:
    with continuous(cwd=here) as daemon, ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(connection_to(daemon))
        daemon.wait_for_log("too many connections")
        return daemon.log.read_text()


def no_descriptor_left(here: Path) -> str:
    with continuous(cwd=here) as daemon:
        daemon.wait_for_log("started")
        _, most = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, most))
        with connection_to(daemon):
            daemon.wait_for_log("no connection can be accepted")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (most, most))
        daemon.wait_for(lambda: daemon.get("livez").ok)
        return daemon.log.read_text()


def connection_to(daemon: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(daemon.url.rpartition(":")[2])))


def too_many_aliases(here: Path) -> str:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (here / "config.yaml").write_text("\n".join(["a0: &a0 x", *levels]))
    return run("config", "validate", cwd=here).err


def another_key(here: Path) -> str:
    one, other = (trustme.CA().issue_cert("exporter.example") for _ in range(2))
    one.cert_chain_pems[0].write_to_path(here / "tls.crt")
    other.private_key_pem.write_to_path(here / "tls.key")
    (here / "config.yaml").write_text("mlflow: {client_cert_file: tls.crt, client_key_file: tls.key}\n")
    return run("config", "validate", cwd=here).err


def insecure(here: Path) -> str:
    environ = {"MLFLOW_TRACKING_URI": "https://mlflow.example", "MLFLOW_TRACKING_INSECURE_TLS": "true"}
    return run("config", "validate", cwd=here, env=environ).err


TROUBLES: dict[str, Callable[[Path], str]] = {
    "cannot be reached: connection refused": refused,
    "does not answer under this host name": other_host,
    "answers, but not as MLflow does": another_service,
    "no MLflow store at": no_store,
    "is that a login page?": login_page,
    "the answer was cut short": cut_answer,
    "unknown key; did you mean": misspelled,
    "aliases unfold into too many values": too_many_aliases,
    "the key is not that of the certificate": another_key,
    "MLFLOW_TRACKING_INSECURE_TLS: is not obeyed": insecure,
    "Address already in use": port_in_use,
    "nothing listens on": no_daemon,
    "too many connections": too_many_connections,
    "no connection can be accepted": no_descriptor_left,
    "the state file ... is in use by process": state_in_use,
    "the state database ... cannot be used now": database_away,
    "the state database ... refuses to be used": database_refuses,
    "is behind a pool that shares sessions": database_behind_a_pool,
    "was written by release ... continuous and export-once of this release upgrade it": partial(
        another_release, schema=5
    ),
    "was written by release ... which knows schemas up to": partial(another_release, schema=99),
    "exporters that receive every sample share this state": too_many_exporters,
    "is not a state file of this program": partial(other_file, name="notes.txt"),
    "is another program's database": partial(other_file, name="other.db"),
    "the state database ... is in use by": database_in_use,
    "lease expired; rejoining": given_up,
}


def test_every_message_of_the_page_is_made_below() -> None:
    assert rows(section(PAGE, "What it prints")).keys() == TROUBLES.keys()


@pytest.mark.parametrize("message", TROUBLES)
def test_the_software_says_what_the_page_says(message: str, tmp_path: Path) -> None:
    said = TROUBLES[message](tmp_path)
    assert re.search(".*".join(map(re.escape, message.split("..."))), said), said
