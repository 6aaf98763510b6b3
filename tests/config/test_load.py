from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from mlflow_monitoring_exporter.config import fields
from mlflow_monitoring_exporter.config.describe import json_schema, show
from mlflow_monitoring_exporter.config.fields import HttpUrl, check_http_url, parse_duration, since_ms
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.config.redaction import secrets_of
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.core.redaction import Redactor
from mlflow_monitoring_exporter.exporters.builtin.http_json import HttpJsonConfig
from mlflow_monitoring_exporter.exporters.plugins import load_plugins


class SinkConfig(BatchExporterConfig):
    type: Literal["pramathus"]
    endpoint: HttpUrl
    api_key: SecretStr | None = None
    api_key_file: Path | None = None


class GatewayConfig(ExporterConfig):
    type: Literal["pushgateway"]
    gateway: str
    job_name: str = "mlflow_metrics"


TYPES: Mapping[str, type[ExporterConfig]] = {
    "prometheus": ExporterConfig,
    "file": BatchExporterConfig,
    "pramathus": SinkConfig,
    "pushgateway": GatewayConfig,
    "http_json": HttpJsonConfig,
}


def load(
    directory: Path,
    text: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: list[tuple[str, str, Any]] | None = None,
) -> Config:
    file = None
    if text is not None:
        file = directory / "config.yaml"
        file.write_text(text, encoding="utf-8")
    return load_config(file, exporter_types=TYPES, environ=environ or {}, flags=flags or [])


def problems(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text, environ)
    return [str(problem).replace(f"{directory}/", "") for problem in caught.value.problems]


