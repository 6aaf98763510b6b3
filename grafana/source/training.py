"""mlflow-training: single runs, how they train, and which is better."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.source import parts, variables
from grafana.source.parts import OF_RUN
from grafana.source.variables import IF_OPEN, OF_EXPERIMENT, OF_METRIC, first, of_first, of_newest


def dashboard() -> models.Dashboard:
    return parts.board(
        "Training",
        "mlflow-training",
        "Learning curves of runs as they were seen, and runs compared with each other.",
        [
            *(variables.way(), variables.server(), variables.experiment(), variables.metric()),
            *(variables.stage(), variables.run(), variables.top()),
            variables.custom(
                "by",
                "Compare by",
                "What runs are put together by.",
                ("experiment_name", "model_stage", "metric", "run_id"),
            ),
        ],
        {"Curves": _curves(), "Runs compared": _compared(), "Stability": _stability()},
    )


_KEY = "server, experiment_name, run_id"
_LABEL = "{{experiment_name}} {{run_id}} {{metric}}"
#: What a metric of a split is of: ``val/loss`` and ``val_loss`` are the loss.
_SPLIT = "(train|training|val|valid|validation|eval|test)[/_.-]"


def _of(split: str) -> str:
    """The metrics of one split: ``val/loss`` and ``val_loss`` are the loss (label ``of``) of ``val``."""
    matchers = f'__name__=~"mlflow_.+",run_id!="",run_id=~"$run",metric=~"({split})[/_.-].+",{OF_EXPERIMENT}'
    named = f'label_replace({{{matchers}}}, "of", "$1", "metric", "[a-z]+[/_.-](.+)")'
    return f"max by ({_KEY}, of) ({named})"


def _curves() -> list[parts.PanelBuilder]:
    train = _of("train|training")
    chosen = (
        "group by (of) (label_replace("
        f'label_replace(mlflow_experiment_metric_latest{{{OF_METRIC}}}, "of", "$1", "metric", "(.+)"),'
        f' "of", "$2", "metric", "{_SPLIT}(.+)"))'
    )
    gap = f"clamp(({_of('val|valid|validation|eval|test')} - {train}) / abs({train}), -1, 3) and on (of) {chosen}"
    return [
        parts.curves(
            "Learning curves",
            "The chosen metrics in the runs to look at first, as they were at that time. A run that had ended before this"
            " exporter began is a straight line; its whole history is in MLflow.",
            {_LABEL: OF_RUN + of_first(OF_RUN)},
            span=24,
        ),
        parts.curves(
            "Slope",
            "How fast metrics of open runs change, per minute, over the last ten minutes. A loss that rises is above 0.",
            {_LABEL: f"60 * deriv({OF_RUN}[10m])" + IF_OPEN + of_first(OF_RUN)},
        ),
        parts.curves(
            "Gap between validation and training",
            "How far the chosen metrics are higher in validation than in training, as a share of the latter, at most"
            " 300%. A loss whose gap grows is overfitting.",
            {"{{experiment_name}} {{run_id}} {{of}}": f"({gap})" + first("$top")},
            unit="percentunit",
        ),
    ]


def _compared() -> list[parts.PanelBuilder]:
    # Whichever way is better: how far from the best value that there is.
    best = f"max by (server, experiment_name, metric) (mlflow_experiment_metric_best{{{OF_METRIC}}})"
    away = f"abs({OF_RUN} - on (server, experiment_name, metric) group_left () {best})"
    same = "and on (server, experiment_name, run_id, metric)"
    return [
        parts.bars(
            "Best",
            "The runs whose chosen metrics are nearest to the best one of their experiment.",
            f"sort({OF_RUN} {same} bottomk($top, {away}))",
            _LABEL,
        ),
        parts.bars(
            "Worst",
            "The shown runs whose chosen metrics are farthest from the best one of their experiment.",
            f"sort({OF_RUN} {same} topk($top, {away}))",
            _LABEL,
        ),
        parts.bars(
            "Mean by what is chosen",
            "Mean of each of the chosen metrics over the chosen runs, as far as they are finite, by the variable Compare by.",
            f"sort_desc(topk($top, avg by ($by, metric) ({OF_RUN} < Inf > -Inf)))",
            "{{$by}} {{metric}}",
        ),
        parts.bars(
            "Longest",
            "The chosen runs that took longest, or have taken until their last metric.",
            f"sort_desc(topk($top, mlflow_run_duration_seconds{{run_id=~'$run',{OF_EXPERIMENT}}}))",
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
            f"sort_desc(topk($top, mlflow_experiment_metric_stddev{{{OF_METRIC}}}"
            f" / abs(mlflow_experiment_metric_mean{{{OF_METRIC}}})))",
            "{{experiment_name}} {{metric}}",
            unit="percentunit",
        ),
        parts.curves(
            "Unrest of open runs",
            "Standard deviation of each metric over the last fifteen minutes, in runs that have not ended.",
            {_LABEL: f"stddev_over_time({OF_RUN}[15m])" + IF_OPEN + of_first(OF_RUN)},
        ),
        parts.bars(
            "Metrics that are not finite",
            "How many metrics of the chosen runs are NaN or infinite; those with the most.",
            f"sort_desc(topk($top, mlflow_run_nonfinite_metrics{{run_id=~'$run',{OF_EXPERIMENT}}}))",
            "{{experiment_name}} {{run_id}}",
        ),
        parts.curves(
            "Change from run to run",
            "By how much the run that finished last is better than the one before; below 0 it is worse.",
            {"{{experiment_name}} {{metric}}": of_newest("mlflow_experiment_metric_delta")},
        ),
    ]
