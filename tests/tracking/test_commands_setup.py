"""``setup``: a configuration to begin with, and what works."""

from __future__ import annotations

from pathlib import Path

from tests.tracking.commands import tracking_spool
from tests.tracking.conftest import Programs, Truth, environment

_AWAY = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}


def test_a_configuration_is_written_once_and_every_back_end_tried(tmp_path: Path, mlflow: Truth) -> None:
    said = tracking_spool(tmp_path, "setup", env={"MLFLOW_TRACKING_URI": mlflow.server.url})
    assert "wrote tracking_config.yaml" in said.out
    assert f"TRACKING_CONFIG_PATH={tmp_path}/tracking_config.yaml" in said.out
    assert f"mlflow: {mlflow.server.url} answers" in said.out
    assert "spool: tracking/spool can be written" in said.out
    (tmp_path / "tracking_config.yaml").write_text("tracking_dir: elsewhere")
    said = tracking_spool(tmp_path, "setup", env=_AWAY, code=1)
    assert "stays as it is" in said.out
    assert "spool: elsewhere/spool can be written" in said.out
    assert "mlflow: does not work: " in said.out
    assert "Connection refused" in said.out
    assert (tmp_path / "tracking_config.yaml").read_text() == "tracking_dir: elsewhere"


def test_the_file_that_the_environment_names_is_the_one(tmp_path: Path) -> None:
    said = tracking_spool(tmp_path, "setup", env={"TRACKING_CONFIG_PATH": "mine.yaml"})
    assert "wrote mine.yaml" in said.out
    assert "mlflow: not configured" in said.out
    assert "TRACKING_CONFIG_PATH=" not in said.out


def test_a_configuration_that_is_wrong_is_told_with_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text('{"spool": {"fsyc": "1s"}, "mode": "on\\u001bline"}')
    said = tracking_spool(tmp_path, "setup", "wrong.json", code=78)
    assert "did you mean spool.fsync?" in said.err
    assert "error: wrong.json: mode: one of online, offline, disabled is needed" in said.err


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "requests.py").write_text("raise ImportError('No module named requests')")
    path = f"{tmp_path / 'stub'}:{environment()['PYTHONPATH']}"
    said = tracking_spool(tmp_path, "setup", env={**_AWAY, "PYTHONPATH": path}, code=1)
    assert "mlflow: does not work: " in said.out
    assert "pip install 'mlflow-monitoring-tracking[mlflow]'" in said.out
    said = tracking_spool(tmp_path, "sync", ".", env={**_AWAY, "PYTHONPATH": path}, code=78)
    assert "pip install 'mlflow-monitoring-tracking[mlflow]'" in said.err


def test_a_spool_that_cannot_be_written_does_not_work(tmp_path: Path) -> None:
    (tmp_path / "tracking").write_text("a file")
    said = tracking_spool(tmp_path, "setup", code=1)
    assert "spool: does not work: tracking/spool cannot be written: Not a directory" in said.out


def test_a_file_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    said = tracking_spool(tmp_path, "setup", "nowhere/c.yaml", code=1)
    assert said.err == "error: nowhere/c.yaml: No such file or directory\n"


def test_programs_may_call_it_too(offline: Programs) -> None:
    out = offline.run(
        """
        from tracking import setup_tracking
        lines = []
        print(setup_tracking("c.yaml", lines.append), lines[0])
        setup_tracking("c.yaml")
        """
    )
    assert out.startswith("True wrote c.yaml\nc.yaml is there already and stays as it is\n")
