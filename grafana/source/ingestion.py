"""mlflow-ingestion: data pipelines, their stages, and the quality of what comes out of them."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.variables import OF_SERVER

_OF = f'pipeline=~"$pipeline",{OF_SERVER}'


def dashboard() -> models.Dashboard:
    return parts.board(
        "Data Ingestion",
        "mlflow-ingestion",
        "Data pipelines: whether they ran, how many records came out, how long each stage took, and data quality.",
        [variables.way(), variables.server(), variables.pipeline(), variables.top()],
        {"Pipelines": _pipelines(), "Stages": _stages(), "Quality": _quality()},
    )


def _pipelines() -> list[parts.PanelBuilder]:
    share = f"mlflow_pipeline_records{{{_OF}}} / mlflow_pipeline_expected_records{{{_OF}}}"
    return [
        parts.number("Pipelines", "That are known.", f"count(mlflow_pipeline_info{{{_OF}}})", span=6),
        parts.number(
            "Failed",
            "Pipelines whose last execution failed.",
            f'count(mlflow_pipeline_info{{status="FAILED",{_OF}}}) or vector(0)',
            bad_from=1,
            span=6,
        ),
        parts.number(
            "Longest without a success",
            "Since the last execution of a pipeline that succeeded; of the pipeline that waits longest.",
            f"time() - min(mlflow_pipeline_last_success_timestamp_seconds{{{_OF}}})",
            unit="s",
            span=6,
        ),
        parts.number(
            "Fewest records",
            "Records of the expected ones; of the pipeline with the smallest share.",
            f"min({share})",
            unit="percentunit",
            span=6,
        ),
        parts.rows(
            "Last executions",
            "Of each pipeline the one that began last.",
            {
                "Info": f"topk(100, max by (server, pipeline, status, run_id) (mlflow_pipeline_info{{{_OF}}}))",
                "Success": f"1000 * max by (server, pipeline) (mlflow_pipeline_last_success_timestamp_seconds{{{_OF}}})",
                "Records": f"max by (server, pipeline) (mlflow_pipeline_records{{{_OF}}})",
                "Expected": f"max by (server, pipeline) (mlflow_pipeline_expected_records{{{_OF}}})",
                "Took": f"max by (server, pipeline) (mlflow_pipeline_duration_seconds{{{_OF}}})",
            },
            {
                "server": "Server",
                "pipeline": "Pipeline",
                "status": "Status",
                "run_id": "Run",
                "Value #Success": "Last success",
                "Value #Records": "Records",
                "Value #Expected": "Expected",
                "Value #Took": "Took",
            },
            units={"Last success": "dateTimeFromNow", "Took": "s"},
            links={"Run": "/d/mlflow-training?var-run=${__value.raw}&${datasource:queryparam}&${job:queryparam}"},
            first="Value #Success",
        ),
    ]


def _stages() -> list[parts.PanelBuilder]:
    records, errors = (f"mlflow_pipeline_stage_{what}{{{_OF}}}" for what in ("records", "errors"))
    return [
        parts.bars(
            "How long each stage took",
            "In the last execution.",
            f"topk($top, mlflow_pipeline_stage_duration_seconds{{{_OF}}})",
            "{{pipeline}} {{stage}}",
            unit="s",
        ),
        parts.curves(
            "Records by stage",
            "That came out of each stage of the last execution.",
            {"{{pipeline}} {{stage}}": f"topk($top, {records})"},
        ),
        parts.curves(
            "Refused records",
            "Share of the records of each stage.",
            {"{{pipeline}} {{stage}}": f"topk($top, {errors} / ({records} + {errors}))"},
            unit="percentunit",
            span=24,
        ),
    ]


def _quality() -> list[parts.PanelBuilder]:
    return [
        parts.curves(
            "Data quality",
            "Results of checks by dimension.",
            {"{{pipeline}} {{dimension}}": f"topk($top, mlflow_pipeline_quality{{{_OF}}})"},
            span=24,
        )
    ]
