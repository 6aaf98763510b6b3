"""Read the configuration: defaults, then a file or a dict, then the environment. All problems are told at once."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from mlflow_monitoring_tracking import settings as sections
from mlflow_monitoring_tracking.settings import Settings

#: Environment variables, and the key that each one sets. They win over the file.
VARIABLES: Mapping[str, str] = {
    "MLFLOW_TRACKING_URI": "mlflow.tracking_uri",
    "MLFLOW_TRACKING_USERNAME": "mlflow.username",
    "MLFLOW_TRACKING_PASSWORD": "mlflow.password",
    "MLFLOW_TRACKING_TOKEN": "mlflow.token",
    "MLFLOW_WORKSPACE": "mlflow.workspace",
    "MLFLOW_TRACKING_SERVER_CERT_PATH": "mlflow.ca_file",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH": "mlflow.client_cert_file",
    "MLFLOW_EXPERIMENT_NAME": "mlflow.experiment_name",
    "WANDB_PROJECT": "wandb.project",
    "TRACKING_DB_URL": "database.url",
    "TRACKING_DIR": "tracking_dir",
    "TRACKING_MODE": "mode",
}
_CHOICES = {"mode": ("online", "offline", "disabled"), "ranks": ("zero", "all"), "storage.type": ("local", "s3")}
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TIMES = {"": 1, "ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*")


class ConfigurationError(ValueError):
    """The configuration is wrong; ``problems`` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(
    source: str | os.PathLike[str] | Mapping[str, Any] | None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of a file, a dict, or the file that ``TRACKING_CONFIG_PATH`` names; of nothing: the defaults.

    :raises ConfigurationError: with every mistake in it.
    """
    where, given = "the configuration", source
    if given is None and environ.get("TRACKING_CONFIG_PATH"):
        given = environ["TRACKING_CONFIG_PATH"]
    if given is not None and not isinstance(given, Mapping):
        where = os.fspath(given)
        given = _read(Path(where))
    problems: list[str] = []
    loaded: Any = _section(Settings, given or {}, "", where, problems)
    for variable, key in VARIABLES.items():
        if value := environ.get(variable):
            loaded = _with(loaded, key, value, f"the variable {variable}", problems)
    if loaded.spool.fsync not in {"always", "never"}:
        try:
            _amount(loaded.spool.fsync, _TIMES)
        except ValueError:
            problems.append(f"{where}: spool.fsync: always, never or a time such as 1s, not {loaded.spool.fsync!r}")
    if problems:
        raise ConfigurationError(problems)
    return loaded  # type: ignore[no-any-return]


def seconds(text: str) -> float:
    """The seconds of ``1s``, ``500ms``, ``2 min``.

    :raises ValueError: it is none.
    """
    return float(_amount(text, _TIMES))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{path} is not UTF-8"]) from error
    try:
        loaded = json.loads(text) if path.suffix == ".json" else _yaml(text, path)
    except ValueError as error:
        raise ConfigurationError([f"{path}: {' '.join(str(error).split())}"]) from error
    if loaded is None:
        return {}
    if not isinstance(loaded, Mapping):
        raise ConfigurationError([f"{path} holds no mapping of keys to values"])
    return loaded


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ConfigurationError(
            [f"{path} is YAML, which needs PyYAML: pip install 'mlflow-monitoring-tracking[yaml]', or hand over a dict"]
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _section(kind: type[Any], given: object, prefix: str, where: str, problems: list[str]) -> Any:
    if given is None:
        return kind()
    if not isinstance(given, Mapping):
        problems.append(f"{where}: {prefix.rstrip('.')}: a mapping is needed, not {_shown(prefix, given)}")
        return kind()
    hints, known = get_type_hints(kind, vars(sections)), {field.name: field for field in fields(kind)}
    values = {}
    for key, value in given.items():
        if key in known:
            values[key] = _value(hints[key], value, f"{prefix}{key}", where, problems)
        else:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            problems.append(f"{where}: {prefix}{key}: there is no such key{hint}")
    return kind(**{key: value for key, value in values.items() if value is not _BAD})


_BAD = object()


def _value(hint: Any, value: object, key: str, where: str, problems: list[str]) -> Any:
    if is_dataclass(hint):
        return _section(hint, value, f"{key}.", where, problems)  # type: ignore[arg-type]
    try:
        return _converted(hint, value, key)
    except ValueError as error:
        problems.append(f"{where}: {key}: {error}")
        return _BAD


def _converted(hint: Any, value: object, key: str) -> Any:
    if (choices := _CHOICES.get(key)) and value not in choices:
        raise ValueError(f"one of {', '.join(choices)} is needed, not {value!r}")
    text = str(hint)
    if value is None and "None" in text:
        return None
    for part, convert in _CONVERSIONS:
        if part in text:
            return convert(value)
    if isinstance(value, (Mapping, list)):
        raise ValueError("text is needed")  # noqa: TRY004 - one kind of error for whatever is wrong
    return str(value)


def _list(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise ValueError("a list is needed")  # noqa: TRY004
    return tuple(str(item) for item in value)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("a mapping is needed")  # noqa: TRY004
    return dict(value)


def _boolean(value: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise ValueError("true or false is needed")
    return found


def _amount(value: object, units: Mapping[str, float]) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return value
    found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    unit = units.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise ValueError(f"a number is needed, if you like with {', '.join(filter(None, units))}")
    return float(found[1]) * unit


#: What part of an annotation says how a value is read; the first one that fits.
_CONVERSIONS: tuple[tuple[str, Callable[[object], Any]], ...] = (
    ("bool", _boolean),
    ("tuple", _list),
    ("Mapping", _mapping),
    ("int", lambda value: int(_amount(value, _UNITS))),
    ("float", lambda value: float(_amount(value, _TIMES))),
)


def _with(loaded: Any, key: str, value: str, where: str, problems: list[str]) -> Any:
    first, _, rest = key.partition(".")
    if rest:
        return replace(loaded, **{first: _with(getattr(loaded, first), rest, value, where, problems)})
    if (choices := _CHOICES.get(key)) and value not in choices:
        problems.append(f"{where}: one of {', '.join(choices)} is needed, not {value!r}")
        return loaded
    return replace(loaded, **{first: value})


def _shown(key: str, value: object) -> str:
    return "what stands there" if any(word in key for word in ("password", "token", "url")) else repr(value)[:60]
