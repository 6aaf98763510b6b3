"""Samples, batches and snapshots of any content."""

from __future__ import annotations

from hypothesis import strategies as st

from mlflow_monitoring_exporter.model import Batch, RunContext, RunGauges, Sample, Snapshot
from mlflow_monitoring_exporter.transform.gauges import build_snapshot

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
any_runs = st.lists(
    st.builds(RunGauges, st.sampled_from("12"), texts, run_ids, texts, st.dictionaries(keys, st.floats(), max_size=4)),
    max_size=5,
    unique_by=lambda run: run.run_id,
)
any_snapshot = any_runs.map(build_snapshot)


def batch(count: int = 3, key: str = "loss") -> Batch:
    context = RunContext("server", "1", "experiment", "a" * 32, "run", {"owner": "me"})
    samples = [Sample(context, key, step, 1_790_000_000_000 + step, step / 2) for step in range(count)]
    return Batch("0123456789abcdef" * 2, 1_790_000_000_000, samples)


def snapshot(**values: float) -> Snapshot:
    """One experiment "1" with one run."""
    return build_snapshot([RunGauges("1", "experiment", "a" * 32, "", values)])
