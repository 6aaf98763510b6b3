"""What a user can name is written where a user looks, and what is written there is true."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer.main
import yaml
from pydantic import BaseModel

from examples import exporter_stdout
from mlflow_monitoring_exporter.cli.main import app
from mlflow_monitoring_exporter.config.environment import EXPORTER_PROMISES, PROMISES
from mlflow_monitoring_exporter.config.fields import parse_duration, parse_size
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.schema import Config, Settings
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.delivery.ledger import LedgerCollector
from mlflow_monitoring_exporter.exporters.registry import load_plugins
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.exporters.samples import batch

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGURATION = (REFERENCE / "configuration.md").read_text()
PLUGINS = load_plugins()


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each dotted key with its default; ``...`` where it has none."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ... if field.is_required() else field.get_default(call_default_factory=True)


SETTINGS = dict(keys(Settings))
EXPORTER_KEYS = {
    (kind, key): default
    for kind, plugin in PLUGINS.available.items()
    for key, default in keys(plugin.config)
    if key not in ("type", "enabled")
}


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each table row, by every name in back quotes of its first cell."""
    found = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", first), cells))
    return found


def section(kind: str) -> str:
    return CONFIGURATION.split(f"### `type: {kind}`")[1].split("\n## ")[0].split("\n### ")[0]


def written(cell: str, default: Any) -> bool:
    """Whether a cell of the column "default" says ``default``."""
    if default is None:
        return "`" not in cell
    if default is ...:
        return cell == "required"
    says = [yaml.safe_load(part) for part in re.findall(r"`([^`]+)`", cell)]
    for value in says:
        plain = str(default) if isinstance(default, Path) else list(default) if isinstance(default, tuple) else default
        if isinstance(default, bool | Path | tuple):
            same = value == plain
        else:
            same = plain in (value, _or_none(parse_duration, value), _or_none(parse_size, value))
        if same:
            return True
    return False


def _or_none(parse: Any, value: Any) -> Any:
    try:
        return parse(value)
    except ValueError:
        return None


@pytest.mark.parametrize("key", SETTINGS)
def test_every_key_is_in_the_reference_with_its_default(key: str) -> None:
    cells = rows(CONFIGURATION)[key]
    assert written(cells[0], SETTINGS[key]), f"the reference says {cells[0]}, the default is {SETTINGS[key]}"


@pytest.mark.parametrize(("kind", "key"), EXPORTER_KEYS)
def test_every_key_of_an_exporter_is_in_its_section_with_its_default(kind: str, key: str) -> None:
    cells = rows(section(kind))[key]
    default = EXPORTER_KEYS[kind, key]
    assert written(cells[0], default), f"the reference says {cells[0]}, the default is {default}"


def test_the_reference_names_no_key_that_does_not_exist() -> None:
    settings = CONFIGURATION.split("## `mlflow`")[1]
    known = {*SETTINGS, *(key for _, key in EXPORTER_KEYS)}
    assert set(rows(settings)) <= known


def test_every_variable_is_in_the_reference() -> None:
    for variable in (*PROMISES, *EXPORTER_PROMISES, "MLFLOW_EXPORTER_CONFIG"):
        assert f"`{variable}`" in CONFIGURATION


def test_every_metric_is_in_the_reference_with_its_type_and_labels(tmp_path: Path) -> None:
    readiness = Readiness()
    readiness.good("mlflow")
    metrics = SelfMetrics(readiness)
    metrics.introduce("sink", queued=True)
    database = Database(f"sqlite:///{tmp_path}/state.db")
    Outbox(database).register(["sink"])
    metrics.set_state("sink", "closed")
    metrics.registry.register(LedgerCollector(database, ["sink"]))
    documented = rows((REFERENCE / "metrics.md").read_text())
    seen = set()
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        cells = documented[name]
        seen.add(name)
        assert cells[0] == family.type
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.samples:
            assert set(re.findall(r"`([^`]+)`", cells[1])) == labels
    database.close()
    assert {name for name in documented if name.startswith("mlflow_exporter_")} == seen


