"""mlflow-exporter-health: does the exporter poll, deliver, and stay within its budget?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts
from grafana.source.variables import SELF

_RATE = "[$__rate_interval]"


def dashboard() -> models.Dashboard:
    return parts.board(
        "Exporter Health",
        "mlflow-exporter-health",
        "The exporter's own metrics: polls, delivery, queues and the series budget, of every replica.",
        [],
        {"Now": _now(), "Polls": _polls(), "Delivery": _delivery(), "Queues": _queues(), "Series budget": _budget()},
    )


def _now() -> list[parts.PanelBuilder]:
    return [
        parts.number("Replicas", "Exporters that Prometheus can scrape.", "count(up{" + SELF + "} == 1) or vector(0)"),
        parts.number(
            "Not ready",
            "Components of any replica that do not work: MLflow, the state file, or an exporter.",
            f"count(mlflow_exporter_ready{{{SELF}}} == 0) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Age of the data",
            "Time since the tracking server that was read longest ago was last read.",
            f"time() - min(max by (server) (mlflow_exporter_last_poll_success_timestamp_seconds{{{SELF}}}))",
            unit="s",
            bad_from=600,
        ),
        parts.number(
            "Oldest in a queue",
            "How long the oldest batch has waited for its platform; 0 when nothing waits.",
            f"max(time() - mlflow_exporter_queue_oldest_timestamp_seconds{{{SELF}}}) or vector(0)",
            unit="s",
            bad_from=900,
        ),
        parts.number(
            "Dead letters",
            "Samples that a platform refused for good. They are kept: queue list says why.",
            f"sum(mlflow_exporter_dead_letter_samples{{{SELF}}}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Series left out",
            "Series that are missing because there are more than gauges.max_series.",
            f"sum(mlflow_exporter_series_left_out{{reason='max_series',{SELF}}}) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Refused configurations",
            "Replicas that still use the old configuration, because the new one is wrong.",
            f"count(mlflow_exporter_config_last_reload_successful{{{SELF}}} == 0) or vector(0)",
            bad_from=1,
        ),
        parts.number(
            "Damaged state files",
            "Times that a state file was set aside since its replica started.",
            f"sum(mlflow_exporter_state_resets_total{{{SELF}}})",
            bad_from=1,
        ),
        parts.states(
            "Ready", "What works, as /readyz says it.", f"mlflow_exporter_ready{{{SELF}}}", "{{component}} {{instance}}"
        ),
        parts.rows(
            "Replicas and releases",
            "Which release runs where, since when, and with which configuration (a hash without secrets).",
            {
                "Release": f"max by (instance, version, python) (mlflow_exporter_build_info{{{SELF}}})",
                "Config": f"max by (instance, hash) (mlflow_exporter_config_info{{{SELF}}})",
                "Started": f"1000 * max by (instance) (mlflow_exporter_start_time_seconds{{{SELF}}})",
            },
            {
                "instance": "Replica",
                "version": "Version",
                "python": "Python",
                "hash": "Configuration",
                "Value #Started": "Started",
            },
            units={"Started": "dateTimeFromNow"},
            span=12,
        ),
    ]


def _polls() -> list[parts.PanelBuilder]:
    duration = f"sum by (le) (rate(mlflow_exporter_poll_duration_seconds_bucket{{{SELF}}}{_RATE}))"
    return [
        parts.curves(
            "Polls by result",
            "Per minute. A skipped poll means that the one before it took longer than the interval.",
            {"{{result}}": f"60 * sum by (result) (rate(mlflow_exporter_polls_total{{{SELF}}}{_RATE}))"},
        ),
        parts.curves(
            "Duration of polls",
            "Median and 99th percentile.",
            {"median": f"histogram_quantile(0.5, {duration})", "99%": f"histogram_quantile(0.99, {duration})"},
            unit="s",
        ),
        parts.curves(
            "Watched",
            "Experiments and runs that are watched.",
            {
                "experiments": f"max(mlflow_exporter_experiments{{{SELF}}})",
                "runs": f"max(mlflow_exporter_runs{{{SELF}}})",
            },
        ),
        parts.curves(
            "Read from MLflow",
            "Points of histories per second, and records that break MLflow's own rules and were left out.",
            {
                "points": f"sum(rate(mlflow_exporter_samples_read_total{{{SELF}}}{_RATE}))",
                "skipped records": f"sum(rate(mlflow_exporter_records_skipped_total{{{SELF}}}{_RATE}))",
            },
            unit="cps",
        ),
    ]


def _delivery() -> list[parts.PanelBuilder]:
    duration = f"sum by (le, exporter) (rate(mlflow_exporter_export_duration_seconds_bucket{{{SELF}}}{_RATE}))"
    return [
        parts.curves(
            "Delivered",
            "Samples per second that each platform acknowledged.",
            {"{{exporter}}": f"sum by (exporter) (rate(mlflow_exporter_samples_delivered_total{{{SELF}}}{_RATE}))"},
            unit="cps",
        ),
        parts.curves(
            "Attempts by result",
            "Attempts to deliver, per minute.",
            {
                "{{exporter}} {{result}}": f"60 * sum by (exporter, result) (rate(mlflow_exporter_exports_total{{{SELF}}}{_RATE}))"
            },
        ),
        parts.curves(
            "Duration of attempts",
            "99th percentile.",
            {"{{exporter}}": f"histogram_quantile(0.99, {duration})"},
            unit="s",
        ),
        parts.rows(
            "Exporters",
            "Samples since the state file was made: queued = delivered + waiting + dead letters + lost on purpose.",
            {
                what: f"sum by (exporter) (mlflow_exporter_{metric}{{{SELF}}})"
                for what, metric in (
                    ("Queued", "samples_enqueued_total"),
                    ("Delivered", "samples_delivered_total"),
                    ("Waiting", "queue_samples"),
                    ("Dead", "dead_letter_samples"),
                    ("Lost", "samples_dropped_total"),
                )
            },
            {
                "exporter": "Exporter",
                "Value #Queued": "Queued",
                "Value #Delivered": "Delivered",
                "Value #Waiting": "Waiting",
                "Value #Dead": "Dead letters",
                "Value #Lost": "Lost on purpose",
            },
            span=12,
        ),
    ]


def _queues() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Waiting samples",
            "Samples that wait for each platform.",
            {"{{exporter}}": f"sum by (exporter) (mlflow_exporter_queue_samples{{{SELF}}})"},
            span=8,
        ),
        parts.curves(
            "Size of queues",
            "Bytes in the state file that wait for each platform; state.max_size is shared among them.",
            {"{{exporter}}": f"sum by (exporter) (mlflow_exporter_queue_bytes{{{SELF}}})"},
            unit="bytes",
            span=8,
        ),
        parts.states(
            "Delivering",
            "Whether each exporter delivers; else it backs off, or is parked because its credentials are refused.",
            f"mlflow_exporter_state{{state='closed',{SELF}}}",
            "{{exporter}}",
            span=8,
        ),
    ]


def _budget() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Series",
            "Series of MLflow that are shown, and that are left out, by reason.",
            {
                "shown": f"max(mlflow_exporter_series{{{SELF}}})",
                "left out: {{reason}}": f"max by (reason) (mlflow_exporter_series_left_out{{{SELF}}})",
            },
        ),
        parts.bars(
            "Series by family",
            "The ten families with the most series of one way.",
            'topk(10, count by (__name__) ({__name__=~"mlflow_.+",__name__!~"mlflow_exporter_.+",' + SELF + "}))",
            "{{__name__}}",
        ),
    ]
