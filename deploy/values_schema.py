"""Write values.schema.json of the Helm chart: `python -m deploy.values_schema`, or `make dashboards`.

``config`` has the product's own schema, so that Helm itself names a misspelt key; the other values have the types of
their defaults in values.yaml.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from mlflow_monitoring_exporter.config.describe import json_schema
from mlflow_monitoring_exporter.exporters.plugins import load_plugins

CHART = Path(__file__).parent / "helm" / "mlflow-monitoring-exporter"
#: Where anything may stand: Kubernetes knows, and its API says so.
_OPEN = {"type": "object"}
_FREE = ("labels", "annotations", "requests", "limits")
_TYPES: tuple[tuple[type, str], ...] = ((bool, "boolean"), (int, "integer"), (str, "string"), (list, "array"))


def to_text() -> str:
    """The whole file."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    config: dict[str, Any] = json.loads(json.dumps(json_schema(load_plugins().config_types)))
    definitions = config.pop("$defs", {})
    config.pop("$schema", None)
    schema = _of(values)
    schema["properties"]["config"] = {**config, "minProperties": 1}
    schema["properties"]["global"] = _OPEN  # Helm's own, for charts that this one is a part of
    whole = {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "$defs": definitions}
    return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _of(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        if not value or name in _FREE:
            return dict(_OPEN)
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {inner: _of(its, inner) for inner, its in value.items()},
        }
    return {"type": next(name for kind, name in _TYPES if isinstance(value, kind))}


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(to_text(), encoding="utf-8")
