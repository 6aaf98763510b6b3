from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.model import RunGauges
from mlflow_monitoring_exporter.transform.gauges import build_snapshot, tagged_stage
from mlflow_monitoring_exporter.transform.names import RESERVED, family_name, short_run_ids

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
run_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(keys)
def test_any_key_gets_a_name_that_prometheus_accepts_and_that_is_not_ours(key: str) -> None:
    name = family_name(key)
    assert re.fullmatch(r"mlflow_[a-zA-Z0-9_]+", name)
    assert not RESERVED.fullmatch(name.removeprefix("mlflow_"))


@given(st.lists(run_ids))
def test_shortened_run_ids_stay_apart(ids: list[str]) -> None:
    short = short_run_ids([*ids, "abcdefab" + "0" * 24, "abcdefab" + "1" * 24])
    assert len(set(short.values())) == len(short)
    assert all(run_id.startswith(prefix) and len(prefix) >= 8 for run_id, prefix in short.items())


def test_two_keys_that_sanitise_alike_share_a_family_and_differ_in_a_label() -> None:
    snapshot = build_snapshot([RunGauges("1", "e", "a" * 32, "", {"val/acc": 1.0, "val acc": 2.0})])
    (family,) = snapshot.families()
    assert family.name == "mlflow_val_acc"
    assert {dict(series.labels)["metric"]: series.value for series in family.series} == {"val/acc": 1.0, "val acc": 2.0}


@given(st.permutations([RunGauges(str(n % 2), "e", f"{n:032x}", "", {"loss": float(n)}) for n in range(5)]))
def test_the_snapshot_does_not_depend_on_the_order_of_runs(runs: list[RunGauges]) -> None:
    assert build_snapshot(runs) == build_snapshot(sorted(runs, key=lambda run: run.run_id))


def test_the_registry_decides_the_stage_before_any_tag() -> None:
    assert tagged_stage({"model_stage": "staging", "stage": "dev"}) == "staging"
    assert tagged_stage({"stage": "dev"}) == "dev"
    assert tagged_stage({}) == ""
