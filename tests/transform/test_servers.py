from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.app.tracking_servers import share_of_gauges
from mlflow_monitoring_exporter.config.schema import Config, GaugesConfig, MlflowConfig
from mlflow_monitoring_exporter.core.values import Demand, Snapshot, group_of, split_group
from mlflow_monitoring_exporter.transform.merged_servers import MergedServers
from tests.exporters.samples import any_snapshot

NAMES = ("eu", "us", "asia")


def series(snapshot: Snapshot) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    return [
        (family.name, tuple(zip(family.labels, one.labels, strict=True)))
        for families in snapshot.groups.values()
        for family in families
        for one in family.series
    ]


@given(st.lists(st.tuples(st.sampled_from(NAMES), any_snapshot), max_size=6))
def test_every_series_of_every_server_is_there_once_with_its_name(puts: list[tuple[str, Snapshot]]) -> None:
    servers = MergedServers(NAMES)
    newest: dict[str, Snapshot] = {}
    joined = Snapshot({})
    for name, snapshot in puts:
        newest[name] = snapshot
        joined = servers.put(name, snapshot)
        assert servers.put(name, snapshot) is joined, "nothing differs"
    expected = [
        (family, (("server", name), *labels))
        for name, snapshot in newest.items()
        for family, labels in series(snapshot)
    ]
    assert sorted(series(joined)) == sorted(expected)
    assert len(set(expected)) == len(expected)
    assert joined.whole == (newest.keys() == set(NAMES) or not puts)
    assert {split_group(group)[0] for group in joined.groups} <= newest.keys()


@given(any_snapshot, any_snapshot)
def test_what_does_not_change_stays_the_same_object(one: Snapshot, two: Snapshot) -> None:
    servers = MergedServers(("eu", "us"))
    servers.put("eu", one)
    before = servers.put("us", two)
    after = servers.put("us", Snapshot({**two.groups}))
    for group, families in before.groups.items():
        assert all(a is b for a, b in zip(families, after.groups[group], strict=True))


@given(any_snapshot, any_snapshot)
def test_a_server_that_somebody_else_shows_is_gone(one: Snapshot, two: Snapshot) -> None:
    servers = MergedServers(("eu", "us"))
    servers.put("eu", one)
    servers.put("us", two)
    left = servers.drop("eu")
    assert {split_group(group)[0] for group in left.groups} <= {"us"}
    assert not left.whole, "so nobody takes the other's groups for orphans"


@given(any_snapshot)
def test_one_without_a_name_is_left_as_it_is(snapshot: Snapshot) -> None:
    assert MergedServers([""]).put("", snapshot) is snapshot


@given(st.sampled_from(["", *NAMES]), st.text(st.characters(exclude_characters="\x00")))
def test_a_group_is_told_apart_from_every_other(server: str, experiment_id: str) -> None:
    assert split_group(group_of(server, experiment_id)) == (server, experiment_id)


@given(st.integers(1, 1000), st.integers(1, 9))
def test_all_servers_together_have_the_whole_budget_and_no_more(room: int, count: int) -> None:
    first, *more = [MlflowConfig(name=f"m{number}") for number in range(count)]
    config = Config(mlflow=first, more_mlflow=tuple(more), gauges=GaugesConfig(max_series=room), exporters={})
    shares = [share_of_gauges(config, server).max_series for server in config.servers]
    assert sum(shares) == room
    assert max(shares) - min(shares) <= 1


@given(any_snapshot, any_snapshot)
def test_of_each_server_the_one_that_wants_most_is_named(one: Snapshot, two: Snapshot) -> None:
    servers = MergedServers(("eu", "us"))
    servers.put("eu", replace(one, most=(Demand("1", "one", 5),), originals={"a": "aa"}))
    joined = servers.put("us", replace(two, most=(Demand("2", "two", 7),), originals={"b": "bb"}))
    assert joined.most == (Demand("1", "one", 5), Demand("2", "two", 7))
    assert joined.originals == {"a": "aa", "b": "bb"}
