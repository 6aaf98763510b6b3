"""A thing is said once, and so many things at most."""

from __future__ import annotations

from mlflow_monitoring_exporter.telemetry.once import Once


def test_a_thing_is_new_once() -> None:
    once = Once()
    assert [once.first("a", "b"), once.first("a", "b"), once.first("b", "a")] == [True, False, True]


def test_there_is_an_end_to_new_things() -> None:
    once = Once(most=2)
    assert [once.first(name) for name in "abc"] == [True, True, False]
    assert once.full
