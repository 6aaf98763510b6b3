"""What callers hand in, and what is recorded of it; what goes wrong costs the training nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_tracking import ConfigurationError, ExperimentTracker
from mlflow_monitoring_tracking.capture.source import masked, without_credentials
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.spool.times import PointTimes
from mlflow_monitoring_tracking.values import NotANumberError, number_of, text_of
from tests.tracking.conftest import Programs, environment
from tests.tracking.spools import params, points, steps, tags


class Tensor:
    """As torch's."""

    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value

    def __float__(self) -> float:
        raise RuntimeError("it requires a gradient")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (True, 1.0),
        (1.5, 1.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.bool_(True), 1.0),
        (np.array(3.0), 3.0),
        (np.array([3.0]), 3.0),
        (Decimal("0.25"), 0.25),
        (Fraction(1, 4), 0.25),
        (Tensor(0.75), 0.75),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (None, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0")
def test_what_is_one_number_is_logged_as_that(value: object, number: float | None) -> None:
    assert number_of(value) == number


@pytest.mark.parametrize("value", ["0.5", b"1", [1.0], (1,), {}, np.array([1, 2]), object(), 1j, Path()])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(NotANumberError):
        number_of(value)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 3)), max_size=60))
def test_no_two_points_have_key_step_and_time_in_common_and_time_never_goes_back(logged: list[Any]) -> None:
    times = PointTimes()
    seen = [(key, step or 0, times.at(key, step)) for key, step in logged]
    assert len(set(seen)) == len(seen)
    for key in "ab":
        of_key = [time_ms for k, _, time_ms in seen if k == key]
        assert of_key == sorted(of_key)


def test_a_clock_that_is_set_back_turns_no_point_round(monkeypatch: pytest.MonkeyPatch) -> None:
    times = PointTimes()
    now = [2_000_000_000_000_000_000]
    monkeypatch.setattr("mlflow_monitoring_tracking.spool.times.time.time_ns", lambda: now[0])
    before = times.at("loss", 1)
    now[0] -= 7_200_000_000_000
    assert [times.at("loss", 2), times.at("loss", 2), times.at("loss", 1)] == [before, before + 1, before + 2]


def test_odd_values_leave_the_training_alone_and_the_rest_logged(offline: Programs) -> None:
    offline.run(
        """
        from tracking import start_experiment
        class Odd:
            def __str__(self): raise ValueError("no text")
        with start_experiment("values", "r") as exp:
            for step in range(3): exp.log_metric("text", "0.5", step=step)
            exp.log_metrics({"good": 1, "bad": [1, 2], "none": None})
            exp.log_metric("big", 2**60 + 1)
            exp.log_metric("loss", 1.0, step=object())
            exp.log_params({"odd": Odd(), "list": [1, 2], "text": "t", 7: 8})
            exp.log_metric("k" * 100_000, 1.0)
            exp.log_artifact("/no/such/file")
            exp.log_figure(object(), "f")
            exp.log_metric("last", 1.0)
        exp.log_metric("late", 1.0)
        exp.end()
        """
    )
    assert {point.key for point in points(offline.spool)} == {"good", "big", "last"}
    assert params(offline.spool) == {"odd": "<Odd>", "list": "[1, 2]", "text": "t", "7": "8"}
    assert tags(offline.spool)["tracking.exact.big"] == str(2**60 + 1)


def test_who_wants_exceptions_gets_them(tmp_path: Path) -> None:
    tracker = ExperimentTracker({"strict": True, "mode": "offline", "tracking_dir": str(tmp_path)})
    with tracker.start_run("values", "r") as run:
        with pytest.raises(NotANumberError):
            run.log_metric("text", "0.5")
        with pytest.raises(FileNotFoundError):
            run.log_artifact("/no/such/file")


def test_a_disabled_tracker_writes_nothing(offline: Programs) -> None:
    offline.run(
        """
        from tracking import start_experiment
        with start_experiment("values", "r") as exp:
            exp.log_metric("loss", 1.0); exp.log_param("a", 1); exp.log_artifact(__file__); exp.set_tag("a", 1)
        """,
        env={"TRACKING_MODE": "disabled"},
    )
    assert not offline.spool.exists()


