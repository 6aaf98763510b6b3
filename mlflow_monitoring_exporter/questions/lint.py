"""What lint looks at: the newest runs of each experiment, their curves, inputs and files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.analysis.curves import Curve
from mlflow_monitoring_exporter.analysis.lint import LintFinding, RunFacts
from mlflow_monitoring_exporter.analysis.lint import lint as apply_rules
from mlflow_monitoring_exporter.analysis.lint.findings import ExperimentFacts
from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import OPEN_STATUSES, Run
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.search import FoundExperiment, Parts, RunReader, Search

#: Runs that are looked at, runs whose files are listed, and points that are read of all of them together.
RUNS, FILES_OF, POINTS = 200, 50, 1_000_000
_IDS = 100


@dataclass(frozen=True, slots=True)
class LintReport:
    """What was found, in how many experiments, and of how many runs metadata, curves and files were looked at."""

    findings: tuple[LintFinding, ...]
    experiments: int
    runs: int
    with_curves: int
    with_files: int


def lint_newest(
    reader: RunReader,
    experiments: Sequence[FoundExperiment],
    where: str,
    *,
    now_ms: int,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    limit: int = RUNS,
) -> LintReport:
    """Lint the newest ``limit`` runs that ``where`` is met by, and as many that have not ended."""
    ids = [experiment.experiment_id for experiment in experiments]
    found = {run.run_id: run for run in reader.runs(Search(ids, where, limit=limit))}
    for status in OPEN_STATUSES:
        is_open = f"attributes.status = '{status}'"
        condition = f"{where} AND {is_open}" if where else is_open
        found |= {run.run_id: run for run in reader.runs(Search(ids, condition, limit=limit))}
    runs = list(found.values())
    curves = _curves(reader, runs)
    with_data = _with_dataset(reader, ids, list(found))
    files = {run.run_id: reader.artifacts(run) for run in runs[:FILES_OF]}
    facts = [
        RunFacts(
            run,
            now_ms,
            curves.get(run.run_id, {}),
            None if with_data is None else run.run_id in with_data,
            files.get(run.run_id),
        )
        for run in runs
    ]
    by_experiment: dict[str, list[RunFacts]] = {}
    for each in facts:
        by_experiment.setdefault(each.run.experiment_id, []).append(each)
    looked_at = [ExperimentFacts(e.name, e.tags, by_experiment.get(e.experiment_id, [])) for e in experiments]
    return LintReport(
        apply_rules(looked_at, select=select, ignore=ignore),
        len(experiments),
        len(runs),
        len(curves),
        sum(listed is not None for listed in files.values()),
    )


def _curves(reader: RunReader, runs: Sequence[Run]) -> Mapping[str, Mapping[str, Curve]]:
    """The curves of the newest runs, whole runs only, as many as POINTS points hold."""
    found: dict[str, dict[str, Curve]] = {}
    points = 0
    for some in batches(runs, 10):
        if points > POINTS:
            break
        wanted = [Wanted(run.run_id, point.key, None, point.step) for run in some for point in run.latest]
        for run in some:
            found[run.run_id] = {}
        for chunk in reader.histories(wanted):
            found[chunk.run_id].setdefault(chunk.key, Curve()).add(chunk.points)
            points += len(chunk.points)
    return found


def _with_dataset(reader: RunReader, ids: Sequence[str], run_ids: Sequence[str]) -> frozenset[str] | None:
    """Those of the runs that have a dataset as an input; None where MLflow is too old to know."""
    nothing = Parts(frozenset(), frozenset(), frozenset())
    found: set[str] = set()
    for some in batches([run_id for run_id in run_ids if run_id.isalnum()], _IDS):
        these = ", ".join(f"'{run_id}'" for run_id in some)
        condition = f"attributes.run_id IN ({these}) AND dataset.name LIKE '%'"
        try:
            found.update(run.run_id for run in reader.runs(Search(ids, condition), nothing))
        except QuestionError:
            return None
    return frozenset(found)