def test_without_any_configuration_the_embedded_default_is_used(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.mlflow.tracking_uri == "sqlite:///mlflow.db"
    assert set(config.enabled_exporters()) == {"prometheus", "file"}
    assert (config.export.interval, config.export.max_experiments) == (60.0, 10)


def test_flag_beats_environment_beats_yaml_beats_default(tmp_path: Path) -> None:
    text = "export: {interval: 5m, max_experiments: 3}\n"
    assert load(tmp_path, text).export.interval == 300
    assert load(tmp_path, text, {"EXPORT_INTERVAL": "20"}).export.interval == 20
    flags = [("--interval", "export.interval", "7s")]
    assert load(tmp_path, text, {"EXPORT_INTERVAL": "20"}, flags).export.interval == 7
    assert load(tmp_path, text, {"EXPORT_INTERVAL": "20"}, flags).export.max_experiments == 3


def test_every_problem_is_reported_at_once_with_file_line_and_key(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "export:\n  intervall: 5s\n  max_experiments: -1\nmlflow:\n  tracking_uri: mlflow://nonsense\n"
        "exporters:\n  prod: {type: pramathuss, endpoint: 'http://x'}\n",
        {"MLFLOW_EXPORTER_WEB__LISTEN": "nowhere"},
    )
    assert len(found) == 5
    schemes = "http://, https://, sqlite:///, postgresql:// or mysql://"
    assert found[0] == f"config.yaml:5: mlflow.tracking_uri: mlflow is not supported: use {schemes}"
    assert "config.yaml:2: export.intervall: unknown key; did you mean interval?" in found
    assert "config.yaml:7: exporters.prod.type: unknown type 'pramathuss'; did you mean pramathus?" in found
    assert "MLFLOW_EXPORTER_WEB__LISTEN: must be host:port, for example 127.0.0.1:9797" in found


def test_the_promised_variables_reach_their_exporters(tmp_path: Path) -> None:
    environ = {
        "PROMETHEUS_GATEWAY": "localhost:9091",
        "PROMETHEUS_JOB_NAME": "job",
        "PRAMATHUS_ENDPOINT": "http://sink/v1",
        "PRAMATHUS_API_KEY": "s3cret-key",
        "PRAMATHUS_ENABLED": "true",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000/",
        "MAX_EXPERIMENTS": "0",
    }
    config = load(tmp_path, None, environ)
    gateway, sink = config.exporters["pushgateway"], config.exporters["pramathus"]
    assert isinstance(gateway, GatewayConfig)
    assert (gateway.gateway, gateway.job_name, gateway.enabled) == ("localhost:9091", "job", True)
    assert isinstance(sink, SinkConfig)
    assert sink.secret("api_key").get() == "s3cret-key"
    assert config.mlflow.tracking_uri == "http://mlflow:5000"
    assert config.export.max_experiments == 0


def test_setting_the_gateway_enables_an_exporter_that_the_file_disables(tmp_path: Path) -> None:
    text = "exporters: {push: {type: pushgateway, enabled: false}}\n"
    assert not load(tmp_path, text).enabled_exporters()
    assert set(load(tmp_path, text, {"PROMETHEUS_GATEWAY": "gw:9091"}).enabled_exporters()) == {"push"}


def test_shorthand_blocks_mean_the_exporters_of_those_names(tmp_path: Path) -> None:
    text = "pramathus: {endpoint: 'http://sink', api_key: k}\nprometheus: {gateway: 'gw:9091', job_name: j}\n"
    assert set(load(tmp_path, text).enabled_exporters()) == {"prometheus", "file", "pramathus", "pushgateway"}
    both = "pramathus: {endpoint: 'http://a'}\nexporters: {pramathus: {endpoint: 'http://b'}}\n"
    assert problems(tmp_path, both) == [
        "config.yaml:1: pramathus.endpoint: is also given as exporters.pramathus.endpoint"
    ]


def test_variables_are_filled_in_and_typed_after_filling_in(tmp_path: Path) -> None:
    text = "export:\n  max_experiments: ${N}\n  history: ${H:-false}\n  tags: ['$${literal}']\n"
    config = load(tmp_path, text, {"N": "4"})
    assert (config.export.max_experiments, config.export.history) == (4, False)
    assert config.export.tags == ("${literal}",)
    assert "the variable N is not set" in problems(tmp_path, text)[0]


def test_a_secret_in_one_form_replaces_the_other_form_from_a_lower_layer(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    text = f"exporters: {{pramathus: {{endpoint: 'http://s', api_key_file: {tmp_path}/key}}}}\n"
    sink = load(tmp_path, text).exporters["pramathus"]
    assert sink.secret("api_key").get() == "from-file"
    assert load(tmp_path, text, {"PRAMATHUS_API_KEY": "env"}).exporters["pramathus"].secret("api_key").get() == "env"


def test_a_rotated_secret_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("old")
    text = f"exporters: {{pramathus: {{endpoint: 'http://s', api_key_file: {tmp_path}/key}}}}\n"
    secret = load(tmp_path, text).exporters["pramathus"].secret("api_key")
    assert secret.get() == "old"
    (tmp_path / "key").write_text("newer")
    assert secret.get() == "newer"
    (tmp_path / "key").unlink()
    assert secret.get() == "newer", "the last good value stays in use"


def test_a_missing_secret_file_is_one_clear_problem(tmp_path: Path) -> None:
    text = "exporters:\n  pramathus:\n    endpoint: http://s\n    api_key_file: /nonexistent/key\n"
    (found,) = problems(tmp_path, text)
    assert found.startswith("config.yaml:4: exporters.pramathus.api_key_file: /nonexistent/key: cannot read this")


def test_a_disabled_exporter_may_be_incomplete_but_not_misspelled(tmp_path: Path) -> None:
    assert load(tmp_path, "exporters: {pramathus: {enabled: false}}\n").enabled_exporters() == {}
    assert "unknown key" in problems(tmp_path, "exporters: {pramathus: {enabled: false, endpont: x}}\n")[0]


def test_kubernetes_service_variables_are_not_configuration(tmp_path: Path) -> None:
    load(tmp_path, None, {"MLFLOW_EXPORTER_PORT": "tcp://10.0.0.1:80", "MLFLOW_EXPORTER_SERVICE_HOST": "10.0.0.1"})


def test_show_prints_no_secret_and_can_be_loaded_again(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "mlflow: {tracking_uri: 'http://user:hunter2pass@mlflow:5000'}\n",
        {"PRAMATHUS_ENDPOINT": "http://sink", "PRAMATHUS_API_KEY": "planted-secret"},
    )
    text = show(config)
    assert "planted-secret" not in text
    assert "hunter2pass" not in text
    redactor = Redactor()
    redactor.learn(secrets_of(config))
    assert "planted-secret" not in redactor.text("the server said: bad key planted-secret")
    assert "hunter2pass" not in str(redactor.value({"event": ["http://user:hunter2pass@mlflow"]}))


def test_a_password_in_the_query_of_an_address_is_a_secret_too(tmp_path: Path) -> None:
    url = "postgresql://me@db.example/mlflow?sslmode=verify-full&sslpassword=planted%2Dsecret&password=another-one"
    config = load(tmp_path, None, {"MLFLOW_TRACKING_URI": url})
    redactor = Redactor()
    redactor.learn(secrets_of(config))
    said = show(config) + redactor.text(f"cannot read {url}: planted-secret is wrong")
    assert "planted" not in said
    assert "another-one" not in said
    assert "sslmode=verify-full" in said


@pytest.mark.parametrize("written", ["{X-Key: planted-secret}", '"X-Key: planted-secret"'])
def test_headers_are_secrets_whether_they_are_a_mapping_or_lines(written: str, tmp_path: Path) -> None:
    config = load(tmp_path, f"exporters: {{http_json: {{endpoint: 'http://s', headers: {written}}}}}\n")
    assert "planted-secret" not in show(config) + repr(config)
    redactor = Redactor()
    redactor.learn(secrets_of(config))
    assert "planted-secret" not in redactor.text("the server said: bad key planted-secret")


def test_gauges_cannot_be_selected_by_a_label_that_is_left_out(tmp_path: Path) -> None:
    text = """gauges: {labels: {drop: [metric]}}
exporters:
  prometheus:
    select: {metrics: {include: loss}, experiments: {include: a}}
  file:
    select: {metrics: {include: loss}}
"""
    (found,) = problems(tmp_path, text)
    text = "cannot select by the label metric, which gauges.labels.drop leaves out"
    assert found == f"config.yaml:4: exporters.prometheus.select: {text}"


def test_what_an_exporter_gets_is_written_like_everything_else(tmp_path: Path) -> None:
    text = "exporters: {file: {select: {metrics: {include: 'loss,acc'}}, rename: {'val/*': 'v.*'}, sample: {every: 5}}}"
    environ = {"MLFLOW_EXPORTER_EXPORTERS__FILE__SELECT__EXPERIMENTS__EXCLUDE": "a,b"}
    file = load(tmp_path, text, environ).exporters["file"]
    assert isinstance(file, BatchExporterConfig)
    assert (file.select.metrics.include, file.select.experiments.exclude) == (("loss", "acc"), ("a", "b"))
    assert (file.rename, file.sample.every) == ({"val/*": "v.*"}, 5)
    found = problems(tmp_path, "exporters: {file: {rename: {loss: 'a*'}, select: {metric: {}}}}")
    assert any("'a*' has more * than 'loss'" in problem for problem in found)
    assert any("unknown key; did you mean metrics?" in problem for problem in found)


def test_the_json_schema_knows_every_block(tmp_path: Path) -> None:
    schema = json_schema(TYPES)
    assert set(schema["properties"]) == {
        "mlflow", "export", "alerts", "analysis", "notifications", "links", "tracking",
        "gauges", "exporters", "state", "web", "logging", "pramathus", "prometheus",
    }  # fmt: skip


def test_the_json_schema_takes_the_shipped_file_and_blocks_that_are_named_like_their_type() -> None:
    schema = Draft202012Validator(json_schema(load_plugins().config_types))
    shipped = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
    assert [error.message for error in schema.iter_errors(shipped)] == []
    right: list[dict[str, Any]] = [{"prometheus": {}}, {"file": {"path": "x"}}, {"prod": {"type": "file", "path": "x"}}]
    wrong: list[dict[str, Any]] = [{"prod": {}}, {"prometheus": {"path": "x"}}, {"pramathus": {"enabled": True}}]
    assert [exporters for exporters in right if not schema.is_valid({"exporters": exporters})] == []
    assert [exporters for exporters in wrong if schema.is_valid({"exporters": exporters})] == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("60s", 60), ("1h30m", 5400), ("500ms", 0.5), ("2d", 172800)]
)
def test_durations_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


