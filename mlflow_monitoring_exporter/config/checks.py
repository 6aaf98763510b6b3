"""What only shows when several blocks are seen together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlflow_monitoring_exporter.config.layers import Layer, Path, problem
from mlflow_monitoring_exporter.config.schema import MlflowConfig, Settings
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig, PatternFilter, Section
from mlflow_monitoring_exporter.config.tls import ClientTls, TlsFiles, TlsFilesError
from mlflow_monitoring_exporter.core.directions.direction import Directions
from mlflow_monitoring_exporter.core.disclosure import is_plain
from mlflow_monitoring_exporter.core.errors import ConfigProblem
from mlflow_monitoring_exporter.core.patterns import Patterns

#: A variable of MLflow's clients.
INSECURE = "MLFLOW_TRACKING_INSECURE_TLS"


def check_alerts(settings: Settings, layer: Layer, problems: list[ConfigProblem]) -> None:
    """An alert on what is not exported would silently never fire, and a threshold needs to know which side is worse."""
    metrics = settings.export.metrics
    for name, alert in settings.alerts.items():
        if alert.metric not in Patterns(metrics.include) or alert.metric in Patterns(metrics.exclude):
            metric = alert.metric if is_plain(alert.metric) else "this metric"
            text = f"{metric} is not exported: export.metrics leaves it out, so this alert would never fire"
            problems.append(problem(layer, ("alerts", name, "metric"), text))
        elif alert.threshold is not None and Directions(metrics.direction).of(alert.metric) is None:
            text = "which values of this metric are better is not known: write above or below instead"
            problems.append(problem(layer, ("alerts", name, "threshold"), text))


def check_selections(
    settings: Settings, exporters: Mapping[str, ExporterConfig], layer: Layer, problems: list[ConfigProblem]
) -> None:
    """Of gauges is selected by labels, so these must be there."""
    for name, exporter in exporters.items():
        if isinstance(exporter, BatchExporterConfig):
            continue
        chosen = {"experiment_name": exporter.select.experiments, "metric": exporter.select.metrics}
        for label, choice in chosen.items():
            if choice != PatternFilter() and label in settings.gauges.labels.drop:
                text = f"cannot select by the label {label}, which gauges.labels.drop leaves out"
                problems.append(problem(layer, ("exporters", name, "select"), text))


def check_labels(settings: Settings, layer: Layer, problems: list[ConfigProblem]) -> None:
    """No label may be two things."""
    if settings.mlflow.name and "server" in settings.gauges.labels.add:
        text = "is the name of the tracking server's own label, as mlflow has names"
        problems.append(problem(layer, ("gauges", "labels", "add", "server"), text))


def check_spool_server(
    settings: Settings, more: Iterable[MlflowConfig], layer: Layer, problems: list[ConfigProblem]
) -> None:
    """A spool is sent to a server that there is."""
    names = [server.name for server in (settings.mlflow, *more)]
    if (wanted := settings.tracking.server) is not None and wanted not in names:
        known = ", ".join(filter(None, names)) or "mlflow has no names"
        problems.append(problem(layer, ("tracking", "server"), f"there is no tracking server of this name: {known}"))


def check_certificates(blocks: Iterable[tuple[Path, Section]], layer: Layer, problems: list[ConfigProblem]) -> None:
    """Whether the files that we would connect with can be used."""
    for path, block in blocks:
        if isinstance(block, ClientTls) and (block.ca_file or block.client_cert_file):
            try:
                TlsFiles.of(block).context()
            except TlsFilesError as error:
                known = error.key in type(block).model_fields  # else it is a variable, which the text names
                problems.append(problem(layer, (*path, error.key) if known else path, str(error)))


def check_insecure(
    settings: Settings, more: Iterable[MlflowConfig], environ: Mapping[str, str], problems: list[ConfigProblem]
) -> None:
    """MLflow's own switch for trusting anybody would send a token to whoever answers, so it is not obeyed."""
    value = environ.get(INSECURE, "").strip().lower()
    secure = any(server.tracking_uri.startswith("https:") for server in (settings.mlflow, *more))
    if value not in ("", "0", "false") and secure:
        text = (
            "is not obeyed: whoever answers would get our credentials. Unset it, and set mlflow.ca_file "
            "(MLFLOW_TRACKING_SERVER_CERT_PATH) to the authority that signed the server's certificate, or to it itself"
        )
        problems.append(ConfigProblem(INSECURE, "", text))
