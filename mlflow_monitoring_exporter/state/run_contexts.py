"""Runs as the samples of their series name them: experiment, tags, and the outermost run above."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import orjson
from sqlalchemy import Connection, select

from mlflow_monitoring_exporter.core.values import Run, RunContext
from mlflow_monitoring_exporter.state.mirror import Mirror, of_run
from mlflow_monitoring_exporter.state.schema import experiment, run


def run_contexts(tx: Connection, mirror: Mirror, pks: Collection[int]) -> dict[int, RunContext]:
    """Of those of these runs, by their rows' ids, that are there and watched."""
    query = (
        select(
            *(run.c.id, run.c.experiment_id, experiment.c.name.label("experiment_name")),
            *(run.c.run_id, run.c.name.label("run_name"), run.c.tags, run.c.parent_run_id),
        )
        .join(experiment, of_run)
        .where(run.c.id.in_(pks), run.c.server == mirror.server, run.c.present, experiment.c.watched)
    )
    rows = tx.execute(query).all()
    roots = _roots(tx, mirror, {row.parent_run_id for row in rows if row.parent_run_id})
    return {
        row.id: RunContext(
            mirror.identity,
            *(row.experiment_id, row.experiment_name, row.run_id, row.run_name),
            tags=orjson.loads(row.tags),
            parent_run_id=row.parent_run_id,
            root_run_id=roots[row.parent_run_id] if row.parent_run_id else row.run_id,
        )
        for row in rows
    }


def new_contexts(
    tx: Connection, mirror: Mirror, runs: Iterable[tuple[Run, Mapping[str, str]]], names: Mapping[str, str]
) -> dict[str, RunContext]:
    """Of runs that are not recorded yet, with the tags that are let out, by run id; ``names`` are their experiments'.

    A nested one is left out as long as a run above it is not known: it may be read later.
    """
    runs = list(runs)
    parents = {run.run_id: run.parent_run_id for run, _ in runs}
    parents |= _parents(tx, mirror, {parent for parent in parents.values() if parent} - parents.keys())
    found = {}
    for one, tags in runs:
        root = _outermost(one.parent_run_id or one.run_id, parents)
        if root in parents:
            found[one.run_id] = RunContext(
                mirror.identity,
                *(one.experiment_id, names[one.experiment_id], one.run_id, one.name),
                tags=tags,
                parent_run_id=one.parent_run_id,
                root_run_id=root,
            )
    return found


def _roots(tx: Connection, mirror: Mirror, run_ids: Iterable[str]) -> dict[str, str]:
    """The outermost run known above each of these; a run without a known parent is its own."""
    wanted = set(run_ids)
    parents = _parents(tx, mirror, wanted)
    return {run_id: _outermost(run_id, parents) for run_id in wanted | parents.keys()}


def _parents(tx: Connection, mirror: Mirror, run_ids: Iterable[str]) -> dict[str, str | None]:
    """The parent of each of these runs that is known, and of those above it; None of the outermost."""
    parents: dict[str, str | None] = {}
    level = set(run_ids)
    asked: set[str] = set()
    while level:
        asked |= level
        query = select(run.c.run_id, run.c.parent_run_id).where(run.c.server == mirror.server, run.c.run_id.in_(level))
        found = {row.run_id: row.parent_run_id for row in tx.execute(query)}
        parents |= found
        level = {parent for parent in found.values() if parent} - asked
    return parents


def _outermost(run_id: str, parents: Mapping[str, str | None]) -> str:
    met = {run_id}
    while (above := parents.get(run_id)) and above not in met:  # two runs may name each other
        run_id = above
        met.add(run_id)
    return run_id
