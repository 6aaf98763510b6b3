"""Suggestions for unknown keys and values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import get_args, get_origin

from pydantic import BaseModel

from mlflow_monitoring_exporter.config.layers import Path
from mlflow_monitoring_exporter.config.schema import Settings

#: Characters of a word that is compared with others.
_LONGEST = 64

#: Names at the top level, from older documents and of variables, and where that is now.
OLD_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("monitoring", "thresholds", "alerting", "rules", "alert"), "alerts"),
    **dict.fromkeys(("tracking_uri", "mlflow_tracking_uri", "mlflow_uri", "tracking_url"), "mlflow.tracking_uri"),
    **dict.fromkeys(("interval", "export_interval", "poll_interval", "polling_interval"), "export.interval"),
    **dict.fromkeys(
        ("gateway", "prometheus_gateway", "pushgateway_url", "pushgateway_gateway", "push_gateway"),
        "prometheus.gateway",
    ),
    **dict.fromkeys(("job_name", "prometheus_job_name", "pushgateway_job"), "prometheus.job_name"),
    **dict.fromkeys(("endpoint", "pramathus_endpoint", "pramathus_url"), "pramathus.endpoint"),
    **dict.fromkeys(("api_key", "pramathus_api_key"), "pramathus.api_key"),
    "pramathus_enabled": "pramathus.enabled",
    "pramathus_timeout": "pramathus.timeout",
    **dict.fromkeys(("log_level", "loglevel", "level"), "logging.level"),
    **dict.fromkeys(("log_format",), "logging.format"),
    **dict.fromkeys(("log_file",), "logging.file"),
    **dict.fromkeys(("log", "logs"), "logging"),
    **dict.fromkeys(("listen", "port", "host", "address"), "web.listen"),
    **dict.fromkeys(("server", "http", "metrics_server", "health"), "web"),
    **dict.fromkeys(("storage", "queue", "outbox", "database", "db"), "state"),
    **dict.fromkeys(("state_file", "state_path", "state_url"), "state.url"),
    **dict.fromkeys(("exporter", "sinks", "outputs", "platforms", "destinations"), "exporters"),
    **dict.fromkeys(("metrics", "metric_filter"), "export.metrics"),
    **dict.fromkeys(("experiments", "experiment_filter"), "export.experiments"),
    **dict.fromkeys(("labels",), "gauges.labels"),
}

_UNSAFE = ("verify", "verify_ssl", "ssl_verify", "tls_verify", "insecure", "insecure_tls", "insecure_skip_verify")
#: Names of keys of blocks in other products, and what the same is called here; the first that the block has counts.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("url", "uri", "endpoint", "address", "server", "gateway_url", "pushgateway_url", "prometheus_gateway"),
        ("gateway", "endpoint", "url", "tracking_uri", "host"),
    ),
    "gateway": ("endpoint", "url"),
    "job": ("job_name",),
    **dict.fromkeys(("api_key", "apikey", "key", "bearer_token", "access_token", "auth_token"), ("token", "api_key")),
    **dict.fromkeys(("api_key_path", "token_path"), ("token_file", "api_key_file")),
    **dict.fromkeys(("token",), ("api_key",)),
    **dict.fromkeys(("token_file", "bearer_token_file"), ("token_file", "api_key_file")),
    **dict.fromkeys(("user", "login"), ("username",)),
    **dict.fromkeys(("pass", "passwd"), ("password",)),
    **dict.fromkeys(
        ("ca", "cafile", "cacert", "ca_cert", "ca_certs", "ca_cert_file", "ca_bundle", "ca_path", "server_cert_path"),
        ("ca_file",),
    ),
    **dict.fromkeys(_UNSAFE, ("ca_file",)),
    **dict.fromkeys(
        (
            "cert",
            "certfile",
            "cert_file",
            "client_cert",
            "client_cert_path",
            "client_certificate",
            "tls_cert",
            "tls_cert_file",
        ),
        ("client_cert_file", "tls_cert_file"),
    ),
    **dict.fromkeys(
        ("keyfile", "key_file", "client_key", "client_key_path", "tls_key", "tls_key_file"),
        ("client_key_file", "tls_key_file"),
    ),
    **dict.fromkeys(("file", "filename", "db", "database"), ("path", "url")),
    **dict.fromkeys(("poll_interval", "export_interval", "period"), ("interval",)),
    **dict.fromkeys(("timeout_seconds", "request_timeout"), ("timeout",)),
    **dict.fromkeys(("batch", "chunk_size", "max_batch_size"), ("batch_size",)),
    **dict.fromkeys(("include", "exclude", "metrics", "experiments", "filter"), ("select",)),
    **dict.fromkeys(("greater_than", "gt", "upper"), ("above",)),
    **dict.fromkeys(("less_than", "lt", "lower"), ("below",)),
    "duration": ("for",),
    "port": ("listen",),
}
_WITH_REASON = dict.fromkeys(_UNSAFE, "; certificates are always checked, by the authorities in ca_file")

#: Other names of exporters' types.
_OTHER_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("prometheus_pushgateway", "push", "gateway", "prometheus_gateway"), "pushgateway"),
    **dict.fromkeys(("scrape", "metrics", "prometheus_scrape"), "prometheus"),
    **dict.fromkeys(("remotewrite", "prometheus_remote_write", "mimir", "victoriametrics", "thanos"), "remote_write"),
    **dict.fromkeys(("opentelemetry", "otel", "otlp_http", "otlp_grpc", "collector"), "otlp"),
    **dict.fromkeys(("influxdb", "influxdb2"), "influx"),
    **dict.fromkeys(("dogstatsd", "datadog"), "statsd"),
    **dict.fromkeys(("http", "https", "json", "webhook", "rest"), "http_json"),
    **dict.fromkeys(("jsonl", "json_lines", "jsonlines", "files", "disk"), "file"),
}


def meant_key(path: Path, known: Iterable[str], types: Iterable[str] = ()) -> tuple[Path, str] | None:
    """The path of the known key that an unknown one at ``path`` probably stands for, and what else is to be said.

    ``known`` are the keys of its block, ``types`` those of exporters, which belong below ``exporters``.
    """
    word, known = path[-1].lower().replace("-", "_"), tuple(known)
    if len(path) == 1 and word in OLD_NAMES:
        return tuple(OLD_NAMES[word].split(".")), ""
    for other in _OTHER_NAMES.get(word, ()):
        if other in known:
            return (*path[:-1], other), _WITH_REASON.get(word, "")
    if len(path) == 1 and word in types:
        return ("exporters", word), ""
    if found := close(word, known):
        return (*path[:-1], found), ""
    elsewhere = [key for key in setting_keys() if key[-1] == word]
    return (elsewhere[0], "") if len(elsewhere) == 1 else None


def meant_type(word: str, types: Iterable[str]) -> str | None:
    """The installed exporter's type that an unknown one probably stands for."""
    types, plain = tuple(types), word.lower().replace("-", "_")
    other = _OTHER_TYPES.get(plain)
    return other if other in types else close(plain, types)


def close(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like ``word``, if one is."""
    if len(word) > _LONGEST:
        return None
    known = sorted(known)
    longer = [other for other in known if other.startswith(word)] if len(word) > 2 else []
    return next(iter(difflib.get_close_matches(word, known, n=1)), longer[0] if len(longer) == 1 else None)


@cache
def setting_keys() -> tuple[Path, ...]:
    """Every key but those of exporters and of what has names that the operator gives."""
    return tuple(_keys(Settings, ()))


def _keys(model: type[BaseModel], path: Path) -> Iterator[Path]:
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is None]
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not sections:
            yield here
        elif get_origin(field.annotation) is not Mapping:
            yield from _keys(sections[0], here)
