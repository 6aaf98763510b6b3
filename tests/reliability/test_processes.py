"""The whole daemon under kills, damage, a full disk and a clock that jumps: nothing that was read is lost."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.bad_server import answer
from tests.parts.command import Daemon, background, continuous, run
from tests.parts.growing_store import Store, arrived, sending
from tests.parts.programs import free_port
from tests.parts.pushgateway import pushgateway_at
from tests.parts.scaled import scaled
from tests.parts.strict_peer import StrictPeer

pytestmark = pytest.mark.timeout(900)


def metric(daemon: Daemon, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", daemon.get("metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def everything_arrived(peer: StrictPeer, store: Store) -> bool:
    return len(peer.samples) >= len(store.truth)


def check(peer: StrictPeer, store: Store) -> None:
    """Everything arrived, exactly as it was logged, and after batches are counted once, once."""
    peer.accept_all_or_fail()
    found = arrived(peer)
    assert set(found) == store.truth
    assert len(found) == len(store.truth)


def test_kill_9_at_any_instant_loses_nothing(store: Store, peer: StrictPeer, tmp_path: Path) -> None:
    env = sending(store, peer)
    dice = random.Random(4)
    for _ in range(scaled(6, 100)):
        store.log(dice.randrange(1, 60))
        with background("continuous", "--set", "web.listen=127.0.0.1:0", cwd=tmp_path, env=env) as daemon:
            # From before the state is opened until after everything was acknowledged.
            time.sleep(dice.uniform(0.7, 2.5))
            daemon.stop(signal.SIGKILL)
    with continuous(cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(lambda: everything_arrived(peer, store))
        daemon.wait_for(lambda: metric(daemon, 'mlflow_exporter_queue_samples{exporter="pramathus"}') == 0)
        enqueued = metric(daemon, 'mlflow_exporter_samples_enqueued_total{exporter="pramathus"}')
        delivered = metric(daemon, 'mlflow_exporter_samples_delivered_total{exporter="pramathus"}')
        assert enqueued == delivered == len(store.truth), "the counters survived the kills, too"
    check(peer, store)


@pytest.mark.parametrize("damage", ["torn", "zeroed", "removed while it runs"])
def test_a_damaged_state_file_is_set_aside_and_the_daemon_goes_on(
    store: Store, peer: StrictPeer, tmp_path: Path, damage: str
) -> None:
    env = {**sending(store, peer), "MLFLOW_EXPORTER_LOGGING__AUDIT_FILE": "audit.log"}
    state = tmp_path / "exporter-state.db"
    store.log(200)
    with continuous(cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(lambda: everything_arrived(peer, store))
        if damage == "removed while it runs":
            state.unlink()
            daemon.wait_for(state.exists)
        else:
            assert daemon.stop() == 0
    if damage != "removed while it runs":
        content = state.read_bytes()
        state.write_bytes(content[: len(content) // 2] if damage == "torn" else bytes(4096) + content[4096:])
    store.log(5)
    peer.batches.clear()
    with continuous(cwd=tmp_path, env=env) as daemon:
        if damage != "removed while it runs":
            assert metric(daemon, "mlflow_exporter_state_resets_total") == 1
            assert list(tmp_path.glob("exporter-state.db.damaged-*"))
            assert "state file set aside" in (tmp_path / "audit.log").read_text()
        daemon.wait_for(lambda: {*arrived(peer)} >= {item for item in store.truth if item[2] >= 200})
        daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
        assert daemon.stop() == 0


def test_after_a_lost_state_each_sample_has_the_identity_that_it_had(
    store: Store, peer: StrictPeer, tmp_path: Path
) -> None:
    env = sending(store, peer)
    state = tmp_path / "exporter-state.db"
    store.log(50)
    with continuous(cwd=tmp_path, env=env) as daemon:
        for _ in range(3):
            daemon.wait_for(lambda: everything_arrived(peer, store))
            store.log(5)
        daemon.wait_for(lambda: everything_arrived(peer, store))
        assert daemon.stop() == 0
    before, first = set(peer.batches), identities(peer)
    state.write_bytes(bytes(4096) + state.read_bytes()[4096:])
    with continuous(cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(lambda: len(peer.samples) >= 2 * len(store.truth))
        assert daemon.stop() == 0
    peer.accept_all_or_fail()
    assert len(first) == len(store.truth) == len(peer.samples) / 2
    assert identities(peer) == first, "a sink that knows a sample by it has each once"
    assert set(peer.batches) > before, "other batches, as the decision says"


def identities(peer: StrictPeer) -> set[str]:
    """What a sample is in all its life: server, run, key, step, time and value."""
    names = ("server", "run_id", "step", "nonfinite")
    return {
        json.dumps([s["name"], s["value"], s["timestamp"], *(s["metadata"].get(name) for name in names)])
        for s in peer.samples
    }


def test_a_platform_that_asks_for_a_pause_has_it_whatever_becomes_of_the_daemon(
    store: Store, peer: StrictPeer, tmp_path: Path
) -> None:
    env = sending(store, peer)
    store.log(5)
    peer.trouble_with_batches = answer(503, {"Retry-After": "600"})
    waits = "asked to retry after"

    def reason(daemon: Daemon) -> str:
        return str(daemon.get("readyz").json()["components"]["exporters.pramathus"].get("reason"))

    with continuous(cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(lambda: "503" in reason(daemon))
        assert daemon.stop() == 0
    asked = len(peer.requests)
    with continuous(cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(lambda: waits in reason(daemon))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for_log("configuration reloaded")
        daemon.wait_for(lambda: waits in reason(daemon))
        store.log(5)
        daemon.wait_for(
            lambda: metric(daemon, 'mlflow_exporter_queue_samples{exporter="pramathus"}') == len(store.truth)
        )
        assert daemon.stop() == 0
    once = run("export-once", cwd=tmp_path, env=env)
    assert once.code == 1
    assert waits in once.err
    assert len(peer.requests) == asked, "nobody sent anything, and nobody asked"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_stops_reading_and_is_recovered_from(
    store: Store, peer: StrictPeer, small_disk: Path, tmp_path: Path
) -> None:
    env = {**sending(store, peer), "MLFLOW_EXPORTER_STATE__URL": f"sqlite:///{small_disk}/state.db"}
    store.log(100)
    with continuous(cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(lambda: everything_arrived(peer, store))
        ballast = small_disk / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
        store.log(500)
        daemon.wait_for(lambda: not daemon.components()["state"]["ready"])
        assert "is full" in daemon.components()["state"]["reason"]
        assert daemon.get("livez").status_code == 200
        ballast.unlink()
        daemon.wait_for(lambda: everything_arrived(peer, store), within=90)
        daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
        assert daemon.stop() == 0
    check(peer, store)


def test_a_disk_that_becomes_read_only_is_told_and_recovered_from(
    store: Store, peer: StrictPeer, small_disk: Path, tmp_path: Path
) -> None:
    env = {**sending(store, peer), "MLFLOW_EXPORTER_STATE__URL": f"sqlite:///{small_disk}/state.db"}
    store.log(50)
    with continuous(cwd=tmp_path, env=env) as daemon:
        daemon.wait_for(lambda: everything_arrived(peer, store))
        # An open file keeps its own mount writable, so an empty read-only disk goes over it.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", small_disk], check=True)
        try:
            store.log(10)
            daemon.wait_for(lambda: not daemon.components()["state"]["ready"])
            assert daemon.get("livez").status_code == 200
        finally:
            subprocess.run(["umount", small_disk], check=True)
        daemon.wait_for(lambda: everything_arrived(peer, store))
        daemon.wait_for(lambda: daemon.get("readyz").status_code == 200)
        assert daemon.stop() == 0
    peer.accept_all_or_fail()
    assert set(arrived(peer)) == store.truth


def test_a_clock_that_jumps_by_hours_changes_nothing(store: Store, peer: StrictPeer, tmp_path: Path) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        assert "CI" not in os.environ, "libfaketime is not installed"
        pytest.skip("libfaketime is not installed")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    env = {
        **sending(store, peer),
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",  # s; without a cache each look at the clock reads the file
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    polls = 'mlflow_exporter_polls_total{result="ok"}'
    told = "wall clock changed; polling now"
    with continuous(cwd=tmp_path, env=env) as daemon:
        for jumps, clock_now in enumerate(("+0", "+2h", "-2h")):
            clock.write_text(clock_now)
            store.log(10)
            # The daemon looks once a second: a jump taken back before that was never one.
            daemon.wait_for(lambda jumps=jumps: daemon.log.read_text().count(told) >= jumps, within=90)  # type: ignore[misc]
            daemon.wait_for(lambda: everything_arrived(peer, store), within=90)
            before = metric(daemon, polls)
            daemon.wait_for(lambda before=before: metric(daemon, polls) > before + 3, within=90)  # type: ignore[misc]
        assert daemon.stop() == 0
    check(peer, store)


def test_a_pushgateway_that_lost_everything_has_it_back_by_the_next_poll(store: Store, tmp_path: Path) -> None:
    port = free_port()
    env = {
        "MLFLOW_TRACKING_URI": store.uri,
        "PROMETHEUS_GATEWAY": f"127.0.0.1:{port}",
        "MLFLOW_EXPORTER_EXPORT__INTERVAL": "200ms",
    }
    store.log(3)
    with continuous(cwd=tmp_path, env=env) as daemon:
        for _ in range(scaled(2, 5)):
            with pushgateway_at(port, tmp_path) as gateway:
                try:
                    daemon.wait_for(lambda: len(gateway.series()) == 6, within=90)  # pauses may be a minute
                except AssertionError as error:
                    held = f"{gateway.groups()}\n{gateway.series()}\n{daemon.components()}"
                    raise AssertionError(f"{error}\nthe gateway holds {held}") from None
            daemon.wait_for(lambda: not daemon.components()["exporters.pushgateway"]["ready"], within=90)
        assert daemon.stop() == 0


def test_a_refused_sample_can_be_seen_replayed_and_purged(store: Store, peer: StrictPeer, tmp_path: Path) -> None:
    env = {**sending(store, peer), "MLFLOW_EXPORTER_LOGGING__AUDIT_FILE": "audit.log"}
    peer.trouble_with_batches = answer(422, body=b"unknown metric")
    for _ in range(2):
        store.log(2)
        assert run("export-once", cwd=tmp_path, env=env).code == 1
    listed = run("queue", "list", cwd=tmp_path, env=env)
    assert "answered HTTP 422" in listed.out
    shown = run("queue", "show", "1", cwd=tmp_path, env=env)
    assert '"status": 422' in shown.out
    assert peer.token not in listed.out + shown.out
    peer.trouble_with_batches = None
    assert run("queue", "purge", "1", "--yes", cwd=tmp_path, env=env).code == 0
    assert run("queue", "replay", "--all", cwd=tmp_path, env=env).code == 0
    assert run("export-once", cwd=tmp_path, env=env).code == 0
    assert len(peer.samples) == len(store.truth) // 2
    assert '"dead_letters": []' in run("queue", "list", "--output", "json", cwd=tmp_path, env=env).out
    trail = (tmp_path / "audit.log").read_text()
    assert "dead letters purged" in trail
    assert "dead letters replayed" in trail
