"""Many replicas do together what one does alone: each sample once, each gauge once, whatever becomes of them."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.conftest import LEASE, Replicas
from tests.parts.databases import PostgresServer
from tests.parts.growing_store import Store, arrived
from tests.parts.scaled import scaled
from tests.parts.strict_peer import StrictPeer

pytestmark = pytest.mark.timeout(3600)


def check(peer: StrictPeer, *stores: Store) -> None:
    """Everything arrived, exactly as it was logged, and after batches are counted once, once."""
    peer.accept_all_or_fail()
    found = arrived(peer)
    assert set(found) == {item for store in stores for item in store.truth}
    assert len(found) == sum(len(store.truth) for store in stores)


def test_three_that_start_together_on_nothing_deliver_what_one_would(
    replicas: Replicas, peer: StrictPeer, tmp_path: Path
) -> None:
    store = Store(tmp_path / "mlflow.db", experiments=60, runs=2)
    store.log(20)
    replicas.environment = {**replicas.environment, "MLFLOW_TRACKING_URI": store.uri}
    starting = [threading.Thread(target=replicas.start) for _ in range(3)]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    replicas.wait_for(lambda: len(peer.samples) >= len(store.truth))
    store.log(3)
    replicas.wait_for(lambda: len(peer.samples) >= len(store.truth))
    replicas.wait_for(lambda: all(daemon.get("readyz").ok for daemon in replicas.running))
    replicas.wait_for(lambda: replicas.owner() is not None)
    check(peer, store)
    replicas.wait_for(lambda: all("mlflow_exporter_replicas 3.0" in page for page in pages(replicas)))
    replicas.wait_for(lambda: sum("mlflow_exporter_samples_delivered_total{" in page for page in pages(replicas)) == 1)


def pages(replicas: Replicas) -> list[str]:
    return [daemon.get("metrics").text for daemon in replicas.running]


@contextmanager
def training(store: Store) -> Iterator[None]:
    """Runs log all the time."""
    over = threading.Event()

    def train() -> None:
        while not over.wait(0.3):
            store.log(random.randrange(1, 20), runs=3)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_whatever_becomes_of_replicas_and_database_each_sample_arrives_once(
    replicas: Replicas, peer: StrictPeer, server: PostgresServer, tmp_path: Path
) -> None:
    store = Store(tmp_path / "mlflow.db", experiments=5, runs=4)
    store.log(20)
    replicas.environment = {**replicas.environment, "MLFLOW_TRACKING_URI": store.uri}
    dice = random.Random(8)
    for _ in range(3):
        replicas.start()
    replicas.wait_for(lambda: replicas.owner() is not None)
    events = [dice.choice(["kill", "kill", "freeze", "freeze", "database", "scale"]) for _ in range(scaled(8, 100))]
    takeovers: list[float] = []
    with training(store):
        for number, event in enumerate(events):
            time.sleep(dice.uniform(0.0, 2.0))
            if event == "database":
                server.stop(dice.choice([signal.SIGINT, signal.SIGQUIT]))
                time.sleep(dice.uniform(0.0, 2 * LEASE))
                server.start()
            elif event == "freeze":
                frozen = replicas.owner() if dice.random() < 0.7 else dice.choice(replicas.running)
                frozen = frozen or dice.choice(replicas.running)
                os.kill(frozen.process.pid, signal.SIGSTOP)
                replicas.running.remove(frozen)
                end = time.monotonic() + LEASE + dice.uniform(1.0, 3.0)
                if replicas.running:
                    takeovers.append(waited_for_owner(replicas))
                time.sleep(max(0.0, end - time.monotonic()))
                os.kill(frozen.process.pid, signal.SIGCONT)
                replicas.running.append(frozen)
            elif event == "kill":
                victim = replicas.owner() if dice.random() < 0.7 else dice.choice(replicas.running)
                replicas.kill(victim or dice.choice(replicas.running))
                if replicas.running:
                    takeovers.append(waited_for_owner(replicas))
                replicas.start()
            else:
                scale(replicas, dice.choice([1, 3, 5]))
            takeovers.append(waited_for_owner(replicas))
            print(number, event, len(replicas.running), f"{max(takeovers[-2:]):.1f} s", flush=True)  # noqa: T201
    replicas.wait_for(lambda: {*arrived(peer)} >= store.truth)
    check(peer, store)
    assert max(takeovers) < 15
    replicas.wait_for(lambda: all(daemon.get("readyz").ok for daemon in replicas.running))


def waited_for_owner(replicas: Replicas) -> float:
    began = time.monotonic()
    replicas.wait_for(lambda: replicas.owner() is not None)
    return time.monotonic() - began


def scale(replicas: Replicas, count: int) -> None:
    while len(replicas.running) < count:
        replicas.start()
    while len(replicas.running) > count:
        assert replicas.running[0].stop() == 0
        replicas.running.pop(0)
