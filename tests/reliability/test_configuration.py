"""Any configuration is valid or a ConfigError, and a secret in it is never shown."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from mlflow_monitoring_exporter.app.destinations import create_destinations
from mlflow_monitoring_exporter.config.describe import fingerprint, show
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.redaction import secrets_of
from mlflow_monitoring_exporter.config.schema import Settings
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.core.redaction import Redactor
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from tests.parts.scaled import scaled

PLUGINS = load_plugins()
SECRET = "pl4nted-s3cret-v4lue"
#: The secret where secrets belong: in their own keys, and in addresses.
secrets = st.sampled_from([SECRET, f"${{NOWHERE:-{SECRET}}}"])
addresses = st.sampled_from(
    [f"http://user:{SECRET}@host:5000", f"https://{SECRET}@host/", "http://host:9091", "host:1"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["60s", "1h30m", "10MB", "host:9091", "http://host", "sqlite:///x.db", "json", "*", "-5s", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def likely(annotation: Any) -> st.SearchStrategy[Any]:
    """Values that may well be right for a key of this type."""
    text = str(annotation)
    if "bool" in text:
        return st.booleans()
    if "float" in text:
        return st.sampled_from([1, "60s", "500ms", 0.5])
    if "int" in text:
        return st.integers(1, 1000) | st.just("10MB")
    if "tuple" in text:
        return st.lists(st.sampled_from(["*", "a*", "loss"]), max_size=2)
    return st.sampled_from(["http://host:9091", "sqlite:///x.db", "127.0.0.1:0", "info", "json", "block", "name"])


def block(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """A block of this shape: mostly right, sometimes wrong, now and then with an unknown key."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if name == "type":
            continue
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields[name] = block(annotation)
        elif "Secret" in str(annotation):
            fields[name] = secrets
        elif name in ("tracking_uri", "endpoint", "gateway"):
            fields[name] = addresses
        else:
            fields[name] = st.one_of(*[likely(annotation)] * 8, values)
    odd = st.dictionaries(st.text(max_size=8), values, max_size=1)
    return st.builds(lambda known, more: {**more, **known}, st.fixed_dictionaries({}, optional=fields), odd)


def typed(kind: str) -> st.SearchStrategy[Any]:
    return block(PLUGINS[kind].config).map(lambda known: {"type": kind, **known})


exporters = st.dictionaries(
    st.sampled_from(["pushgateway", "pramathus", "file", "prometheus", "prod"]),
    st.one_of(*map(typed, PLUGINS), values),
    max_size=3,
)
trees = st.builds(
    lambda settings, more, extra: {**extra, **settings, **({"exporters": more} if more else {})},
    block(Settings),
    exporters,
    st.dictionaries(st.sampled_from(["pramathus", "prometheus", "nonsense"]), values, max_size=1),
)
numbers = st.sampled_from(["5", "0", "true", "nonsense", "", "127.0.0.1:0"])
variables = st.fixed_dictionaries(
    {},
    optional={
        "MLFLOW_TRACKING_TOKEN": secrets,
        "PRAMATHUS_API_KEY": secrets,
        "MLFLOW_TRACKING_URI": addresses,
        "PRAMATHUS_ENDPOINT": addresses,
        "PROMETHEUS_GATEWAY": addresses,
        "PRAMATHUS_ENABLED": numbers,
        "EXPORT_INTERVAL": numbers,
        "MAX_EXPERIMENTS": numbers,
        "MLFLOW_EXPORTER_WEB__LISTEN": numbers,
        "MLFLOW_EXPORTER_X__Y": numbers,
    },
)


@pytest.mark.timeout(1800)
@settings(max_examples=scaled(400, 10_000), deadline=None)
@given(tree=trees, environ=variables)
def test_any_configuration_is_valid_or_refused_and_its_secrets_stay_inside(
    tree: dict[str, Any], environ: dict[str, str]
) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "config.yaml"
        file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8", errors="replace")
        try:
            config = load_config(file, exporter_types=PLUGINS.config_types, environ=environ)
            destinations = create_destinations(config, PLUGINS)
        except ConfigError as error:
            said = [str(problem) for problem in error.problems]
            empty, lines = not said, sum(text.count("\n") for text in said)
        else:
            said = [show(config), fingerprint(config), repr(config), *(d.target for d in destinations)]
            redactor = Redactor()
            redactor.learn(secrets_of(config))
            said = [redactor.text(text) for text in said]
            empty, lines = False, 0
    assert not empty
    assert lines == 0, "each problem is one line"
    assert [text for text in said if SECRET in text] == []


