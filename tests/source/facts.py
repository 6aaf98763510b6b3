"""All that a reader says, as single facts, so that what one odd record costs can be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlflow_monitoring_exporter.source.protocol import LastPoll, Source, Wanted

#: What is said, and of what: kind, experiment, run or model, and the details.
Fact = tuple[str, ...]


def facts(source: Source, wanted: Iterable[Wanted]) -> set[Fact]:
    """Everything, in the order of a poll: experiments, runs, their parts, what changed, histories, the registry."""
    experiments = source.experiments()
    ids = [experiment.experiment_id for experiment in experiments]
    found: set[Fact] = {("experiment", e.experiment_id, e.name) for e in experiments}
    found |= {("hint", e.experiment_id, key, value) for e in experiments for key, value in e.tags.items()}
    source.activity(ids, 1)
    for page in source.runs(ids):
        for run in page.runs:
            who = run.experiment_id, run.run_id
            found.add(("run", *who, run.status.value))
            found |= {(f"{name} of run", *who, str(getattr(run, name))) for name in ("name", "start_ms", "end_ms")}
            found |= {("tag", *who, key, value) for key, value in run.tags.items()}
            found |= {("param", *who, key, value) for key, value in run.params.items()}
            found |= {("latest", *who, *map(repr, point)) for point in run.latest}
    homes = {fact[2]: fact[1] for fact in found if fact[0] == "run"}
    for chunk in source.histories(wanted):
        home = homes.get(chunk.run_id, "?")
        found |= {("point", home, chunk.run_id, *map(repr, point)) for point in chunk.points}
    for part in source.changes(LastPoll(ids, [], 1, "0:0::x", [])):
        assert all(isinstance(text, str) for run_id, key, _ in part.touched for text in (run_id, key))
    for version in source.registry():
        who = version.model, str(version.version)
        found.add(("version", *who, version.run_id, version.stage))
        found |= {("alias", *who, alias) for alias in version.aliases}
    return found


def shown_differences(lost: Iterable[Fact]) -> Sequence[str]:
    """For a failing test."""
    return sorted(map(repr, lost))
