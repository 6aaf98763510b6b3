"""mlflow-registry: versions of registered models, their aliases, and whether the champion still deserves its name."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.variables import OF_SERVER

_VERSION = "${__data.fields.public_url}/#/models/${__data.fields.Model}/versions/${__value.raw}"
_OF_MODEL = f'model=~"$model",metric=~"$metric",{OF_SERVER}'


def dashboard() -> models.Dashboard:
    return parts.board(
        "Model Registry",
        "mlflow-registry",
        "Registered models: who stands under which alias, how good that is, and what changed.",
        [
            variables.way(),
            variables.server(),
            variables.choice(
                "model",
                "Model",
                "Which registered models.",
                f"label_values(mlflow_model_version_info{{{OF_SERVER}}}, model)",
            ),
            variables.choice(
                "metric",
                "Metric",
                "Which metrics, as they were logged.",
                f"label_values(mlflow_model_alias_metric{{{OF_SERVER}}}, metric)",
                every=False,
            ),
            variables.top(),
        ],
        {"Versions": _versions(), "Champion against challenger": _champion()},
    )


def _versions() -> list[parts.PanelBuilder]:
    return [
        parts.number(
            "Models",
            "Registered models.",
            f"count(count by (server, model) (mlflow_model_version_info{{{OF_SERVER}}}))",
            span=6,
        ),
        parts.number(
            "Aliases",
            "Aliases of all models.",
            f"count(mlflow_model_version_info{{alias!='',{OF_SERVER}}}) or vector(0)",
            span=6,
        ),
        parts.number(
            "Changes of aliases",
            "Times that an alias was set, moved or removed since this exporter first saw the registry.",
            f"sum(mlflow_model_alias_changes_total{{{OF_SERVER}}}) or vector(0)",
            span=6,
        ),
        parts.number(
            "Beaten champions",
            "Models whose challenger, or else newest version, is better than the champion in some metric; as the alert has it.",
            'count(count by (server, model) (model_metric:mlflow_model_challenger_lead:sum{server=~"$server"} > 0)) or vector(0)',
            bad_from=1,
            span=6,
        ),
        parts.rows(
            "Versions",
            "Versions with an alias or a stage, and the newest of each model. The number leads to MLflow.",
            {
                "Info": parts.linked(
                    f'topk(100, mlflow_model_version_info{{model=~"$model",{OF_SERVER}}})',
                    "server, model, version, alias, stage, run_id",
                )
            },
            {
                "server": "Server",
                "model": "Model",
                "version": "Version",
                "alias": "Alias",
                "stage": "Stage",
                "run_id": "Run",
                "public_url": "public_url",
            },
            links={
                "Version": _VERSION,
                "Run": "/d/mlflow-training?var-run=${__value.raw}&${datasource:queryparam}&${job:queryparam}",
            },
            hidden=("public_url",),
            span=12,
        ),
        parts.curves(
            "Changes of aliases over time",
            "Each step is a promotion, or a way back.",
            {"{{model}} {{alias}}": f'topk($top, mlflow_model_alias_changes_total{{model=~"$model",{OF_SERVER}}})'},
        ),
    ]


def _champion() -> list[parts.PanelBuilder]:
    alias = "max by (server, model, metric) (mlflow_model_alias_metric{{alias='{}',{}}})"
    delta = "max by (server, model, metric) (mlflow_model_alias_metric_delta{{alias='{}',{}}})"
    return [
        parts.curves(
            "Metrics by alias",
            "The latest values of the run that made the version under each alias.",
            {"{{model}} {{alias}} {{metric}}": f"topk($top, mlflow_model_alias_metric{{{_OF_MODEL}}})"},
        ),
        parts.rows(
            "Champion and challenger",
            "Their metrics side by side. Lead: by how much the champion is better; negative means that it is beaten.",
            {
                "Champion": "topk(100, " + alias.format("champion", _OF_MODEL) + ")",
                "Challenger": alias.format("challenger", _OF_MODEL),
                "Lead": f"{delta.format('champion', _OF_MODEL)} - {delta.format('challenger', _OF_MODEL)}",
            },
            {
                "server": "Server",
                "model": "Model",
                "metric": "Metric",
                "Value #Champion": "Champion",
                "Value #Challenger": "Challenger",
                "Value #Lead": "Lead",
            },
            signed=("Lead",),
            span=12,
        ),
        parts.curves(
            "Lead over the newest version",
            "By how much the version under each alias is better than the newest; below 0 it is time to look at that.",
            {"{{model}} {{alias}} {{metric}}": f"topk($top, mlflow_model_alias_metric_delta{{{_OF_MODEL}}})"},
            span=24,
        ),
    ]
