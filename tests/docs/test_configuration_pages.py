"""Every key, variable and shared flag is in the reference and in config.yaml, with its type and default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from mlflow_monitoring_exporter.cli.options import Options
from mlflow_monitoring_exporter.config.environment import DEFAULT_LISTEN, EXPORTER_PROMISES, PROMISES
from mlflow_monitoring_exporter.config.fields import (
    Duration,
    DurationOrZero,
    HttpUrl,
    Size,
    Words,
    parse_duration,
    parse_size,
)
from mlflow_monitoring_exporter.config.load import SHORTHANDS, load_config
from mlflow_monitoring_exporter.config.notifications import Addresses
from mlflow_monitoring_exporter.config.schema import Settings
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from tests.docs.pages import PLUGINS, REFERENCE, ROOT, loaded, rows, section

CONFIGURATION = (REFERENCE / "configuration.md").read_text()
SHIPPED = (ROOT / "config.yaml").read_text()


@dataclass(frozen=True, slots=True)
class Key:
    """A configuration key: its type in the reference's words, its default, and the words it may be."""

    type: str
    default: Any
    choices: tuple[str, ...] = ()


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Key]]:
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is None]
        sections = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            named = "<name>." if get_origin(field.annotation) is Mapping else ""
            yield from keys(sections[0], f"{prefix}{name}.{named}")
        else:
            default = ... if field.is_required() else field.get_default(call_default_factory=True)
            yield f"{prefix}{field.alias or name}", Key(kind_of(field), default, choices(field.annotation))


def kind_of(field: FieldInfo) -> str:
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not type(None)]
    plain = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds]
    if get_origin(field.annotation) is Mapping:
        return "mapping"
    if choices(field.annotation):
        return "choice"
    if Any in kinds:
        return "template"
    if field.annotation == tuple[int, ...]:
        return "integers"
    for kind, name in (
        *((Duration, "duration"), (DurationOrZero, "duration"), (Size, "size"), (Words, "patterns"), (HttpUrl, "URL")),
        (Addresses, "list"),
        *((SecretStr, "secret"), (Path, "path"), (bool, "boolean"), (int, "integer"), (float, "number")),
        (str, "text"),
    ):
        if get_origin(kind) is Annotated:
            if kind in kinds or any(
                marker is get_args(kind)[1] or marker == get_args(kind)[1] for marker in field.metadata
            ):
                return name
        elif kind in plain:
            return name
    raise AssertionError(field)


