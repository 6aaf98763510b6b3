"""Records made many at a time are those that are made one by one; columns are a sequence like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.sample_columns import SampleColumns, columns_of
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.exporters.record import RECORD, SAMPLE_FIELDS, iso_utc, iso_utcs
from mlflow_monitoring_exporter.exporters.record_lines import RecordLines
from mlflow_monitoring_exporter.exporters.template import Template
from tests.exporters.samples import any_sample

CONTEXT = RunContext("https://mlflow", "7", "100 % churn", "a" * 32, "brave-fox", {"%b": "%s %%"}, "b" * 32, "c" * 32)

_literals = st.text(st.characters(codec="utf-8", exclude_characters="$"), max_size=8)
_placeholders = st.sampled_from([f"${name}" for name in SAMPLE_FIELDS] + ["$$"])
_texts = st.lists(_literals | _placeholders, max_size=5).map("".join)
_names = frozenset(SAMPLE_FIELDS)


def _is_known(text: str) -> bool:
    """Whether no literal behind a placeholder makes another name of it."""
    try:
        Template(text, SAMPLE_FIELDS)
    except ValueError:
        return False
    return True


_trees = st.recursive(
    _texts.filter(_is_known) | st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, width=16),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_literals, inner, max_size=3),
    max_leaves=8,
)


@given(_trees, st.lists(any_sample, max_size=6), st.lists(st.integers(0, 5), max_size=12))
@example(RECORD, [Sample(CONTEXT, '"val/loss" %b', 3, 1_790_000_000_250, 0.5)], [0, 0])
@example(
    {"a": '"$name"', "$step": "%$value%", "t": ["$timestamp", "at $timestamp, $$5"]},
    [Sample(CONTEXT, "\\", 0, 0, -0.0)],
    [],
)
def test_they_are_the_same_bytes(tree: Any, some: list[Sample], again: list[int]) -> None:
    samples = [*some, *(some[at] for at in again if at < len(some))]  # of one run, and of one series
    one_by_one = [orjson.dumps(Template(tree, SAMPLE_FIELDS).fill(sample)) for sample in samples]
    assert RecordLines(tree).of(samples) == one_by_one
    assert RecordLines(tree).of(columns_of(samples)) == one_by_one


@pytest.mark.parametrize("tree", [{"a": "$nome"}, object()])
def test_what_is_no_template_is_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match=r"placeholder|quotes"):
        RecordLines(tree)


_DAY = 86_400_000
_ENDS = (-62_135_596_800_000, 253_402_300_799_999)  # of the calendar, in ms


@given(
    st.lists(
        st.integers(-(2**63), 2**63 - 1)
        | st.sampled_from([0, -1, -_DAY, *_ENDS]).flatmap(lambda at: st.integers(at - 2 * _DAY, at + 2 * _DAY)),
        max_size=20,
    )
)
@example([_ENDS[0] - 1, _ENDS[0], _ENDS[1], _ENDS[1] + 1])
def test_many_times_are_written_like_each(times: list[int]) -> None:
    assert iso_utcs(times) == [iso_utc(time) for time in times]


@given(st.lists(any_sample, max_size=8), st.slices(8))
def test_columns_are_a_sequence_of_samples(samples: list[Sample], some: slice) -> None:
    columns: Sequence[Sample] = columns_of(samples)
    assert len(columns) == len(samples)
    assert [repr(sample) for sample in columns] == [repr(sample) for sample in samples]
    assert repr(columns[some]) == repr(SampleColumns([], [], [], [], [])).replace("[]", repr(samples[some]))
    assert columns_of(columns) is columns
    finite = [sample for sample in samples if sample.value == sample.value]
    assert columns_of(finite) == finite
    assert columns_of(finite) != [*finite, Sample(CONTEXT, "one more", 0, 0, 0.0)]
