"""The configuration as people and editors want to see it: effective values, and a JSON Schema."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import yaml

from mlflow_monitoring_exporter.config.load import SHORTHANDS
from mlflow_monitoring_exporter.config.redaction import secrets_of
from mlflow_monitoring_exporter.config.schema import Config, Settings
from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.core.redaction import Redactor


def show(config: Config) -> str:
    """The effective configuration as YAML that could be loaded again, but for its secrets."""
    redactor = Redactor()
    redactor.learn(secrets_of(config))
    tree = config.model_dump(mode="json", by_alias=True, exclude={"exporters", "more_mlflow"})
    if config.more_mlflow:
        tree["mlflow"] = [server.model_dump(mode="json") for server in config.servers]
    tree["exporters"] = {name: block.model_dump(mode="json", by_alias=True) for name, block in config.exporters.items()}
    text: str = yaml.safe_dump(redactor.value(_without_none(tree)), sort_keys=False, allow_unicode=True)
    return text


def fingerprint(config: Config) -> str:
    """Eight hexadecimal digits that change with the effective configuration, but not with its secrets."""
    return blake2b(show(config).encode(), digest_size=4).hexdigest()


def json_schema(exporter_types: Mapping[str, type[ExporterConfig]]) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of config.yaml with the installed exporters."""
    schema = Settings.model_json_schema(mode="validation")
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    blocks = {}
    for kind, model in sorted(exporter_types.items()):
        block = model.model_json_schema(mode="validation")
        definitions.update(block.pop("$defs", {}))
        block["properties"]["type"] = {"const": kind, "type": "string"}
        # One that is switched off need not be whole.
        needed = [name for name in block.pop("required", ()) if name != "type"]
        block["if"] = {"properties": {"enabled": {"const": False}}, "required": ["enabled"]}
        block["else"] = {"required": needed}
        definitions[f"exporter_{kind}"] = block
        blocks[kind] = {"$ref": f"#/$defs/exporter_{kind}"}
    properties: dict[str, Any] = schema["properties"]
    any_of_them = {"type": "object", "required": ["type"], "anyOf": list(blocks.values())}
    properties["exporters"] = {
        "description": "Where everything goes: any name, and a block whose type is one of the installed exporters.",
        "type": "object",
        # A block may leave its type out when it is named like one.
        "properties": {kind: {"anyOf": [block, any_of_them]} for kind, block in blocks.items()},
        "additionalProperties": any_of_them,
    }
    one = properties["mlflow"]
    properties["mlflow"] = {
        "description": one.get("description", "The tracking server, or a list of them."),
        "anyOf": [one, {"type": "array", "minItems": 1, "items": {**_reference(one), "required": ["name"]}}],
    }
    for short, (name, kind) in SHORTHANDS.items():
        block = copy.deepcopy(definitions.get(f"exporter_{kind}", {"type": "object"}))
        for rule in ("if", "else"):
            block.pop(rule, None)
        block["description"] = f"Shorthand for exporters.{name}."
        properties[short] = block
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "mlflow-monitoring-exporter configuration"
    return schema


def _reference(block: Mapping[str, Any]) -> dict[str, Any]:
    return {"$ref": block["$ref"]}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value]
    return value
