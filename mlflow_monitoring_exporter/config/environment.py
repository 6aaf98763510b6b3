"""The environment as a layer.

The variables of :data:`PROMISES` are part of the product's interface and never change. Every other
key is ``MLFLOW_EXPORTER_<SECTION>__<KEY>``; names without a double underscore are ignored, because
Kubernetes itself sets ``MLFLOW_EXPORTER_PORT`` and its like beside a service of that name. One that would be a key
with another underscore is refused: it sets nothing, and who wrote it believes that it does. An empty
variable counts as not set, because Compose passes unset variables on as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_monitoring_exporter.config.layers import DEEPEST, Layer, Path, Place
from mlflow_monitoring_exporter.config.suggest import setting_keys
from mlflow_monitoring_exporter.core.errors import ConfigProblem

PREFIX = "MLFLOW_EXPORTER_"

#: What ``web.listen`` is where nothing else says it: the loopback of a container cannot be reached from outside.
DEFAULT_LISTEN = "MLFLOW_EXPORTER_DEFAULT_LISTEN"

#: Variable -> key. The exporters' own are handled by :func:`_exporter_variables`.
PROMISES: Mapping[str, Path] = {
    "MLFLOW_TRACKING_URI": ("mlflow", "tracking_uri"),
    "MLFLOW_TRACKING_USERNAME": ("mlflow", "username"),
    "MLFLOW_TRACKING_PASSWORD": ("mlflow", "password"),
    "MLFLOW_TRACKING_TOKEN": ("mlflow", "token"),
    "MLFLOW_TRACKING_SERVER_CERT_PATH": ("mlflow", "ca_file"),
    "MLFLOW_TRACKING_CLIENT_CERT_PATH": ("mlflow", "client_cert_file"),
    "EXPORT_INTERVAL": ("export", "interval"),
    "MAX_EXPERIMENTS": ("export", "max_experiments"),
}

#: Variable -> (exporter type, key of its block).
EXPORTER_PROMISES: Mapping[str, tuple[str, str]] = {
    "PROMETHEUS_GATEWAY": ("pushgateway", "gateway"),
    "PROMETHEUS_JOB_NAME": ("pushgateway", "job_name"),
    "PRAMATHUS_ENDPOINT": ("pramathus", "endpoint"),
    "PRAMATHUS_API_KEY": ("pramathus", "api_key"),
    "PRAMATHUS_ENABLED": ("pramathus", "enabled"),
}

#: Those that bring their exporter into being; the others only adjust one that exists.
_CREATING = frozenset({"PROMETHEUS_GATEWAY", "PRAMATHUS_ENDPOINT", "PRAMATHUS_ENABLED"})


def variable_of(path: Path) -> str:
    """The variable that sets the key at ``path``."""
    return PREFIX + "__".join(path).upper().replace("-", "_")


def read_environment(environ: Mapping[str, str], lower: Layer, problems: list[ConfigProblem]) -> Layer:
    """The layer of ``environ``. ``lower`` says which exporters exist already."""
    layer = Layer()
    for variable, path in PROMISES.items():
        if value := environ.get(variable):
            layer.set(path, value, Place(variable, ""))
    _exporter_variables(environ, lower, layer)
    for variable in sorted(environ):
        rest = variable.removeprefix(PREFIX)
        if rest == variable or not environ[variable]:
            continue
        path = _match_exporter_name(tuple(rest.lower().split("__")), lower)
        if len(path) == 1:
            problems += [
                ConfigProblem(variable, "", f"sets nothing; did you mean {variable_of(key)}?")
                for key in setting_keys()
                if "_".join(key) == path[0]
            ]
        elif len(path) > DEEPEST:
            problems.append(ConfigProblem(variable[:60], "", f"is nested too deeply: more than {DEEPEST} levels"))
        else:
            layer.set(path, environ[variable], Place(variable, ""))
    return layer


def _exporter_variables(environ: Mapping[str, str], lower: Layer, layer: Layer) -> None:
    for variable, (kind, key) in EXPORTER_PROMISES.items():
        value = environ.get(variable)
        if not value:
            continue
        name = _exporter_of(kind, lower, layer)
        if name is None:
            if variable not in _CREATING:
                continue
            name = kind
        layer.set(("exporters", name, key), value, Place(variable, ""))
        if variable == "PROMETHEUS_GATEWAY":
            layer.set(("exporters", name, "enabled"), True, Place(variable, ""))


def _exporter_of(kind: str, *layers: Layer) -> str | None:
    """The exporter that a variable means: the one named like its type, else the only one of it."""
    blocks: dict[str, Any] = {}
    for layer in layers:
        found = layer.get(("exporters",))
        blocks |= found if isinstance(found, dict) else {}
    if kind in blocks:
        return kind
    names = [name for name, block in blocks.items() if isinstance(block, dict) and block.get("type") == kind]
    return names[0] if len(names) == 1 else None


def _match_exporter_name(path: Path, lower: Layer) -> Path:
    """Variables are upper case without dashes; exporter names need not be."""
    blocks = lower.get(("exporters",))
    if len(path) > 1 and path[0] == "exporters" and isinstance(blocks, dict):
        for name in blocks:
            if name.lower().replace("-", "_") == path[1]:
                return (path[0], name, *path[2:])
    return path