def test_every_command_and_flag_is_in_the_reference() -> None:
    text = (REFERENCE / "commands.md").read_text() + CONFIGURATION
    pending = [("", typer.main.get_command(app))]
    commands = []
    while pending:
        name, command = pending.pop()
        inner = getattr(command, "commands", {})
        pending += [(f"{name} {sub}".strip(), below) for sub, below in inner.items()]
        if not inner:
            commands.append(name)
            assert f"`{name}`" in text
        if name:
            flags = [flag for param in command.params for flag in param.opts if flag.startswith("--")]
            assert [flag for flag in flags if f"`{flag}" not in text and flag != "--help"] == []
    assert len(commands) == 12


def test_every_exporter_is_in_readme_and_shows_its_yaml(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    for kind, plugin in PLUGINS.available.items():
        assert f"| `{kind}` |" in readme
        docstring = sys.modules[plugin.create.__module__].__doc__ or ""
        block = docstring.split("::\n\n")[1]
        example = "\n".join(line[4:] for line in block.splitlines() if line.startswith("    "))
        assert loaded(example, tmp_path).exporters[kind].type == kind


def loaded(text: str, tmp_path: Path, **environ: str) -> Config:
    """``text`` as a configuration; secret files that it names are made."""
    for path in set(re.findall(r"/run/secrets/\w+|/etc/[\w./-]+", text)):
        stand_in = tmp_path / path.strip("/").replace("/", "-")
        stand_in.write_text("secret")
        text = text.replace(path, str(stand_in))
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load_config(file, exporter_types=PLUGINS.config_types, environ=environ)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            yield f"{page.relative_to(ROOT)}#{number}", block


CONFIGS = {
    name: block
    for name, block in blocks("yaml")
    if isinstance(tree := yaml.safe_load(block), dict) and tree.keys() <= {*Settings.model_fields, "exporters"}
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_that_a_page_shows_can_be_used(name: str, tmp_path: Path) -> None:
    loaded(CONFIGS[name], tmp_path)


def test_there_are_such_configurations() -> None:
    assert len(CONFIGS) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_shipped_configuration_is_the_default_one_and_shows_every_key(tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text()
    config = loaded(text, tmp_path)
    defaults = load_config(None, exporter_types=PLUGINS.config_types, environ={})
    for name in Settings.model_fields:
        assert getattr(config, name) == getattr(defaults, name)
    assert config.enabled_exporters() == defaults.exporters
    twins = {
        key.removesuffix("_file") for key in (*SETTINGS, *(key for _, key in EXPORTER_KEYS)) if key.endswith("_file")
    }
    for key in {*SETTINGS, *(key for _, key in EXPORTER_KEYS)} - twins:
        assert re.search(rf"\b{key.rpartition('.')[2]}:", text), key


def test_the_shipped_configuration_obeys_every_promised_variable(tmp_path: Path) -> None:
    environ = {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "PROMETHEUS_GATEWAY": "gateway:9091",
        "PROMETHEUS_JOB_NAME": "job",
        "PRAMATHUS_ENDPOINT": "http://sink/in",
        "PRAMATHUS_API_KEY": "key",
        "PRAMATHUS_ENABLED": "true",
        "EXPORT_INTERVAL": "5",
        "MAX_EXPERIMENTS": "0",
    }
    config = loaded((ROOT / "config.yaml").read_text(), tmp_path, **environ)
    assert (config.export.interval, config.export.max_experiments) == (5.0, 0)
    assert config.enabled_exporters().keys() == {"prometheus", "file", "pushgateway", "pramathus"}


def test_the_example_exporter_keeps_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_origin(exporter_stdout.plugin.config.model_fields["type"].annotation) is Literal
    assert get_args(exporter_stdout.plugin.config.model_fields["type"].annotation) == ("stdout",)
    exporter = exporter_stdout.plugin.create(exporter_stdout.plugin.config(type="stdout", prefix="mlflow: "))
    exporter.start()
    exporter.check()
    exporter.export(batch(2), deadline=Deadline.after(1))
    exporter.close()
    assert capsys.readouterr().out == "mlflow: loss 0.0\nmlflow: loss 0.5\n"
    page = (ROOT / "docs" / "how-to" / "write-an-exporter.md").read_text()
    source = (ROOT / "examples" / "exporter_stdout.py").read_text()
    (shown,) = [
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class StdoutExporter" in block
    ]
    assert shown in source, "the page shows the example as it is"
