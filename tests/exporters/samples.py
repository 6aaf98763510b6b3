"""Samples, batches and snapshots of any content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.values import Batch, Family, RunContext, Sample, Series, Snapshot
from mlflow_monitoring_exporter.prometheus.names import family_name

texts = st.text(st.characters(codec="utf-8"), max_size=30)
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
run_ids = st.text("0123456789abcdef", min_size=32, max_size=32)
any_sample = st.builds(
    Sample,
    st.builds(RunContext, texts, texts, texts, run_ids, texts, st.dictionaries(texts, texts, max_size=3)),
    keys,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**53), 2**53),
    st.floats(),
)
LABELS = ("experiment_name", "run_id", "model_stage", "metric")


@dataclass(frozen=True)
class Shown:
    """A run whose metrics are shown."""

    experiment_id: str
    experiment_name: str
    run_id: str
    model_stage: str
    values: Mapping[str, float]


def of_runs(runs: Iterable[Shown], *, empty: Iterable[str] = ()) -> Snapshot:
    """A snapshot with the metrics of these runs, and nothing else."""
    groups: dict[str, dict[str, list[Series]]] = {experiment_id: {} for experiment_id in empty}
    for run in runs:
        families = groups.setdefault(run.experiment_id, {})
        for key, value in run.values.items():
            labels = (run.experiment_name, run.run_id, run.model_stage, key)
            families.setdefault(family_name(key), []).append(Series(labels, value))
    return Snapshot(
        {
            experiment_id: tuple(
                Family(name, f'Help of "{name}" \\ ä\nsecond line', "gauge", LABELS, tuple(series))
                for name, series in sorted(families.items())
            )
            for experiment_id, families in sorted(groups.items())
        }
    )


any_runs = st.lists(
    st.builds(Shown, st.sampled_from("12"), texts, run_ids, texts, st.dictionaries(keys, st.floats(), max_size=4)),
    max_size=5,
    unique_by=lambda run: run.run_id,
)
any_snapshot = any_runs.map(of_runs)


def batch(count: int = 3, key: str = "loss") -> Batch:
    context = RunContext("http://mlflow", "1", "experiment", "a" * 32, "run", {"owner": "me"})
    samples = [Sample(context, key, step, 1_790_000_000_000 + step, step / 2) for step in range(count)]
    return Batch("0123456789abcdef" * 2, 1_790_000_000_000, samples)


def snapshot(**values: float) -> Snapshot:
    """One experiment "1" with one run."""
    return of_runs([Shown("1", "experiment", "a" * 8, "", values)])
