"""Write deploy/kubernetes/prometheusrule.yaml from prometheus/rules: `python -m deploy.operator_rules`."""

from __future__ import annotations

from pathlib import Path

import yaml

from mlflow_monitoring_exporter.prometheus.yaml_text import to_yaml_text

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deploy" / "kubernetes" / "prometheusrule.yaml"
_HEAD = "# From prometheus/rules, by `make dashboards`; not to be edited. Needs the Prometheus operator.\n"


def to_text() -> str:
    """The whole manifest."""
    files = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "mlflow-exporter", "labels": {"app.kubernetes.io/name": "mlflow-monitoring-exporter"}},
        "spec": {"groups": [g for file in files for g in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]},
    }
    return _HEAD + to_yaml_text(rule)


if __name__ == "__main__":
    FILE.write_text(to_text(), encoding="utf-8")
