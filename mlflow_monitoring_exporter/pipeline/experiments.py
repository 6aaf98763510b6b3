"""Selected experiments, of which there may be ten thousand in every poll: what is as it was is the same object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_monitoring_exporter.core.directions.direction import hints_of
from mlflow_monitoring_exporter.core.values import Experiment
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.state.read_progress import Experiments, KnownExperiment
from mlflow_monitoring_exporter.transform.selection import Selection


class SelectedExperiments:
    """Those of one tracking server."""

    def __init__(self, source: Source, selection: Selection) -> None:
        self._source = source
        self._selection = selection
        self._listed: Sequence[Experiment] = ()
        self._known: Experiments | None = None

    def found(self, before: Experiments) -> Experiments:
        """What the source lists now; what was known ``before`` when it says that nothing is different."""
        listed = self._source.experiments()
        if listed is self._listed and before is self._known:
            return before
        self._listed, self._known = listed, None
        return Experiments(
            (e.experiment_id, KnownExperiment(e.name, hints=hints_of(e.tags)))
            for e in listed
            if self._selection.experiment(e.name)
        )

    def settled(self, known: Experiments) -> None:
        """This became known of what was found last."""
        self._known = known


def now_known(
    found: Experiments, before: Experiments, watched: Sequence[str], activity: Mapping[str, int]
) -> Experiments:
    """What is known now of the experiments that were found; what is as it was ``before`` is the same object."""
    if found is before and list(before.watched) == watched and before.activity == activity:
        return before
    chosen = frozenset(watched)
    known = Experiments()
    for i, e in found.items():
        new = KnownExperiment(e.name, i in chosen, activity.get(i), e.hints)
        old = before.get(i)
        known[i] = old if old is not None and old == new else new
    return before if known == before else known