def test_a_function_that_is_tracked_makes_a_run_of_each_call(offline: Programs) -> None:
    offline.run(
        """
        from tracking import start_experiment, tracker
        @start_experiment("values", "decorated")
        def train(a, b=2):
            import mlflow_monitoring_tracking.process as p
            run = list(p.process.runs.values())[-1]
            run.log_metric("sum", a + b)
            return a + b
        assert train(1) == 3 and train(1, b=4) == 5
        """
    )
    from tests.tracking.spools import keys

    assert sorted(points(offline.spool, key)[0].value for key in keys(offline.spool)) == [3.0, 5.0]


def test_files_are_logged_as_they_were(offline: Programs) -> None:
    offline.run(
        """
        import pathlib
        from tracking import start_experiment
        with start_experiment("values", "r") as exp:
            (path := pathlib.Path("out")).mkdir()
            (path / "a.txt").write_text("first"); (path / "empty").write_text("")
            exp.log_artifact("out"); exp.log_artifact("out/a.txt", "below")
            (path / "a.txt").write_text("second")
        """
    )
    from mlflow_monitoring_tracking.spool.records import Artifact
    from tests.tracking.spools import only_key, records

    found = {
        r.path: offline.spool / only_key(offline.spool) / "files" / r.file
        for r in records(offline.spool)
        if isinstance(r, Artifact)
    }
    assert sorted(found) == ["below/a.txt", "out/a.txt", "out/empty"]
    assert found["out/a.txt"].read_text() == "first"


def test_importing_costs_no_package_and_touches_no_file(tmp_path: Path) -> None:
    program = (
        "import sys; before = set(sys.modules); import tracking;"
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "['mlflow_monitoring_tracking', 'tracking']"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mlflw": {}}, "mlflw: there is no such key; did you mean mlflow?"),
        ({"spool": {"max_bytes": "many"}}, "spool.max_bytes: a number is needed"),
        ({"spool": {"fsync": "often"}}, "spool.fsync: always, never or a time"),
        ({"mode": "of"}, "mode: one of online, offline, disabled is needed"),
        ({"local": {"enabled": "perhaps"}}, "local.enabled: true or false is needed"),
        ({"mlflow": "http://x"}, "mlflow: a mapping is needed"),
        ({"auto_log": {"environment_variables": "A"}}, "auto_log.environment_variables: a list is needed"),
    ],
)
def test_mistakes_of_a_configuration_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({**given, "ranks": "some"}, {})
    assert said in str(caught.value)
    assert len(caught.value.problems) == 2


def test_the_environment_wins_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mlflow: {tracking_uri: http://file, timeout: 2 min}\nspool: {max_bytes: 5 MB}\n")
    read = load(None, {"TRACKING_CONFIG_PATH": str(tmp_path / "c.yaml"), "MLFLOW_TRACKING_URI": "http://variable"})
    assert (read.mlflow.tracking_uri, read.mlflow.timeout, read.spool.max_bytes) == ("http://variable", 120, 5_000_000)


def test_secrets_of_a_command_line_are_masked() -> None:
    line = ["train.py", "--token", "abc", "--api-key=def", "password=ghi", "http://u:p@host/x", "--lr", "0.1"]
    assert masked(line) == [
        "train.py",
        "--token",
        "***",
        "--api-key=***",
        "password=***",
        "http://***@host/x",
        "--lr",
        "0.1",
    ]
    assert without_credentials("https://user:token@example.org/a.git") == "https://example.org/a.git"
    assert without_credentials("git@example.org:a.git") == "git@example.org:a.git"


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_every_parameter_is_text(value: object) -> None:
    assert isinstance(text_of(value), str)


def test_what_was_captured_of_the_program(offline: Programs) -> None:
    subprocess.run(
        "git init -q . && git -c user.name=n -c user.email=e commit -q --allow-empty -m first"
        " && git remote add origin https://me:secret@example.org/r.git",
        shell=True,
        cwd=offline.here,
        check=True,
    )
    offline.run(
        """
        from tracking import start_experiment
        with start_experiment("c", "r") as exp: exp.log_metric("loss", 1, step=0)
        """,
        "--password",
        "hidden",
    )
    found = tags(offline.spool)
    assert len(found["mlflow.source.git.commit"]) == 40
    assert found["mlflow.source.git.repoURL"] == "https://example.org/r.git"
    assert found["mlflow.source.git.dirty"] == "false"
    assert "hidden" not in found["tracking.command"]
    assert int(found["system.cpu.count"]) > 0
    assert steps(offline.spool, "loss") == [0]
