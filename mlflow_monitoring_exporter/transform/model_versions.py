"""What the model registry says: of each run its stage, of each model its versions and aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlflow_monitoring_exporter.core.values import ModelVersion


def tagged_stage(tags: Mapping[str, str]) -> str:
    """The run's tag ``model_stage`` or ``stage``, else empty; what the registry says goes before it."""
    return tags.get("model_stage") or tags.get("stage") or ""


def stages_by_run(versions: Iterable[ModelVersion]) -> Mapping[str, str]:
    """The alias, else the stage, of each run whose model versions have one; several are sorted, joined by commas."""
    aliased: dict[str, set[str]] = {}
    staged: dict[str, set[str]] = {}
    for version in versions:
        if not version.run_id:
            continue
        if version.aliases:
            aliased.setdefault(version.run_id, set()).update(version.aliases)
        elif version.stage:
            staged.setdefault(version.run_id, set()).add(version.stage)
    return {run_id: ",".join(sorted(words)) for run_id, words in (staged | aliased).items()}


def by_alias(versions: Iterable[ModelVersion]) -> dict[tuple[str, str], ModelVersion]:
    """The version that each ``(model, alias)`` stands for."""
    return {(version.model, alias): version for version in versions for alias in version.aliases}


def newest(versions: Iterable[ModelVersion]) -> dict[str, ModelVersion]:
    """The newest version of each model."""
    found: dict[str, ModelVersion] = {}
    for version in versions:
        if version.model not in found or version.version > found[version.model].version:
            found[version.model] = version
    return found


def noteworthy(versions: Sequence[ModelVersion]) -> list[ModelVersion]:
    """The versions that have an alias or a stage, and the newest of each model; sorted."""
    last = newest(versions).values()
    return sorted(
        {version for version in versions if version.aliases or version.stage} | set(last),
        key=lambda version: (version.model, version.version),
    )


def runs_of(versions: Sequence[ModelVersion]) -> set[str]:
    """The runs whose metrics are shown beside the models: those under an alias, and the newest of such models."""
    aliases = by_alias(versions)
    models = {model for model, _ in aliases}
    newest_ones = (version for model, version in newest(versions).items() if model in models)
    return {version.run_id for version in (*aliases.values(), *newest_ones) if version.run_id}
