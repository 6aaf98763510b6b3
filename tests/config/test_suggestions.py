"""An unknown word names the one that was probably meant, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_monitoring_exporter.config.load import SHORTHANDS, load_config
from mlflow_monitoring_exporter.config.schema import Settings
from mlflow_monitoring_exporter.config.suggest import OLD_NAMES, setting_keys
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.exporters.plugins import load_plugins

PLUGINS = load_plugins()


def said(text: str, tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "config.yaml", exporter_types=PLUGINS.config_types, environ={})
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("name", OLD_NAMES)
def test_a_name_of_older_documents_leads_to_where_that_is_now(name: str, tmp_path: Path) -> None:
    assert said(f"{name}: x\n", tmp_path) == f"config.yaml:1: {name}: unknown key; did you mean {OLD_NAMES[name]}?"


@pytest.mark.parametrize("meant", sorted(set(OLD_NAMES.values())))
def test_where_an_older_name_leads_to_there_is_something(meant: str) -> None:
    path = tuple(meant.split("."))
    if path[0] in SHORTHANDS:
        kind = SHORTHANDS[path[0]][1]
        assert path[1] in PLUGINS[kind].config.model_fields
    elif len(path) == 1:
        assert path[0] in {*Settings.model_fields, "exporters"}
    else:
        assert any(key[: len(path)] == path for key in setting_keys())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("monitoring:\n  alerts: []", "monitoring: unknown key; did you mean alerts?"),
        ("exporter: {}", "exporter: unknown key; did you mean exporters?"),
        ("otlp: {}", "otlp: unknown key; did you mean exporters.otlp?"),
        ("mlfow: {}", "mlfow: unknown key; did you mean mlflow?"),
        ("tags: [a]", "tags: unknown key; did you mean export.tags?"),
        ("mlflow: {url: x}", "mlflow.url: unknown key; did you mean tracking_uri?"),
        ("mlflow: {api_key: x}", "mlflow.api_key: unknown key; did you mean token?"),
        ("mlflow: {interval: 5}", "mlflow.interval: unknown key; did you mean export.interval?"),
        ("export: {metrics: {inclde: a}}", "export.metrics.inclde: unknown key; did you mean include?"),
        ("gauges: {labels: {ad: {}}}", "gauges.labels.ad: unknown key; did you mean add?"),
        ("alerts: {a: {metric: m, above: 1, metrc: x}}", "alerts.a.metrc: unknown key; did you mean metric?"),
        ("alerts: {a: {metric: m, upper: 1}}", "alerts.a.upper: unknown key; did you mean above?"),
        ("exporters: {file: {pth: x}}", "exporters.file.pth: unknown key; did you mean path?"),
        ("exporters: {file: {select: {metric: {}}}}", "select.metric: unknown key; did you mean metrics?"),
        ("exporters: {file: {sample: {evry: 2}}}", "sample.evry: unknown key; did you mean every?"),
        ("exporters: {pushgateway: {url: 'h:1'}}", "exporters.pushgateway.url: unknown key; did you mean gateway?"),
        ("exporters: {influx: {endpoint: x}}", "exporters.influx.endpoint: unknown key; did you mean url?"),
        ("exporters: {http_json: {api_key: x}}", "exporters.http_json.api_key: unknown key; did you mean token?"),
        ("exporters: {pramathus: {token: x}}", "exporters.pramathus.token: unknown key; did you mean api_key?"),
        ("exporters: {otlp: {cert_file: x}}", "exporters.otlp.cert_file: unknown key; did you mean client_cert_file?"),
        ("exporters: {otlp: {key_file: x}}", "exporters.otlp.key_file: unknown key; did you mean client_key_file?"),
        ("web: {key_file: x}", "web.key_file: unknown key; did you mean tls_key_file?"),
        ("mlflow: {verify: false}", "did you mean ca_file?; certificates are always checked"),
        ("prometheus: {pushgateway_url: x}", "prometheus.pushgateway_url: unknown key; did you mean gateway?"),
        (
            "exporters: {a: {type: pushgatway}}",
            "exporters.a.type: unknown type 'pushgatway'; did you mean pushgateway?",
        ),
        ("exporters: {a: {type: opentelemetry}}", "unknown type 'opentelemetry'; did you mean otlp?"),
        ("exporters: {a: {type: influxdb}}", "unknown type 'influxdb'; did you mean influx?"),
        ("exporters: {pushgatway: {gateway: 'h:1'}}", "exporters.pushgatway: needs a type, one of"),
        ("exporters: {pushgatway: {gateway: 'h:1'}}", "did you mean pushgateway?"),
        ("logging: {level: warn}", "logging.level: input should be"),
        ("logging: {level: warn}", "did you mean warning?"),
        ("state: {overflow: drop}", "did you mean drop_oldest?"),
        ("exporters: {statsd: {flavor: dogstats}}", "did you mean dogstatsd?"),
        ("gauges: {labels: {drop: [run_ids]}}", "did you mean run_id?"),
        (
            "export: {metrics: {direction: {loss: mn}}}",
            "export.metrics.direction.loss: input should be 'min' or 'max'; did you",
        ),
        ("alerts: {a: {metric: m, above: 1, severity: crit}}", "did you mean critical?"),
    ],
)
def test_every_level_suggests_what_it_knows(text: str, line: str, tmp_path: Path) -> None:
    assert line in said(text, tmp_path)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MLFLOW_EXPORTER_EXPRT__INTERVAL", "MLFLOW_EXPORTER_EXPORT__INTERVAL"),
        ("MLFLOW_EXPORTER_EXPORT__INTERVALL", "MLFLOW_EXPORTER_EXPORT__INTERVAL"),
        ("MLFLOW_EXPORTER_EXPORTERS__FILE__PTH", "MLFLOW_EXPORTER_EXPORTERS__FILE__PATH"),
        ("MLFLOW_EXPORTER_WEB__PORT", "MLFLOW_EXPORTER_WEB__LISTEN"),
        ("MLFLOW_EXPORTER_EXPORT_INTERVAL", "MLFLOW_EXPORTER_EXPORT__INTERVAL"),
        ("MLFLOW_EXPORTER_EXPORT_METRICS_INCLUDE", "MLFLOW_EXPORTER_EXPORT__METRICS__INCLUDE"),
    ],
)
def test_a_misspelled_variable_names_the_right_one(variable: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, exporter_types=PLUGINS.config_types, environ={variable: "5"})
    assert str(caught.value).startswith(f"{variable}: ")
    assert str(caught.value).endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("interval", "--set: interval: unknown key; did you mean export.interval?"),
        ("monitoring.rules", "--set: monitoring.rules: unknown key; did you mean alerts?"),
        ("exporters.file.pth", "--set: exporters.file.pth: unknown key; did you mean path?"),
        ("exprt.interval", "--set: exprt.interval: unknown key; did you mean export?"),
    ],
)
def test_a_misspelled_path_of_a_flag_names_the_right_one(key: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, exporter_types=PLUGINS.config_types, environ={}, flags=[("--set", key, "5")])
    assert str(caught.value) == line


def test_variables_that_kubernetes_sets_are_no_mistakes() -> None:
    names = (
        "PORT",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "PORT_9797_TCP",
        "PORT_9797_TCP_ADDR",
        "WEB_PORT",
        "STATE_SERVICE_HOST",
    )
    environ = {f"MLFLOW_EXPORTER_{name}": "tcp://10.0.0.1:80" for name in names}
    load_config(None, exporter_types=PLUGINS.config_types, environ=environ)
