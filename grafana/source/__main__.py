"""Write the dashboards: `python -m grafana.source [DIRECTORY]`, by default to grafana/dashboards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import alerts, drift, health, ingestion, overview, parts, production, registry, resources, training
from mlflow_monitoring_exporter.grafana.shipped import to_text

DASHBOARDS = {
    "mlflow-dashboard": overview.dashboard,
    "mlflow-training": training.dashboard,
    "mlflow-resources": resources.dashboard,
    "mlflow-exporter-health": health.dashboard,
    "mlflow-registry": registry.dashboard,
    "mlflow-production": production.dashboard,
    "mlflow-drift": drift.dashboard,
    "mlflow-ingestion": ingestion.dashboard,
    "mlflow-alerts": alerts.dashboard,
}


#: What Grafana's library writes into every variable, though only those of intervals know it.
_OF_INTERVALS = ("auto", "auto_count", "auto_min")


def encode(dashboard: Dashboard) -> str:
    """As JSON, in a stable order."""
    tree = json.loads(JSONEncoder().encode(dashboard))
    for event in tree["annotations"]["list"]:
        event["titleFormat"] = parts.EVENT_TITLES[event["name"]]
    for variable in tree["templating"]["list"]:
        for key in _OF_INTERVALS:
            variable.pop(key, None)
    return to_text(tree)


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "dashboards"
    directory.mkdir(parents=True, exist_ok=True)
    for name, build in DASHBOARDS.items():
        (directory / f"{name}.json").write_text(encode(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
