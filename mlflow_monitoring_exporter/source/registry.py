"""What the model registry says of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: Not stages: MLflow's words for "no stage" and for a deleted version.
NO_STAGE = frozenset({"", "None", "Deleted_Internal"})


def stages_by_run(
    aliases: Iterable[tuple[str, str, str]], versions: Iterable[tuple[str, str, str, str]]
) -> Mapping[str, str]:
    """The alias, else the stage, of each run whose model versions have one.

    ``aliases`` are ``(model, version, alias)``; ``versions`` are ``(model, version, run_id,
    stage)``. Several aliases, or several stages, are sorted and joined by commas.
    """
    names: dict[tuple[str, str], set[str]] = {}
    for model, version, alias in aliases:
        names.setdefault((model, version), set()).add(alias)
    aliased: dict[str, set[str]] = {}
    staged: dict[str, set[str]] = {}
    for model, version, run_id, stage in versions:
        if not run_id:
            continue
        if found := names.get((model, version)):
            aliased.setdefault(run_id, set()).update(found)
        elif stage not in NO_STAGE:
            staged.setdefault(run_id, set()).add(stage)
    return {run_id: ",".join(sorted(words)) for run_id, words in (staged | aliased).items()}
