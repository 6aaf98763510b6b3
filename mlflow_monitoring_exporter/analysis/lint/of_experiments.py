"""What runs of an experiment tell together, or the experiment itself."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_monitoring_exporter.analysis.lint.findings import ExperimentFacts
from mlflow_monitoring_exporter.core.sanitised import sanitised

#: Runs from which on habits can be told, and how often the same file may be there.
_FEW, _COPIES = 3, 3
#: Smaller files are not worth a word, in bytes.
_SMALL = 1 << 20
_NOTE = "mlflow.note.content"
_OWNERS = frozenset({"owner", "owners", "team", "maintainer", "contact", "author", "group", "squad"})
#: The experiment that MLflow makes itself.
_DEFAULT = "Default"

_Seen = tuple[str, Sequence[str]] | None


def single_metric(facts: ExperimentFacts) -> _Seen:
    keys = {point.key for each in facts.runs for point in each.run.latest if not point.key.startswith("system/")}
    logging = [each.run.run_id for each in facts.runs if each.run.latest]
    if len(logging) < _FEW or len(keys) != 1:
        return None
    return f"{next(iter(keys))} is the only metric that its runs ever logged", logging


def copied_artifact(facts: ExperimentFacts) -> _Seen:
    held: dict[tuple[str, int], list[str]] = {}
    for each in facts.runs:
        for path, size in each.artifacts or ():
            if size >= _SMALL:
                held.setdefault((path.rpartition("/")[2], size), []).append(each.run.run_id)
    if not held:
        return None
    (name, size), run_ids = max(held.items(), key=lambda item: (len(item[1]) * item[0][1], item[0]))
    if len(set(run_ids)) < _COPIES:
        return None
    return f"{name} of {size / 1e6:.1f} MB is there {len(run_ids)} times", sorted(set(run_ids))


def colliding_names(facts: ExperimentFacts) -> _Seen:
    by_name: dict[str, dict[str, str]] = {}
    for each in facts.runs:
        for point in each.run.latest:
            by_name.setdefault(sanitised(point.key), {}).setdefault(point.key, each.run.run_id)
    for name, keys in sorted(by_name.items()):
        if len(keys) > 1:
            return f"{' and '.join(sorted(keys))} both become mlflow_{name}", sorted(set(keys.values()))
    return None


def no_description(facts: ExperimentFacts) -> _Seen:
    if facts.name == _DEFAULT or not facts.runs or facts.tags.get(_NOTE, "").strip():
        return None
    return "it has no description", ()


def no_owner(facts: ExperimentFacts) -> _Seen:
    words = {tag.lower().rpartition(".")[2] for tag, value in facts.tags.items() if value.strip()}
    if facts.name == _DEFAULT or not facts.runs or words & _OWNERS:
        return None
    return "none of its tags names an owner or a team", ()
