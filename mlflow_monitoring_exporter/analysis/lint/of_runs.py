"""What parameters, tags, inputs and files of one run tell."""

from __future__ import annotations

import re

from mlflow_monitoring_exporter.analysis.lint.findings import RunFacts

_SEED = re.compile(r"(?i)(?:^|[^a-z])(?:seed|random_?state|rng)s?(?:$|[^a-z])")
_DATA = re.compile(
    r"(?i)(?:^|[^a-z])(?:data|dataset|data_?set|table|corpus)[^a-z]*(?:version|hash|digest|sha\d*|id|revision)?$"
)
_COMMITS = ("mlflow.source.git.commit", "mlflow.databricks.gitRepoCommit", "git_commit", "git.commit", "commit")
_DIRTY = "mlflow.source.git.dirty"
#: What the tracking library notes when a parameter of a resumed run has another value than before.
_CONFLICT = "tracking.conflict."
#: A file from this size on is large, in bytes.
_LARGE = 1 << 30


def no_seed(facts: RunFacts) -> str | None:
    names = [*facts.run.params, *facts.run.tags]
    return None if any(map(_SEED.search, names)) else "no parameter or tag is named like a seed"


def no_commit(facts: RunFacts) -> str | None:
    return None if any(facts.run.tags.get(tag) for tag in _COMMITS) else f"there is no tag {_COMMITS[0]}"


def dirty_commit(facts: RunFacts) -> str | None:
    is_dirty = facts.run.tags.get(_DIRTY, "").lower() == "true"
    return f"the tag {_DIRTY} says that files differed from the commit" if is_dirty else None


def no_dataset(facts: RunFacts) -> str | None:
    if facts.has_dataset is None or facts.has_dataset or any(map(_DATA.search, [*facts.run.params, *facts.run.tags])):
        return None
    return "MLflow has no input of it, and no parameter or tag names its data"


def params_changed(facts: RunFacts) -> str | None:
    for tag, value in sorted(facts.run.tags.items()):
        key = tag.removeprefix(_CONFLICT)
        if key != tag:
            return f"{key} was logged as {facts.run.params.get(key, '')} and later as {value}"
    return None


def large_artifact(facts: RunFacts) -> str | None:
    path, size = max(facts.artifacts or (), key=lambda file: file[1], default=("", 0))
    return f"{path} has {size / (1 << 30):.1f} GiB" if size >= _LARGE else None