def choices(annotation: Any) -> tuple[str, ...]:
    """The words of a Literal, optional or not, alone, in a list or as the values of a mapping."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is Literal:
            return get_args(kind)
    return ()


SETTINGS = dict(keys(Settings))
COMMON_KEYS = dict(keys(BatchExporterConfig))
EXPORTER_KEYS = {
    (kind, name): key
    for kind, plugin in PLUGINS.items()
    for name, key in keys(plugin.config)
    if name not in COMMON_KEYS
}


def shows(cell: str, default: Any) -> bool:
    """Whether a cell of the column "default" says ``default``."""
    if default is None:
        return "`" not in cell
    if default is ...:
        return cell == "required"
    says = re.findall(r"`([^`]+)`", cell)
    if len(says) != 1:
        return False
    value = yaml.safe_load(says[0])
    if isinstance(default, bool | Path | tuple):
        plain = str(default) if isinstance(default, Path) else list(default) if isinstance(default, tuple) else default
        return bool(value == plain)
    return default in (value, _or_none(parse_duration, value), _or_none(parse_size, value))


def _or_none(parse: Any, value: Any) -> Any:
    try:
        return parse(value)
    except ValueError:
        return None


def check_key(cells: list[str], key: Key) -> None:
    kind, default, meaning = cells
    assert kind == key.type
    assert shows(default, key.default), f"the reference says {default}, the default is {key.default}"
    assert [word for word in key.choices if f"`{word}`" not in meaning] == []


@pytest.mark.parametrize("name", SETTINGS)
def test_every_key_is_in_the_reference_with_type_and_default(name: str) -> None:
    check_key(rows(section(CONFIGURATION, f"`{name.split('.', maxsplit=1)[0]}`"))[name], SETTINGS[name])


@pytest.mark.parametrize(("kind", "name"), EXPORTER_KEYS)
def test_every_key_of_an_exporter_is_in_its_section_with_type_and_default(kind: str, name: str) -> None:
    cells = rows(section(CONFIGURATION, f"`type: {kind}`"))[name]
    if (kind, name) in {("pramathus", "api_key"), ("pramathus", "api_key_file")}:
        assert cells[1] == "one is required"  # no default, but a rule of its own
        cells[1] = ""
    check_key(cells, EXPORTER_KEYS[kind, name])


def test_what_all_exporters_have_in_common_is_in_the_reference() -> None:
    head = section(CONFIGURATION, "## `exporters`").split("\n### ")[0]
    every, batches = re.findall(r"^\| key .*?(?=\n\n)", head, re.MULTILINE | re.DOTALL)
    assert rows(every).keys() == dict(keys(ExporterConfig)).keys()
    assert rows(every).keys() | rows(batches).keys() == COMMON_KEYS.keys()
    for name, cells in (rows(every) | rows(batches)).items():
        if name != "type":
            check_key(cells, COMMON_KEYS[name])


@pytest.mark.parametrize("kind", PLUGINS)
def test_every_exporter_has_a_section_and_names_no_key_that_does_not_exist(kind: str) -> None:
    known = {name for of, name in EXPORTER_KEYS if of == kind}
    assert rows(section(CONFIGURATION, f"`type: {kind}`")).keys() == known


def test_the_reference_names_no_key_that_does_not_exist() -> None:
    for name in Settings.model_fields:
        known = {key for key in SETTINGS if key.startswith(f"{name}.")}
        assert rows(section(CONFIGURATION, f"## `{name}`")).keys() == known


def test_every_variable_is_in_the_reference_with_its_key() -> None:
    table = rows(section(CONFIGURATION, "Environment variables"))
    for variable, path in PROMISES.items():
        assert f"`{'.'.join(path)}`" in table[variable][0]
    for variable, (kind, name) in EXPORTER_PROMISES.items():
        assert f"`{kind}`" in table[variable][0]
        assert f"`{name}`" in table[variable][0]
    generic = {"MLFLOW_EXPORTER_<SECTION>__<KEY>", "MLFLOW_EXPORTER_CONFIG", DEFAULT_LISTEN}
    assert table.keys() == {*PROMISES, *EXPORTER_PROMISES, *generic}


def test_every_shorthand_is_in_the_reference() -> None:
    for short, (name, _) in SHORTHANDS.items():
        assert f"`{short}: {{" in CONFIGURATION
        assert f"`exporters.{name}`" in CONFIGURATION


def test_every_shared_flag_is_in_the_reference() -> None:
    flags = {f"--{name.replace('_', '-')}" for name in Options.__dataclass_fields__}
    assert {name.split()[0] for name in rows(section(CONFIGURATION, "## Flags"))} == flags


def test_the_shipped_configuration_is_the_default_one(tmp_path: Path) -> None:
    config = loaded(SHIPPED, tmp_path)
    defaults = load_config(None, exporter_types=PLUGINS.config_types, environ={})
    for name in Settings.model_fields:
        assert getattr(config, name) == getattr(defaults, name)
    # A level that is written counts as asked for, and makes commands that print their own result log as well.
    assert "level" not in config.logging.model_fields_set
    assert config.enabled_exporters() == defaults.exporters


@pytest.mark.parametrize("kind", PLUGINS)
def test_the_shipped_configuration_shows_every_key_of_an_exporter_with_its_default(kind: str) -> None:
    block = _block(_block(SHIPPED, "exporters"), kind)
    written = yaml.safe_load(block)
    own = [name for of, name in EXPORTER_KEYS if of == kind]
    for name in ("type", "enabled", *own):
        *path, last = name.split(".")
        inner, values = block, written
        for part in path:
            inner, values = _block(inner, part), values[part]
        assert _mentions(inner, last), name
        key = EXPORTER_KEYS.get((kind, name))
        if last in values and key is not None and key.default is not ...:
            assert shows(f"`{json.dumps(values[last])}`", key.default), name


@pytest.mark.parametrize("name", SETTINGS)
def test_the_shipped_configuration_shows_every_key(name: str) -> None:
    *path, last = name.replace(".<name>", "").split(".")
    block = SHIPPED
    for part in path:
        block = _block(block, part)
    assert _mentions(block, last)


def test_the_shipped_configuration_shows_every_common_key_where_exporters_begin() -> None:
    head = _block(_block(SHIPPED, "exporters"), "file")
    for name in COMMON_KEYS:
        block = head
        *path, last = name.split(".")
        for part in path:
            block = _block(block.replace("# ", ""), part)
        assert _mentions(block, last), name


def _block(text: str, name: str) -> str:
    """What is indented below ``name:``, comments included."""
    lines = iter(text.splitlines())
    start = (f"{name}:", f"# {name}:")
    indent = next(len(line) - len(line.lstrip()) for line in lines if line.lstrip().startswith(start))
    below = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        below.append(line)
    return "\n".join(below)


def _mentions(block: str, key: str) -> bool:
    """As a key, commented out or not. Of a secret's two forms the file is shown, and a comment names the other."""
    if re.search(rf"^\s*(# )?{key}:", block, re.MULTILINE):
        return True
    return f"# {key}_file:" in block and re.search(rf"#.*\b{key}\b", block) is not None


@pytest.mark.parametrize("login", ["basic", "token"])
def test_the_shipped_configuration_obeys_every_promised_variable(login: str, tmp_path: Path) -> None:
    environ = {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "ca.pem",
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": "client.pem",
        "EXPORT_INTERVAL": "5",
        "MAX_EXPERIMENTS": "0",
        "PROMETHEUS_GATEWAY": "gateway:9091",
        "PROMETHEUS_JOB_NAME": "job",
        "PRAMATHUS_ENDPOINT": "http://sink/in",
        "PRAMATHUS_API_KEY": "key",
        "PRAMATHUS_ENABLED": "true",
    }
    logins = {
        "basic": {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": "word"},
        "token": {"MLFLOW_TRACKING_TOKEN": "token"},
    }
    assert environ.keys() | {name for one in logins.values() for name in one} == {*PROMISES, *EXPORTER_PROMISES}
    config = loaded(SHIPPED, tmp_path, **environ, **logins[login])
    assert (config.mlflow.tracking_uri, config.mlflow.ca_file) == ("http://mlflow:5000", Path("ca.pem"))
    assert config.mlflow.client_cert_file == Path("client.pem")
    assert (config.export.interval, config.export.max_experiments) == (5.0, 0)
    assert (config.mlflow.username, config.mlflow.secret("token").get()) in {("user", None), (None, "token")}
    enabled = {name: block.model_dump() for name, block in config.enabled_exporters().items()}
    assert enabled.keys() == {"prometheus", "file", "pushgateway", "pramathus"}
    assert (enabled["pushgateway"]["gateway"], enabled["pushgateway"]["job_name"]) == ("http://gateway:9091", "job")
    assert enabled["pramathus"]["endpoint"] == "http://sink/in"
