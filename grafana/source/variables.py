"""The variables of dashboards: what people choose at the top."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

#: Which way the values came: MLflow's series may be there by scrape and by Pushgateway. Every query picks one.
WAY = 'job="$job"'
OF_EXPERIMENT = f'{WAY},experiment_name=~"$experiment"'
OF_METRIC = f'{OF_EXPERIMENT},metric=~"$metric"'
#: Behind a query by run: only of those that have not ended.
IF_OPEN = f" and on (experiment_name, run_id) mlflow_run_stalled{{{OF_EXPERIMENT}}}"
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


def way() -> Builder[models.VariableModel]:
    """By scrape (mlflow-exporter), or through the Pushgateway."""
    return choice(
        "job",
        "Way",
        "By scrape (mlflow-exporter) or through the Pushgateway (mlflow_metrics): both show the same.",
        "label_values(mlflow_experiment_runs, job)",
        several=False,
    )


def experiment() -> Builder[models.VariableModel]:
    return choice(
        "experiment",
        "Experiment",
        "Which experiments.",
        f"label_values(mlflow_experiment_runs{{{WAY}}}, experiment_name)",
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
    address = "http://localhost:5000"
    return (
        builders.TextBoxVariable("mlflow")
        .label("MLflow")
        .description("Where links to runs lead.")
        .default_value(address)
        .current(models.VariableOption(selected=True, text=address, value=address))
    )