#: Text as somebody might write it, and as nobody should: tags, anchors, aliases, merges, quotes, variables.
TAGS = (
    "!!str",
    "!!int",
    "!!float",
    "!!bool",
    "!!null",
    "!!timestamp",
    "!!binary",
    "!!set",
    "!!omap",
    "!!pairs",
    "!!map",
)
tags = st.sampled_from(["", "", "", *TAGS, "!!seq", "!!python/name:os.system", "!foo", "!", f"!{SECRET}"])
anchors = st.sampled_from(["", "", "&a", "&b", "&c"])
aliases = st.sampled_from(["*a", "*b", "*c", f"*{SECRET}"])
scalars = st.sampled_from(
    [
        *(
            "",
            "x",
            "5",
            "-1",
            "0o7",
            "0x_",
            "0b",
            "1_0",
            "+",
            "1:30",
            "1e5",
            ".inf",
            ".nan",
            "true",
            "on",
            "~",
            "null",
            "=",
            "<<",
        ),
        *(
            "2026-01-31",
            "2026-13-41",
            "9" * 30,
            "9" * 200,
            "'",
            '"\\q"',
            '"\\ud800"',
            '"\\0"',
            "60s",
            "http://host",
            "host:1",
        ),
        *(
            "sqlite:///x.db",
            "file",
            "${N}",
            "${NOWHERE}",
            "${NOWHERE:-}",
            "$${",
            "'*'",
            "@",
            "%",
            "`",
            "- a",
            "? a",
            ": b",
            "#",
        ),
        *(
            SECRET,
            f"'{SECRET}'",
            f"http://me:{SECRET}@host",
            f"http://me:{SECRET}",
            f"{SECRET}:x",
            f"http://[{SECRET}]",
        ),
    ]
)
words = st.sampled_from(
    [
        *("mlflow", "export", "gauges", "exporters", "state", "web", "logging", "alerts", "pramathus", "prometheus"),
        *(
            "tracking_uri",
            "token",
            "password",
            "token_file",
            "interval",
            "since",
            "max_experiments",
            "metrics",
            "rename",
        ),
        *("type", "enabled", "endpoint", "headers", "record", "api_key", "file", "select", "labels", "add", "max_size"),
        *("<<", "on", "1", "~", "", "? [a]", "'<<'", "!!int x", "monitoring", "name", "ca_file", "client_key_file"),
    ]
)


def written(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A value, with what may stand before it."""
    return st.builds(lambda anchor, tag, value: " ".join(filter(None, (anchor, tag, value))), anchors, tags, inner)


flows = st.recursive(
    written(scalars) | aliases,
    lambda inner: written(
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(words, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
        | st.lists(aliases, max_size=3).map(lambda some: f"{{<<: [{', '.join(some)}], path: x}}")
    ),
    max_leaves=12,
)
documents = st.lists(st.tuples(words, flows), max_size=5).map(
    lambda pairs: "".join(f"{key}: {value}\n" for key, value in pairs)
)


@pytest.mark.timeout(1800)
@settings(max_examples=scaled(300, 10_000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=documents, number=st.sampled_from(["5", "", SECRET, "!!int x", "{a: b}"]))
def test_any_text_with_tags_and_merges_is_valid_or_refused_in_little_memory(text: str, number: str) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "config.yaml"
        file.write_text(text, encoding="utf-8")
        tracemalloc.start()
        try:
            config = load_config(file, exporter_types=PLUGINS.config_types, environ={"N": number})
            said = [show(config), fingerprint(config), repr(config)]
            redactor = Redactor()
            redactor.learn(secrets_of(config))
            said = [redactor.text(one) for one in said]
        except ConfigError as error:
            said, count = str(error).splitlines(), len(error.problems)
        else:
            count = len(said)
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert len(said) == count > 0, "each problem is one line"
    assert peak < 50 << 20
    assert [one for one in said if SECRET in one] == []
