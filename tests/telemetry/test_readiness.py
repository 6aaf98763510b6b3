from __future__ import annotations

import time

from structlog.testing import capture_logs

from mlflow_monitoring_exporter.telemetry.readiness import Readiness


def test_nothing_is_ready_before_anything_is_known() -> None:
    readiness = Readiness()
    assert not readiness.ready
    readiness.expect("mlflow", "not read yet")
    assert not readiness.ready
    readiness.good("mlflow")
    assert readiness.ready


def test_one_log_line_for_each_change_not_for_each_attempt() -> None:
    readiness = Readiness()
    with capture_logs() as lines:
        for _ in range(3):
            readiness.good("sink")
        for _ in range(3):
            readiness.bad("sink", "connection refused")
        readiness.bad("sink", "timed out")
        readiness.good("sink")
    assert [(line["event"], line.get("reason")) for line in lines] == [
        ("ready", None),
        ("not ready", "connection refused"),
        ("not ready", "timed out"),
        ("ready", None),
    ]


def test_good_news_grows_old() -> None:
    readiness = Readiness()
    readiness.good("mlflow", valid_for=0.02)
    assert readiness.ready
    time.sleep(0.03)
    assert readiness.report()["mlflow"].reason == "no recent success"
    readiness.good("mlflow", valid_for=60)
    assert readiness.ready


def test_since_is_when_it_changed_not_when_it_was_last_said() -> None:
    readiness = Readiness()
    readiness.bad("sink", "down")
    first = readiness.report()["sink"].since
    readiness.bad("sink", "still down")
    assert readiness.report()["sink"].since == first


def test_a_component_that_is_gone_is_no_longer_waited_for() -> None:
    readiness = Readiness()
    readiness.good("mlflow")
    readiness.bad("exporters.old", "down")
    readiness.keep_only({"mlflow"})
    assert readiness.ready
