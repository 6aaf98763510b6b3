from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.exporters.contract import DeliveryMode
from mlflow_monitoring_exporter.exporters.registry import BUILT_IN, load_plugins

THIRD_PARTY = """
from typing import Literal
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin

class Config(BatchExporterConfig):
    type: Literal["thirdparty"]

class Loose(ExporterConfig):
    type: Literal["loose"]

plugin = ExporterPlugin(config=Config, create=object, mode=DeliveryMode.EVERY, target=lambda config: "nowhere")
loose = ExporterPlugin(config=Loose, create=object, mode=DeliveryMode.EVERY, target=lambda config: "nowhere")
"""


def install(directory: Path, name: str, module: str, *entries: str) -> None:
    """A package as pip leaves it, without pip."""
    (directory / f"{name}.py").write_text(module)
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(entries)
    (info / "entry_points.txt").write_text(f"[mlflow_monitoring_exporter.exporters]\n{lines}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("thirdparty", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_the_built_in_exporters_are_there_and_each_says_its_mode() -> None:
    plugins = load_plugins()
    assert sorted(plugins.available) == list(BUILT_IN)
    assert plugins.failed == {}
    latest = {name for name, plugin in plugins.available.items() if plugin.mode is DeliveryMode.LATEST}
    assert latest == {"prometheus", "pushgateway"}
    assert all(
        "exporters:\n" in (sys.modules[plugin.create.__module__].__doc__ or "") for plugin in plugins.available.values()
    )


def test_an_exporter_of_somebody_else_is_found_by_its_entry_point(site: Path) -> None:
    install(site, "thirdparty", THIRD_PARTY, "thirdparty = thirdparty:plugin")
    plugins = load_plugins()
    assert plugins.failed == {}
    assert plugins.config_types["thirdparty"].__name__ == "Config"


def test_a_broken_one_is_remembered_with_its_reason_and_harms_nobody(site: Path) -> None:
    install(site, "broken", "import nothing_like_this", "broken = broken:plugin")
    install(
        site,
        "thirdparty",
        THIRD_PARTY,
        "number = thirdparty:__name__",
        "loose = thirdparty:loose",
        "file = thirdparty:plugin",
    )
    plugins = load_plugins()
    assert sorted(plugins.available) == list(BUILT_IN)
    assert plugins.failed == {
        "broken": "ModuleNotFoundError: No module named 'nothing_like_this'",
        "number": "is str, not an ExporterPlugin",
        "loose": "receives every sample, so its configuration must extend BatchExporterConfig",
        "file (thirdparty)": "another exporter of this name is installed",
    }
