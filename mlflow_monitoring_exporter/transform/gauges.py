"""From runs and their latest metrics to the gauges that Prometheus sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlflow_monitoring_exporter.model import GaugeFamily, GaugeSeries, RunGauges, Snapshot
from mlflow_monitoring_exporter.transform.names import family_name, short_run_ids

#: One text for all families: the Pushgateway complains of a family whose help differs between groups.
HELP = "Latest value of an MLflow metric; the label metric holds its key as logged."


def tagged_stage(tags: Mapping[str, str]) -> str:
    """The run's tag ``model_stage`` or ``stage``, else empty; what the registry says goes before it."""
    return tags.get("model_stage") or tags.get("stage") or ""


def build_snapshot(runs: Iterable[RunGauges], *, empty: Iterable[str] = ()) -> Snapshot:
    """All gauges, grouped by experiment id; equal input in any order gives an equal snapshot.

    ``empty`` names experiments that are watched but may have no series: their groups are there,
    without families, so that what they showed before disappears.
    """
    runs = sorted(runs, key=lambda run: (run.experiment_id, run.run_id))
    short = short_run_ids(run.run_id for run in runs)
    groups: dict[str, dict[str, list[GaugeSeries]]] = {experiment_id: {} for experiment_id in empty}
    for run in runs:
        families = groups.setdefault(run.experiment_id, {})
        common = (
            ("experiment_name", run.experiment_name),
            ("run_id", short[run.run_id]),
            ("model_stage", run.model_stage),
        )
        for key in sorted(run.values):
            series = GaugeSeries((*common, ("metric", key)), run.values[key])
            families.setdefault(family_name(key), []).append(series)
    return Snapshot({experiment_id: _families(groups[experiment_id]) for experiment_id in sorted(groups)})


def _families(series: Mapping[str, Sequence[GaugeSeries]]) -> tuple[GaugeFamily, ...]:
    return tuple(GaugeFamily(name, HELP, tuple(series[name])) for name in sorted(series))
