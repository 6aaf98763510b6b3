"""Every value that MLflow can hold survives its way through JSON or through a row."""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.decode import MalformedError

INT64 = st.integers(-(2**63), 2**63 - 1)
# MLflow itself cannot tell an infinity from the largest double.
VALUES = st.floats().filter(lambda v: abs(v) != sys.float_info.max)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
SPELLING = {"nan": "NaN", "inf": sys.float_info.max, "-inf": -sys.float_info.max}


def same(one: Point, other: Point) -> bool:
    return repr(one) == repr(other)


@given(st.text(), INT64, INT64, VALUES, st.booleans())
@example("k", 0, 0, math.nan, True)
def test_a_point_survives_json(key: str, step: int, timestamp: int, value: float, as_text: bool) -> None:
    number = str if as_text else int
    record = {
        "key": key,
        "step": number(step),
        "timestamp": number(timestamp),
        "value": SPELLING.get(repr(value), value),
    }
    read = orjson.loads(orjson.dumps(record))
    assert same(decode.point(read), Point(key, step, timestamp, value))


@given(st.text(), INT64, INT64, VALUES)
def test_a_point_survives_the_database(key: str, step: int, timestamp: int, value: float) -> None:
    is_nan = math.isnan(value)
    stored = 0.0 if is_nan else max(-sys.float_info.max, min(sys.float_info.max, value))
    assert same(decode.stored_point(key, step, timestamp, stored, int(is_nan)), Point(key, step, timestamp, value))


@pytest.mark.parametrize(
    ("spelling", "value"),
    [("Infinity", math.inf), ("-Infinity", -math.inf), (math.inf, math.inf), ("1.5", 1.5), (3, 3.0)],
)
def test_other_spellings_of_a_value_are_understood(spelling: Any, value: float) -> None:
    assert decode.number(spelling, "it") == value


@given(ANYTHING)
def test_anything_else_is_malformed_and_nothing_worse(record: Any) -> None:
    for read in (
        decode.run,
        decode.point,
        decode.experiment,
        decode.aliases,
        partial(decode.model_version, aliases={}),
    ):
        with pytest.raises(MalformedError):
            read(record)


@given(st.fixed_dictionaries({"info": ANYTHING, "data": ANYTHING}))
def test_a_run_of_nonsense_is_malformed(record: Any) -> None:
    with pytest.raises(MalformedError):
        decode.run(record)


@pytest.mark.parametrize("value", [True, None, 2**63, "1_000", " 5", "0x10", 1.5, math.nan, [], "9" * 40])
def test_what_is_no_int64_is_refused(value: Any) -> None:
    with pytest.raises(MalformedError):
        decode.integer(value, "it")


@pytest.mark.parametrize(("end", "known"), [(0, None), ("0", None), (None, None), (1, 1), (-1, -1)])
def test_an_end_time_of_zero_is_none(end: Any, known: int | None) -> None:
    """A run that was resumed has it."""
    info = {"run_id": "r", "experiment_id": "1", "status": "RUNNING", "start_time": 1, "end_time": end}
    assert decode.run({"info": info, "data": {}}).end_ms == known


def test_a_run_is_called_what_its_tag_says_when_it_has_no_name() -> None:
    info = {"run_id": "r", "experiment_id": "1", "status": "FAILED", "start_time": 1}
    record = {"info": info, "data": {"tags": [{"key": "mlflow.runName", "value": "tagged"}]}}
    assert decode.run(record).name == "tagged"
