"""The variables of dashboards: what people choose at the top."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

#: Which way the values came: MLflow's series may be there by scrape and by Pushgateway. Every query picks one.
WAY = 'job="$job"'
OF_SERVER = f'{WAY},server=~"$server"'
OF_EXPERIMENT = f'{OF_SERVER},experiment_name=~"$experiment"'
OF_METRIC = f'{OF_EXPERIMENT},metric=~"$metric"'
#: Behind a query by run: only of those that have not ended.
IF_OPEN = f" and on (server, experiment_name, run_id) mlflow_run_stalled{{{OF_EXPERIMENT}}}"
Variable = Builder[models.VariableModel]
#: Rows of a table at most.
ROWS = 100


def first(limit: str | int, *, run: bool = True) -> str:
    """Behind a query by run: only of so many, those that a person looks at first; the same over the whole time.

    With ``run`` only those that the variable of this name chooses.
    """
    chosen = 'server=~"$server",experiment_name=~"$experiment"' + (',run_id=~"$run"' if run else "")
    return f" and on (server, experiment_name, run_id) topk({limit}, run:mlflow_run_attention:max{{{chosen}}} @ end())"


def of_first(values: str) -> str:
    """Values by run and metric: the chosen number of them, of the runs that a person looks at first."""
    rank = (
        f"group by (server, experiment_name, run_id, metric) ({values} @ end()) * on (server, experiment_name, run_id)"
        ' group_left () run:mlflow_run_attention:max{server=~"$server",experiment_name=~"$experiment"} @ end()'
    )
    return f" and on (server, experiment_name, run_id, metric) topk($top, {rank})"


def of_newest(family: str) -> str:
    """A family by experiment and metric: the chosen number, of the experiments in which a run started last."""
    return (
        f"{family}{{{OF_METRIC}}} and on (server, experiment_name, metric)"
        f" topk($top, group by (server, experiment_name, metric) ({family}{{{OF_METRIC}}} @ end())"
        " * on (server, experiment_name) group_left ()"
        f" mlflow_experiment_last_run_start_timestamp_seconds{{{OF_EXPERIMENT}}} @ end())"
    )


#: What the exporter says of itself always comes by scrape.
SELF = 'job="mlflow-exporter"'


def choice(
    name: str, label: str, description: str, query: str, *, several: bool = True, every: bool = True
) -> builders.QueryVariable:
    """A variable whose values are those of a label: ``several`` at a time, at first ``every`` one or else the first."""
    made = (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}", "qryType": 1})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(several)
    )
    if several and every:
        current = models.VariableOption(selected=True, text=["All"], value=["$__all"])
        made = made.include_all(include_all=True).all_value(".*").current(current)
    return made


def way() -> Variable:
    """By scrape (mlflow-exporter), or through the Pushgateway."""
    return choice(
        "job",
        "Way",
        "By scrape (mlflow-exporter) or through the Pushgateway (mlflow_metrics): both show the same.",
        "label_values(mlflow_experiment_runs, job)",
        several=False,
    )


def server() -> Builder[models.VariableModel]:
    """All of them match a tracking server without a name, too."""
    return choice(
        "server", "Server", "Which tracking servers, by name.", "label_values(mlflow_exporter_server_info, server)"
    )


def experiment() -> Builder[models.VariableModel]:
    return choice(
        "experiment",
        "Experiment",
        "Which experiments.",
        f"label_values(mlflow_experiment_runs{{{OF_SERVER}}}, experiment_name)",
    )


def metric() -> Builder[models.VariableModel]:
    """One at first, for different metrics have different scales."""
    return choice(
        "metric",
        "Metric",
        "Which metrics, as they were logged.",
        f'label_values(mlflow_experiment_metric_latest{{metric!~"system/.+",{OF_EXPERIMENT}}}, metric)',
        every=False,
    )


def stage() -> Builder[models.VariableModel]:
    return choice(
        "stage",
        "Stage",
        "Alias or stage of the model that a run made.",
        f"label_values(mlflow_run_info{{{OF_EXPERIMENT}}}, model_stage)",
    )


def run() -> Builder[models.VariableModel]:
    return choice(
        "run",
        "Run",
        "Which runs, by the beginning of their id.",
        f'label_values(mlflow_run_info{{{OF_EXPERIMENT},model_stage=~"$stage"}}, run_id)',
    )


def deployment() -> Builder[models.VariableModel]:
    return choice(
        "deployment",
        "Deployment",
        "Which models in production, by the ids of their deployments.",
        "label_values(mlflow_deployment_predictions_total, deployment)",
    )


def feature() -> Builder[models.VariableModel]:
    return choice(
        "feature",
        "Feature",
        "Which features; the prediction itself is one, too.",
        'label_values(mlflow_deployment_feature_missing_ratio{deployment=~"$deployment"}, feature)',
    )


def pipeline() -> Builder[models.VariableModel]:
    return choice(
        "pipeline", "Pipeline", "Which data pipelines.", f"label_values(mlflow_pipeline_info{{{OF_SERVER}}}, pipeline)"
    )


def top() -> Builder[models.VariableModel]:
    return custom("top", "Top", "How many series a panel shows at most.", ("10", "5", "20", "50"))


def custom(name: str, label: str, description: str, values: Sequence[str]) -> Builder[models.VariableModel]:
    """A variable with these values; the first is chosen."""
    options = [models.VariableOption(selected=value == values[0], text=value, value=value) for value in values]
    return (
        builders.CustomVariable(name)
        .label(label)
        .description(description)
        .values(",".join(values))
        .current(options[0])
        .options(options)
    )


def source() -> Builder[models.VariableModel]:
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus")


def mlflow() -> Builder[models.VariableModel]:
    """Hidden, not chosen: the exporter knows where people open MLflow (``mlflow.public_url``)."""
    made = choice(
        "mlflow",
        "MLflow",
        "Where the link to MLflow leads.",
        "label_values(mlflow_exporter_server_info, public_url)",
        several=False,
    )
    return made.hide(models.VariableHide.HIDE_VARIABLE)
