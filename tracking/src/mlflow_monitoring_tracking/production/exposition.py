"""What production looks like now, for Prometheus: in the serving process, or in any other that reads its spool."""

from __future__ import annotations

from mlflow_monitoring_tracking.production import feature_files, truth_shown
from mlflow_monitoring_tracking.production.families import Family, counted
from mlflow_monitoring_tracking.production.places import ProductionDirectory
from mlflow_monitoring_tracking.production.processes import totals
from mlflow_monitoring_tracking.spool.times import now_ms


def families(place: ProductionDirectory) -> list[Family]:
    """Everything that is known of all deployments of a spool, of all processes; nothing where nothing was counted.

    :raises OSError: the directory cannot be read.
    """
    if not place.path.is_dir():
        return []
    return [
        *counted(totals(place.counts)),
        *feature_files.shown(place.shown, now_ms()),
        *truth_shown.shown(place.truth_shown),
    ]
