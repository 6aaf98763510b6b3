"""mlflow-resources: the machines that runs train on, as MLflow's system metrics tell, and ourselves."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.variables import OF_EXPERIMENT, SELF, of_first


def dashboard() -> models.Dashboard:
    return parts.board(
        "Resource Monitoring",
        "mlflow-resources",
        "System metrics that MLflow logs beside a run (mlflow.enable_system_metrics_logging), and the exporter's own needs.",
        [
            *(variables.way(), variables.server(), variables.experiment(), variables.stage(), variables.run()),
            variables.top(),
        ],
        {
            "Processor and memory": _machine(),
            "Accelerators": _gpus(),
            "Disk and network": _traffic(),
            "Exporter": _exporter(),
        },
    )


def _system(title: str, description: str, key: str, unit: str, span: int = 12) -> parts.PanelBuilder:
    """A system metric of the chosen runs; ``key`` is a pattern of what stands behind ``system/``."""
    # Aggregates of experiments have the label metric, too, but no run; and a deviation may be below 0.
    matchers = (
        f'__name__=~"mlflow_.+",run_id!="",run_id=~"$run",model_stage=~"$stage",metric=~"system/{key}",{OF_EXPERIMENT}'
    )
    legend = "{{experiment_name}} {{run_id}} {{metric}}"
    return parts.curves(
        title, description, {legend: f"{{{matchers}}}" + of_first(f"{{{matchers}}}")}, unit=unit, span=span
    )


def _machine() -> list[parts.PanelBuilder]:
    return [
        _system(
            "Processor", "How busy the processors of each run's machine are.", "cpu_utilization_percentage", "percent"
        ),
        _system("Memory", "How full the memory of each run's machine is.", "system_memory_usage_percentage", "percent"),
    ]


def _gpus() -> list[parts.PanelBuilder]:
    return [
        _system(
            "Utilisation",
            "How busy each accelerator is. One that idles waits for data.",
            "gpu_.+_utilization_percentage",
            "percent",
            8,
        ),
        _system(
            "Memory of accelerators",
            "How full the memory of each accelerator is.",
            "gpu_.+_memory_usage_percentage",
            "percent",
            8,
        ),
        _system("Power", "What each accelerator draws.", "gpu_.+_power_usage_watts", "watt", 8),
    ]


def _traffic() -> list[parts.PanelBuilder]:
    return [
        _system("Disk", "How full the disk of each run's machine is.", "disk_usage_percentage", "percent"),
        _system(
            "Network", "Received and sent since the run began.", "network_(receive|transmit)_megabytes", "decmbytes"
        ),
    ]


def _exporter() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Processor of the exporter",
            "Seconds of processor time that each replica takes per second.",
            {"{{instance}}": f"rate(process_cpu_seconds_total{{{SELF}}}[$__rate_interval])"},
            unit="percentunit",
        ),
        parts.curves(
            "Memory of the exporter",
            "Memory that each replica occupies.",
            {"{{instance}}": f"process_resident_memory_bytes{{{SELF}}}"},
            unit="bytes",
        ),
    ]
