"""mlflow-training: single runs, how they train, and which is better."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.parts import OF_RUN
from grafana.source.variables import IF_OPEN, OF_EXPERIMENT, OF_METRIC


def dashboard() -> models.Dashboard:
    return parts.board(
        "MLflow: training",
        "mlflow-training",
        "Learning curves of runs as they were seen, and runs compared with each other.",
        [
            *(variables.way(), variables.experiment(), variables.metric(), variables.stage(), variables.run()),
            variables.custom(
                "by",
                "Compare by",
                "What runs are put together by.",
                ("experiment_name", "model_stage", "metric", "run_id"),
            ),
        ],
        {"Curves": _curves(), "Runs compared": _compared(), "Stability": _stability()},
    )


def _of(split: str) -> str:
    """The metrics of one split: ``val/loss`` and ``val_loss`` are the loss (label ``of``) of ``val``."""
    matchers = f'__name__=~"mlflow_.+",run_id!="",run_id=~"$run",metric=~"({split})[/_.-].+",{OF_EXPERIMENT}'
    named = f'label_replace({{{matchers}}}, "of", "$1", "metric", "[a-z]+[/_.-](.+)")'
    return f"max by (experiment_name, run_id, of) ({named})"


def _curves() -> list[parts.PanelBuilder]:
    gap = f"{_of('val|valid|validation|eval|test')} - {_of('train|training')}"
    return [
        parts.curves(
            "Learning curves",
            "The value of each chosen metric in each chosen run, as it was at that time. A run that had ended before this"
            " exporter began is a straight line; its whole history is in MLflow.",
            {"{{experiment_name}} {{run_id}} {{metric}}": OF_RUN},
            span=24,
        ),
        parts.curves(
            "Slope",
            "How fast metrics of open runs change, per minute, over the last ten minutes. A loss that rises is above 0.",
            {"{{experiment_name}} {{run_id}} {{metric}}": f"60 * deriv({OF_RUN}[10m])" + IF_OPEN},
        ),
        parts.curves(
            "Gap between validation and training",
            "val/x minus train/x, for every x that is there as both. A loss whose gap grows is overfitting.",
            {"{{experiment_name}} {{run_id}} {{of}}": gap},
        ),
    ]


def _compared() -> list[parts.PanelBuilder]:
    label = "{{experiment_name}} {{run_id}} {{metric}}"
    return [
        parts.bars("Highest", "The ten largest values of the chosen metrics.", f"topk(10, {OF_RUN})", label),
        parts.bars("Lowest", "The ten smallest values of the chosen metrics.", f"bottomk(10, {OF_RUN})", label),
        parts.bars(
            "Mean by what is chosen",
            "Mean of the chosen metrics over the chosen runs, as far as they are finite, by the variable Compare by.",
            f"avg by ($by) ({OF_RUN} < Inf > -Inf)",
            "{{$by}}",
        ),
        parts.bars(
            "Duration",
            "How long each of the chosen runs took, or has taken until its last metric.",
            f"sort_desc(mlflow_run_duration_seconds{{run_id=~'$run',{OF_EXPERIMENT}}})",
            "{{experiment_name}} {{run_id}}",
            unit="dtdurations",
        ),
    ]


def _stability() -> list[parts.PanelBuilder]:
    return [
        parts.bars(
            "Spread between runs",
            "Standard deviation over the mean, of all runs of each experiment: how much a metric depends on luck and on"
            " parameters.",
            f"mlflow_experiment_metric_stddev{{{OF_METRIC}}} / abs(mlflow_experiment_metric_mean{{{OF_METRIC}}})",
            "{{experiment_name}} {{metric}}",
            unit="percentunit",
        ),
        parts.curves(
            "Unrest of open runs",
            "Standard deviation of each metric over the last fifteen minutes, in runs that have not ended.",
            {"{{experiment_name}} {{run_id}} {{metric}}": f"stddev_over_time({OF_RUN}[15m])" + IF_OPEN},
        ),
        parts.bars(
            "Metrics that are not finite",
            "How many metrics of each chosen run are NaN or infinite.",
            f"sort_desc(mlflow_run_nonfinite_metrics{{run_id=~'$run',{OF_EXPERIMENT}}})",
            "{{experiment_name}} {{run_id}}",
        ),
        parts.curves(
            "Change from run to run",
            "By how much the run that finished last is better than the one before; below 0 it is worse.",
            {"{{experiment_name}} {{metric}}": f"mlflow_experiment_metric_delta{{{OF_METRIC}}}"},
        ),
    ]
