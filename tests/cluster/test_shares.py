"""Several tracking servers are shared out between replicas, and each is shown by one of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cluster.conftest import Replicas
from tests.cluster.test_replicas import check
from tests.parts.command import Daemon
from tests.parts.growing_store import Store
from tests.parts.strict_peer import StrictPeer

pytestmark = pytest.mark.timeout(300)


def shown(daemon: Daemon) -> set[str]:
    """The tracking servers whose gauges a replica shows."""
    return set(re.findall(r'^mlflow_loss\{server="(\w+)"', daemon.get("metrics").text, re.MULTILINE))


def test_each_server_is_shown_by_one_replica_and_each_replica_has_its_share(
    replicas: Replicas, peer: StrictPeer, tmp_path: Path
) -> None:
    stores = {name: Store(tmp_path / f"{name}.db", experiments=1, runs=2) for name in ("a", "b", "c", "d")}
    for store in stores.values():
        store.log(3)
    config = tmp_path / "config.yaml"
    servers = [{"name": name, "tracking_uri": store.uri} for name, store in stores.items()]
    config.write_text(json.dumps({"mlflow": servers}))
    replicas.environment = {**replicas.environment, "MLFLOW_EXPORTER_CONFIG": str(config)}

    first = replicas.start()
    replicas.wait_for(lambda: shown(first) == set(stores))
    second = replicas.start()
    replicas.wait_for(lambda: len(shown(first)) == len(shown(second)) == 2)
    assert shown(first) | shown(second) == set(stores)
    replicas.wait_for(lambda: all(daemon.get("readyz").ok for daemon in replicas.running))
    mine = shown(first)
    assert [f'mlflow_exporter_owner{{server="{name}"}} 1.0' in first.get("metrics").text for name in stores] == [
        name in mine for name in stores
    ]
    for store in stores.values():
        store.log(2)
    everything = sum(len(store.truth) for store in stores.values())
    replicas.wait_for(lambda: len(peer.samples) >= everything)

    replicas.kill(first)
    replicas.wait_for(lambda: shown(second) == set(stores))
    for store in stores.values():
        store.log(2)
    everything = sum(len(store.truth) for store in stores.values())
    replicas.wait_for(lambda: len(peer.samples) >= everything)
    check(peer, *stores.values())


def test_who_takes_over_shows_what_was_shown_before_it_has_asked_mlflow(replicas: Replicas, tmp_path: Path) -> None:
    store = Store(tmp_path / "mlflow.db", experiments=1, runs=2)
    store.log(3)
    replicas.environment = {**replicas.environment, "MLFLOW_TRACKING_URI": store.uri}
    first, second = replicas.start(), replicas.start()
    replicas.wait_for(lambda: replicas.owner() is not None)
    owner = replicas.owner()
    other = second if owner is first else first
    assert owner is not None
    values = re.findall(r"^mlflow_loss\{.*$", owner.get("metrics").text, re.MULTILINE)
    store.path.rename(tmp_path / "away.db")
    replicas.kill(owner)
    replicas.wait_for(lambda: replicas.owner() is other)
    assert re.findall(r"^mlflow_loss\{.*$", other.get("metrics").text, re.MULTILINE) == values != []
    other.wait_for(lambda: not other.components()["mlflow"]["ready"])
