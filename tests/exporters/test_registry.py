from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.config.describe import json_schema
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.exporters import builtin
from mlflow_monitoring_exporter.exporters.contract import CONTRACT, DeliveryMode
from mlflow_monitoring_exporter.exporters.plugins import Listed, load_plugins

THIRD_PARTY = """
from typing import Literal
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.exporters.contract import CONTRACT, DeliveryMode, ExporterPlugin

class Config(BatchExporterConfig):
    type: Literal["thirdparty"]

class Loose(ExporterConfig):
    type: Literal["loose"]

plugin = ExporterPlugin(config=Config, create=object, mode=DeliveryMode.EVERY, target=lambda config: "nowhere")
loose = ExporterPlugin(config=Loose, create=object, mode=DeliveryMode.EVERY, target=lambda config: "nowhere")
newer = ExporterPlugin(config=Config, create=object, mode=DeliveryMode.EVERY, target=str, contract=2)
"""


ENABLE = ("--set", "exporters.brand_new.enabled", "true")


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
    assert [listed.problem for listed in plugins.listing()] == [None] * len(plugins)
    latest = {name for name, plugin in plugins.items() if plugin.mode is DeliveryMode.LATEST}
    assert latest == {"prometheus", "pushgateway", "statsd"}
    for name, plugin in plugins.items():
        shown = sys.modules[plugin.create.__module__].__doc__ or ""
        assert "exporters:\n" in shown
        assert f"type: {name}\n" in shown


def test_one_module_is_all_that_a_new_one_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brand_new.py").write_text(THIRD_PARTY.replace("thirdparty", "brand_new"))
    monkeypatch.setattr(builtin, "__path__", [*builtin.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{builtin.__name__}.brand_new", raising=False)
    plugins = load_plugins()
    assert Listed("brand_new", "built in", "every", CONTRACT) in plugins.listing()
    config = load_config(None, exporter_types=plugins.config_types, environ={}, flags=[ENABLE])
    assert config.exporters["brand_new"].type == "brand_new"
    assert "exporter_brand_new" in json_schema({name: one.config for name, one in plugins.usable().items()})["$defs"]


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """So that nobody waits for, or needs, what another platform's exporter is made of."""
    code = """
import sys
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
plugins = load_plugins()
assert "otlp" in plugins
plugins["file"]
print([name for name in plugins if f"mlflow_monitoring_exporter.exporters.builtin.{name}" in sys.modules])
print([name for name in ("opentelemetry", "grpc", "google.protobuf", "cramjam") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['file']\n[]\n"


def test_an_exporter_of_somebody_else_is_found_by_its_entry_point(site: Path) -> None:
    install(site, "thirdparty", THIRD_PARTY, "thirdparty = thirdparty:plugin")
    plugins = load_plugins()
    assert plugins["thirdparty"].config.__name__ == "Config"
    assert Listed("thirdparty", "thirdparty 1.0", "every", CONTRACT) in plugins.listing()


def test_a_broken_one_is_listed_with_its_reason_and_harms_no_other(site: Path) -> None:
    install(site, "broken", "import nothing_like_this", "broken = broken:plugin")
    install(
        site,
        "thirdparty",
        THIRD_PARTY,
        "number = thirdparty:__name__",
        "loose = thirdparty:loose",
        "newer = thirdparty:newer",
        "raises = thirdparty:raises.this",
        "file = thirdparty:plugin",
    )
    plugins = load_plugins()
    assert plugins["file"].config.__name__ == "FileConfig"
    assert {listed.name: listed.problem for listed in plugins.listing() if listed.problem} == {
        "broken": "No module named 'nothing_like_this'",
        "number": "it is str, not an ExporterPlugin",
        "loose": "it receives every sample, so its configuration must extend BatchExporterConfig",
        "newer": f"it was written for version {CONTRACT + 1} of the contract, and this release has {CONTRACT}: "
        "upgrade mlflow-monitoring-exporter",
        "raises": "AttributeError: module 'thirdparty' has no attribute 'raises'",
        "file": "another exporter has this name (built in)",
    }
    assert not {"broken", "number", "loose", "newer", "raises"} & plugins.usable().keys()
    with pytest.raises(ConfigError, match="broken cannot be used: No module named 'nothing_like_this'"):
        plugins["broken"]


def test_what_an_extra_brings_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    for module in ("exporters.write_request", "exporters.builtin.remote_write"):
        monkeypatch.delitem(sys.modules, f"mlflow_monitoring_exporter.{module}", raising=False)
    with pytest.raises(ConfigError, match=r"cramjam.*: pip install 'mlflow-monitoring-exporter\[remote-write\]'"):
        load_plugins()["remote_write"]


def test_a_configuration_that_uses_a_broken_one_is_told_why_and_where(site: Path) -> None:
    install(site, "broken", "import nothing_like_this", "broken = broken:plugin")
    file = site / "config.yaml"
    file.write_text("exporters:\n  other:\n    type: broken\n  broken: {}\n  file: {}\n")
    with pytest.raises(ConfigError) as raised:
        load_config(file, exporter_types=load_plugins().config_types, environ={})
    assert [str(problem) for problem in raised.value.problems] == [
        f"{file}:3: exporters.other.type: broken cannot be used: No module named 'nothing_like_this'",
        f"{file}:4: exporters.broken: broken cannot be used: No module named 'nothing_like_this'",
    ]
