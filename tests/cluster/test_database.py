"""The database that replicas share: away, late, wrong, or used by a command beside them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import LEASE, Replicas
from tests.cluster.test_replicas import check
from tests.parts.command import run
from tests.parts.databases import PostgresServer
from tests.parts.growing_store import Store
from tests.parts.pgbouncer import pgbouncer
from tests.parts.strict_peer import StrictPeer

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def store(replicas: Replicas, tmp_path: Path) -> Store:
    store = Store(tmp_path / "mlflow.db", experiments=3, runs=2)
    store.log(5)
    replicas.environment = {**replicas.environment, "MLFLOW_TRACKING_URI": store.uri}
    return store


def test_an_outage_of_the_database_is_told_and_outlived(
    replicas: Replicas, store: Store, peer: StrictPeer, server: PostgresServer
) -> None:
    both = [replicas.start(), replicas.start()]
    replicas.wait_for(lambda: all(daemon.get("readyz").ok for daemon in both))
    replicas.wait_for(lambda: len(peer.samples) == len(store.truth))
    server.stop()
    try:
        store.log(5)
        for daemon in both:
            daemon.wait_for(lambda daemon=daemon: not daemon.components()["replica"]["ready"])  # type: ignore[misc]
            assert "the state database postgresql://127.0.0.1" in daemon.components()["replica"]["reason"]
            assert daemon.get("readyz").status_code == 503
            assert daemon.get("livez").ok
        time.sleep(LEASE)
        assert replicas.owner() is None, "who cannot reach the database does not know whose turn it is"
    finally:
        server.start()
    replicas.wait_for(lambda: all(daemon.get("readyz").ok for daemon in both))
    replicas.wait_for(lambda: len(peer.samples) == len(store.truth))
    check(peer, store)
    for daemon in both:
        assert daemon.stop() == 0
        assert "correct" not in daemon.log.read_text(), "no word of the password"


def test_a_database_that_comes_later_than_the_replicas_is_waited_for(
    replicas: Replicas, store: Store, peer: StrictPeer, server: PostgresServer
) -> None:
    server.stop()
    try:
        daemon = replicas.start()
        daemon.wait_for(lambda: "cannot be used now" in daemon.components()["state"]["reason"])
        assert daemon.get("livez").ok
    finally:
        server.start()
    daemon.wait_for(lambda: daemon.get("readyz").ok)
    daemon.wait_for(lambda: len(peer.samples) == len(store.truth))


def test_a_wrong_password_ends_a_replica_with_one_line(replicas: Replicas, store: Store, tmp_path: Path) -> None:
    wrong = {**replicas.environment, "MLFLOW_EXPORTER_STATE__PASSWORD": "battery staple"}
    done = run("continuous", "--set", "web.listen=127.0.0.1:0", cwd=tmp_path, env=wrong)
    assert done.code == 1
    assert "refuses to be used" in done.err
    assert "check state.url" in done.err
    assert "staple" not in done.err
    assert "horse" not in done.err


def test_a_password_may_come_from_a_file(replicas: Replicas, store: Store, tmp_path: Path) -> None:
    from tests.parts.databases import PASSWORD

    url = replicas.environment["MLFLOW_EXPORTER_STATE__URL"]
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    replicas.environment = {
        **replicas.environment,
        "MLFLOW_EXPORTER_STATE__URL": url.replace(PASSWORD.replace(" ", "%20"), "wrong"),
        "MLFLOW_EXPORTER_STATE__PASSWORD_FILE": str(tmp_path / "password"),
    }
    daemon = replicas.start()
    daemon.wait_for(lambda: daemon.get("readyz").ok)


def test_commands_work_on_the_database_that_replicas_share(
    replicas: Replicas, store: Store, peer: StrictPeer, tmp_path: Path
) -> None:
    env = replicas.environment
    done = run("queue", "list", cwd=tmp_path, env=env)
    assert done.code == 1
    assert "nothing was queued in the state database postgresql://127.0.0.1" in done.err
    done = run("check", "--output", "json", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    assert "nothing was queued" in run("queue", "list", cwd=tmp_path, env=env).err, "a check changes nothing"
    done = run("export-once", "--output", "json", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    assert len(peer.samples) == len(store.truth)
    (queue,) = json.loads(run("queue", "list", "--output", "json", cwd=tmp_path, env=env).out)["queues"]
    assert (queue["queued"], queue["delivered"]) == (0, len(store.truth))
    daemon = replicas.start()
    replicas.wait_for(lambda: replicas.owner() is not None)
    done = run("export-once", cwd=tmp_path, env=env)
    assert done.code == 1
    assert f"is in use by {daemon_name(daemon.process.pid)}" in done.err
    (delivered,) = [
        found["delivered"]
        for found in json.loads(run("check", "--output", "json", cwd=tmp_path, env=env).out)["exporters"]
        if found["name"] == "pramathus"
    ]
    assert delivered == 0, "there is nothing new"
    check(peer, store)


def daemon_name(pid: int) -> str:
    import socket

    return f"{socket.gethostname()}/{pid}"


def test_replicas_work_behind_a_pool_of_sessions(
    replicas: Replicas, store: Store, peer: StrictPeer, database: str
) -> None:
    with pgbouncer(database, pool_mode="session") as url:
        replicas.environment = {**replicas.environment, "MLFLOW_EXPORTER_STATE__URL": url}
        both = [replicas.start(), replicas.start()]
        replicas.wait_for(lambda: all(daemon.get("readyz").ok for daemon in both))
        replicas.wait_for(lambda: len(peer.samples) == len(store.truth))
        store.log(5)
        replicas.wait_for(lambda: len(peer.samples) == len(store.truth))
        check(peer, store)
        replicas.stop()


def test_a_pool_of_transactions_ends_a_replica_with_one_line_of_advice(
    replicas: Replicas, store: Store, database: str, tmp_path: Path
) -> None:
    with pgbouncer(database, pool_mode="transaction") as url:
        done = run(
            "continuous",
            "--set",
            "web.listen=127.0.0.1:0",
            cwd=tmp_path,
            env={**replicas.environment, "MLFLOW_EXPORTER_STATE__URL": url},
        )
    assert done.code == 1
    assert "pool_mode = transaction" in done.err
    assert "let state.url name PostgreSQL itself, or a pool with pool_mode = session" in done.err
    assert "horse" not in done.err