yaml_text = st.text(alphabet="abexport:mlflow \n-{}[]&*!|>'\"%#,?${}<1.~", max_size=200) | st.binary(max_size=100).map(
    lambda raw: raw.decode("latin-1")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(yaml_text)
def test_any_text_is_valid_or_a_config_error(tmp_path: Path, text: str) -> None:
    with suppress(ConfigError):
        load(tmp_path, text)


def test_aliases_cannot_unfold_without_end(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    assert any("aliases unfold" in problem for problem in problems(tmp_path, bomb))
    assert problems(tmp_path, "export: &a\n  interval: *a\n")


@pytest.mark.parametrize("url", ["http://a b", "http://host\n", "http://", "ftp://host", "http://host:port", "host"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|URL"):
        check_http_url(url)


NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("since", "moment"),
    [
        ("all", None),
        ("now", NOW),
        ("30d", NOW - 30 * 86_400_000),
        ("90", NOW - 90_000),
        ("2026-01-31", 1_769_817_600_000),
        ("2026-01-31T12:00:00+02:00", 1_769_853_600_000),
    ],
)
def test_how_far_back_reads_as_people_write_it(since: str, moment: int | None) -> None:
    assert since_ms(since, NOW) == moment


def test_a_yaml_date_is_a_date_and_nonsense_is_refused(tmp_path: Path) -> None:
    assert load(tmp_path, "export: {since: 2026-01-31}\n").export.since == "2026-01-31"
    assert "none of all, now, a duration" in problems(tmp_path, "export: {since: yesterday}\n")[0]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://db.example", "must name a host and a database: postgresql://host/database"),
        ("mysql:///mlflow", "must name a host and a database: mysql://host/database"),
        ("postgresql://db.example:port/mlflow", "is not the URL of a database"),
        ("postgresql+psycopg2://me@db.example/mlflow?sslmode=require", None),
        ("mysql+pymysql://me@db.example/mlflow", None),
    ],
)
def test_the_address_of_a_database(uri: str, said: str | None) -> None:
    if said is None:
        assert load_config(None, exporter_types=TYPES, environ={"MLFLOW_TRACKING_URI": uri}).mlflow.tracking_uri == uri
        return
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_config(None, exporter_types=TYPES, environ={"MLFLOW_TRACKING_URI": uri})


def test_a_database_without_its_driver_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'mlflow-monitoring-exporter[postgresql]'")):
        load_config(None, exporter_types=TYPES, environ={"MLFLOW_TRACKING_URI": "postgresql://db.example/mlflow"})


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("gauges: {labels: {add: {job: tag.x}}}", "gauges.labels.add.job", "is a label already"),
        ("gauges: {labels: {add: {1x: tag.x}}}", "gauges.labels.add.1x", "is not a label"),
        ("gauges: {labels: {add: {team: x}}}", "gauges.labels.add.team", "neither tag.<name> nor param.<name>"),
        ("gauges: {labels: {drop: [job]}}", "gauges.labels.drop.0", "experiment_name"),
        ("gauges: {labels: {max_values: 0}}", "gauges.labels.max_values", "greater than or equal to 1"),
        ("gauges: {runs: {lats: 3}}", "gauges.runs.lats", "did you mean last?"),
        ("gauges: {naming: natural}", "gauges.naming", "families"),
        ("gauges: {stalled_after: soon}", "gauges.stalled_after", "is not a duration"),
        ('export: {metrics: {rename: {"val/*": "a/*"}}}', "export.metrics.rename.val/*", "is not a name"),
        ('export: {metrics: {rename: {"val": "a_*"}}}', "export.metrics.rename", "more * than"),
        ("export: {metrics: {direction: {loss: down}}}", "export.metrics.direction.loss", "min"),
        ("export: {metrics: {direction: [loss]}}", "export.metrics.direction", "mapping"),
    ],
)
def test_a_wrong_wish_for_gauges_is_named_with_its_place(text: str, key: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, exporter_types=TYPES, environ={})
    (problem,) = caught.value.problems
    assert problem.where == f"{file}:1"
    assert problem.key == key
    assert said in problem.message


def test_wishes_for_gauges_may_come_from_flags_and_variables() -> None:
    flags = [("--set", "gauges.labels.add.team", "tag.team"), ("--set", "gauges.labels.drop", "run_id,metric")]
    environ = {"MLFLOW_EXPORTER_GAUGES__RUNS__BY": "val/acc,loss", "MLFLOW_EXPORTER_GAUGES__RUNS__LAST": "7"}
    gauges = load_config(None, exporter_types=TYPES, environ=environ, flags=flags).gauges
    assert (gauges.labels.add, gauges.labels.drop) == ({"team": "tag.team"}, ("run_id", "metric"))
    assert (gauges.runs.by, gauges.runs.last) == (("val/acc", "loss"), 7)
