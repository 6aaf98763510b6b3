"""The address decides who reads."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.reader import SqlSource


@pytest.mark.parametrize(
    ("uri", "reader"),
    [("http://mlflow:5000", RestSource), ("https://mlflow/base", RestSource), ("sqlite:///absent.db", SqlSource)],
)
def test_the_scheme_chooses_the_reader_and_nothing_is_read_yet(uri: str, reader: type) -> None:
    source = open_source(MlflowConfig(tracking_uri=uri), stop=threading.Event())
    assert isinstance(source, reader)
    source.close()


def test_reading_does_not_import_mlflow() -> None:
    program = "import sys, mlflow_monitoring_exporter.source.open; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
