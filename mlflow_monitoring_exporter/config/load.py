"""How a :class:`Config` comes to be: flag > environment > YAML > default, all problems at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from mlflow_monitoring_exporter.config.checks import (
    check_alerts,
    check_certificates,
    check_insecure,
    check_labels,
    check_selections,
    check_spool_server,
)
from mlflow_monitoring_exporter.config.environment import DEFAULT_LISTEN, read_environment
from mlflow_monitoring_exporter.config.layers import DEEPEST, Layer, Path, Place, problem, spoken
from mlflow_monitoring_exporter.config.schema import Config, MlflowConfig, Settings
from mlflow_monitoring_exporter.config.section import ExporterConfig, Section
from mlflow_monitoring_exporter.config.wording import Wording, wrong_type
from mlflow_monitoring_exporter.config.yaml_layer import read_yaml
from mlflow_monitoring_exporter.core.errors import SHOWN_PROBLEMS, ConfigError, ConfigProblem

ModelT = TypeVar("ModelT", bound=BaseModel)

DEFAULT_FILE = "config.yaml"

#: Without any configuration of exporters: what works on a machine with nothing else on it.
DEFAULT_EXPORTERS: Mapping[str, Any] = {"prometheus": {"type": "prometheus"}, "file": {"type": "file"}}

#: Top-level block -> (exporter, its type).
SHORTHANDS: Mapping[str, tuple[str, str]] = {
    "pramathus": ("pramathus", "pramathus"),
    "prometheus": ("pushgateway", "pushgateway"),
}


def find_config_file(flag: FilePath | None, environ: Mapping[str, str]) -> FilePath | None:
    """``--config``, else ``MLFLOW_EXPORTER_CONFIG``, else ./config.yaml if it is there."""
    if flag is not None:
        return flag
    if named := environ.get("MLFLOW_EXPORTER_CONFIG"):
        return FilePath(named)
    default = FilePath(DEFAULT_FILE)
    return default if default.exists() else None


def load_config(
    file: FilePath | None,
    *,
    exporter_types: Mapping[str, type[ExporterConfig]],
    environ: Mapping[str, str] = os.environ,
    flags: Iterable[tuple[str, str, Any]] = (),
    secrets: bool = True,
    certificates: bool = False,
) -> Config:
    """The valid configuration, or a ConfigError that names every problem.

    ``flags`` are ``(flag, dotted key, value)``, for example ``("--interval", "export.interval", "5s")``.
    Without ``secrets`` their files need not be there: for whoever uses none of them. With ``certificates`` those that
    we would connect with are tried, too.
    """
    problems: list[ConfigProblem] = []
    layer, servers = _layers(file, environ, flags, problems)
    first, *more = (_validate_servers(servers, layer, problems) if servers is not None else None) or (None,)
    if first is not None:
        layer.values["mlflow"] = first.model_dump(exclude_unset=True)
    tree = {k: v for k, v in layer.values.items() if k != "exporters"}
    settings = _validate(Settings, tree, (), layer, problems, types=exporter_types)
    exporters = _validate_exporters(layer, exporter_types, problems)
    if settings is not None:
        check_alerts(settings, layer, problems)
        check_selections(settings, exporters, layer, problems)
        check_labels(settings, layer, problems)
        check_spool_server(settings, more, layer, problems)
        check_insecure(settings, more, environ, problems)
        blocks = list(_blocks(settings, more, exporters))
        if secrets:
            for path, block in blocks:
                _read_secrets(block, path, layer, problems)
        if certificates:
            check_certificates(blocks, layer, problems)
    if problems or settings is None:
        raise ConfigError(problems)
    ours = {name: getattr(settings, name) for name in Settings.model_fields}
    return Config(**ours, more_mlflow=tuple(more), exporters=exporters)


def _layers(
    file: FilePath | None,
    environ: Mapping[str, str],
    flags: Iterable[tuple[str, str, Any]],
    problems: list[ConfigProblem],
) -> tuple[Layer, list[Any] | None]:
    """All layers as one, and the tracking servers if there is a list of them, which is not part of it."""
    layer = read_yaml(file, environ, problems) if file is not None else Layer()
    _expand_shorthands(layer, problems)
    if layer.get(("exporters",)) is None:
        layer.values["exporters"] = {name: dict(block) for name, block in DEFAULT_EXPORTERS.items()}
    servers = layer.values.pop("mlflow") if isinstance(layer.values.get("mlflow"), list) else None
    web = layer.get(("web",))
    if (listen := environ.get(DEFAULT_LISTEN)) and (web is None or (isinstance(web, dict) and "listen" not in web)):
        layer.set(("web", "listen"), listen, Place(DEFAULT_LISTEN, ""))
    layer.lay_over(read_environment(environ, layer, problems))
    upper = Layer()
    for flag, key, value in flags:
        path = tuple(key.split("."))
        if len(path) > DEEPEST:
            problems.append(ConfigProblem(flag, spoken(path), f"is nested too deeply: more than {DEEPEST} levels"))
            continue
        upper.set(path, value, Place(flag, spoken(path) if flag == "--set" else ""))
    layer.lay_over(upper)
    return layer, servers


def _validate_servers(blocks: list[Any], layer: Layer, problems: list[ConfigProblem]) -> list[MlflowConfig]:
    """Those of a list; a variable or a flag for one server would not say for which of them it is."""
    if not blocks:
        problems.append(problem(layer, ("mlflow",), "must name a server, or some"))
    if meant := layer.values.get("mlflow"):
        for key in meant:
            place = layer.place(("mlflow", key))
            problems.append(ConfigProblem(place.where, place.key, "mlflow is a list in the file: say it there"))
        del layer.values["mlflow"]
    found: list[MlflowConfig] = []
    for number, block in enumerate(blocks):
        path = ("mlflow", str(number))
        if not isinstance(block, dict):
            problems.append(problem(layer, path, "must be a mapping (key: value)"))
            continue
        server = _validate(MlflowConfig, block, path, layer, problems)
        if server is None:
            continue
        if server.name is None:
            problems.append(problem(layer, path, "needs a name: there are several servers"))
        elif server.name in {other.name for other in found}:
            problems.append(problem(layer, (*path, "name"), "is the name of another server already"))
        found.append(server)
    return found


def _expand_shorthands(layer: Layer, problems: list[ConfigProblem]) -> None:
    for short, (name, kind) in SHORTHANDS.items():
        if short not in layer.values:
            continue
        block = layer.values.pop(short)
        place = layer.place((short,))
        if not isinstance(block, dict):
            problems.append(ConfigProblem(place.where, short, "must be a mapping (key: value)"))
            continue
        exporters = layer.values.get("exporters")
        if exporters is None:
            exporters = layer.values["exporters"] = {other: dict(b) for other, b in DEFAULT_EXPORTERS.items()}
        target = exporters.setdefault(name, {"type": kind}) if isinstance(exporters, dict) else None
        if not isinstance(target, dict):
            continue  # `exporters` itself is wrong, and is reported as such
        for key, value in block.items():
            if key in target:
                problems.append(
                    ConfigProblem(
                        layer.place((short, key)).where,
                        spoken((short, key)),
                        f"is also given as {spoken(('exporters', name, key))}",
                    )
                )
                continue
            target[key] = value
        for path, where in list(layer.places.items()):
            if path[0] == short:
                layer.places.setdefault(("exporters", name, *path[1:]), where)


def _validate_exporters(
    layer: Layer, types: Mapping[str, type[ExporterConfig]], problems: list[ConfigProblem]
) -> dict[str, ExporterConfig]:
    blocks = layer.values.get("exporters") or {}
    valid: dict[str, ExporterConfig] = {}
    if not isinstance(blocks, dict):
        problems.append(problem(layer, ("exporters",), "must be a mapping (name: {type: ...})"))
        return valid
    for name, block in blocks.items():
        path = ("exporters", name)
        if not isinstance(block, dict):
            if not layer.was_refused(path):
                problems.append(problem(layer, path, "must be a mapping ({type: ...})"))
            continue
        kind = block.get("type", name)
        if not isinstance(kind, str) or kind not in types:
            missing = "type" not in block
            at = path if missing else (*path, "type")
            if not layer.was_refused(at):
                problems.append(problem(layer, at, wrong_type(kind, types, missing=missing)))
            continue
        try:
            model = types[kind]
        except ConfigError as error:
            problems.append(problem(layer, (*path, "type") if "type" in block else path, str(error)))
            continue
        found = _validate_exporter(model, {**block, "type": kind}, path, layer, problems)
        if found is not None:
            valid[name] = found
    return valid


def _validate_exporter(
    model: type[ExporterConfig], block: dict[str, Any], path: Path, layer: Layer, problems: list[ConfigProblem]
) -> ExporterConfig | None:
    """A disabled exporter may be incomplete, but what is written must still make sense."""
    found: list[ConfigProblem] = []
    try:
        enabled = TypeAdapter(bool).validate_python(block.get("enabled", True))
    except ValidationError:
        enabled = True
    config = _validate(model, block, path, layer, found, incomplete=not enabled)
    problems.extend(found)
    if config is None and not found:
        return ExporterConfig(type=block["type"], enabled=False)
    return config


def _validate(
    model: type[ModelT],
    values: Any,
    path: Path,
    layer: Layer,
    problems: list[ConfigProblem],
    *,
    incomplete: bool = False,
    types: Iterable[str] = (),
) -> ModelT | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        words = Wording(model, path, (*SHORTHANDS, "exporters"), tuple(types))
        for detail in error.errors(include_url=False):
            loc = tuple(str(part) for part in detail["loc"] if part != "[key]")  # said of a mapping's key itself
            if incomplete and detail["type"] in ("missing", "value_error") and len(loc) <= 1:
                continue
            if layer.was_refused(path + loc):
                continue
            place = layer.place(path + loc)
            shown = len(problems) < SHOWN_PROBLEMS  # the others are only counted
            text = words.say(detail, loc, place) if shown else "is wrong"
            problems.append(ConfigProblem(place.where, place.key, text))
    return None


def _blocks(
    settings: Settings, more: Sequence[MlflowConfig], exporters: Mapping[str, ExporterConfig]
) -> Iterator[tuple[Path, Section]]:
    """Every block that may name files, and where it is."""
    for name in Settings.model_fields:
        if isinstance(block := getattr(settings, name), Section):
            yield ("mlflow", "0") if name == "mlflow" and more else (name,), block
    yield from ((("mlflow", str(number)), server) for number, server in enumerate(more, start=1))
    yield from ((("exporters", name), exporter) for name, exporter in exporters.items() if exporter.enabled)


def _read_secrets(section: Section, path: Path, layer: Layer, problems: list[ConfigProblem]) -> None:
    for name in section.secret_fields():
        try:
            section.secret(name).get()
        except ConfigError as error:
            said = (": ".join(filter(None, (p.where, p.message))) for p in error.problems)
            problems.extend(problem(layer, (*path, f"{name}_file"), text) for text in said)
