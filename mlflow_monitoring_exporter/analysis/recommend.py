"""Which of the compared runs to take, in words, with the reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mlflow_monitoring_exporter.analysis.fairness import GroupMetric
from mlflow_monitoring_exporter.analysis.ranking import Ranking, values_of
from mlflow_monitoring_exporter.analysis.resources import Resources
from mlflow_monitoring_exporter.analysis.stability import Difference
from mlflow_monitoring_exporter.core.values import Run

#: From what factor on a difference of costs is worth a word, and from what difference on one of fairness.
_COSTLY, _UNFAIR = 1.2, 0.01
_COSTS = (
    ("duration_seconds", "takes {:.2g} times as long", "takes {:.2g} of the time"),
    ("memory_megabytes", "needs {:.2g} times the memory", "needs {:.2g} of the memory"),
    ("gpu_memory_megabytes", "needs {:.2g} times the memory of the cards", "needs {:.2g} of the memory of the cards"),
    ("model_bytes", "its model is {:.2g} times as large", "its model has {:.2g} of the size"),
)


class Answer(StrEnum):
    """What comes out of a comparison."""

    BETTER = "better"
    NO_DIFFERENCE = "no real difference"
    NOT_SURE = "not sure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """``run_id`` is the run to take, None where nothing speaks for any; ``text`` says so, ``reasons`` why."""

    answer: Answer
    run_id: str | None
    text: str
    reasons: tuple[str, ...]


def recommend(
    runs: Mapping[str, Run],
    best: str | None,
    other: str | None,
    *,
    baseline: str,
    ranking: Ranking | None,
    gap: Difference | None,
    spent: Sequence[Resources],
    fairness: Sequence[GroupMetric],
) -> Recommendation:
    """``best`` is the best run, held against ``other``: the baseline, or the second best where the baseline is best."""
    if ranking is None:
        why = "no metric of these runs has a name that tells which values are better; name one with its mode"
        return Recommendation(Answer.UNKNOWN, None, "None of the runs can be called best.", (why,))
    if best is None:
        why = f"none of the runs has a finite value of {ranking.metric}"
        return Recommendation(Answer.UNKNOWN, None, "None of the runs can be called best.", (why,))
    reasons = [f"ranked by {ranking.metric}, of which {ranking.word} is better ({ranking.why})"]
    if other is None or gap is None:
        reasons.append("no other run has a finite value to hold it against")
        return Recommendation(Answer.UNKNOWN, best, f"Take {called(runs[best])}: it is alone.", tuple(reasons))
    values = [values_of(runs[run_id])[ranking.metric] for run_id in (best, other)]
    role = "the baseline" if other == baseline else "the next best"
    reasons.append(f"{ranking.metric} is {values[0]:.6g} against {values[1]:.6g} of {role} {called(runs[other])}")
    reasons.append(_noise(gap))
    costs = list(_costs(best, other, spent))
    reasons += [*costs, *_fair(best, other, fairness)]
    if gap.real is False:
        choice = _cheaper(best, other, baseline, spent)
        text = f"No real difference between {called(runs[best])} and {called(runs[other])}: take {called(runs[choice])}"
        text += ", the baseline." if choice == baseline else ", which costs less."
        return Recommendation(Answer.NO_DIFFERENCE, choice, text, tuple(reasons))
    verb = "Keep" if best == baseline else "Take"
    text = f"{verb} {called(runs[best])}: better by {abs(gap.by):.4g} than {role}"
    if gap.real is None:
        text += ", if that is more than noise."
        return Recommendation(Answer.NOT_SURE, best, text, tuple(reasons))
    return Recommendation(Answer.BETTER, best, f"{text}, which is more than noise.", tuple(reasons))


def called(run: Run) -> str:
    """A run in a sentence."""
    return f"{run.name} ({run.run_id[:8]})" if run.name else run.run_id[:8]


def _noise(gap: Difference) -> str:
    if gap.interval is None:
        return "whether that is more than noise cannot be said: there are no repeats with other seeds, and no curves"
    low, high = gap.interval.low, gap.interval.high
    one, other = gap.counts
    basis = (
        f"{one} and {other} repeats" if gap.basis == "repeats" else f"the last {one} and {other} points of the curves"
    )
    limits = f"95 % interval of the difference {low:.4g} to {high:.4g}, from {basis}"
    return f"more than noise: {limits}" if gap.real else f"no more than noise: {limits}"


def _costs(best: str, other: str, spent: Sequence[Resources]) -> Iterator[str]:
    by_id = {resources.run_id: resources for resources in spent}
    for name, more, less in _COSTS:
        one, against = getattr(by_id[best], name), getattr(by_id[other], name)
        if one and against:
            factor = one / against
            if factor >= _COSTLY:
                yield more.format(factor)
            elif factor <= 1 / _COSTLY:
                yield less.format(factor)


def _fair(best: str, other: str, fairness: Sequence[GroupMetric]) -> Iterator[str]:
    gaps = {(each.run_id, each.metric): each for each in fairness}
    for (run_id, metric), each in gaps.items():
        if run_id != best or (against := gaps.get((other, metric))) is None:
            continue
        if abs(each.gap - against.gap) >= _UNFAIR * max(map(abs, each.groups.values())):
            word = "wider" if each.gap > against.gap else "narrower"
            worst = f", worst for {each.worst}" if each.worst else ""
            yield f"the gap of {metric} between groups is {word}: {each.gap:.4g} against {against.gap:.4g}{worst}"


def _cheaper(best: str, other: str, baseline: str, spent: Sequence[Resources]) -> str:
    """Of two that are equally good: the one that takes less time by a margin, or else the baseline, or the better."""
    by_id = {resources.run_id: resources.duration_seconds or math.nan for resources in spent}
    factor = by_id[best] / by_id[other] if by_id[other] else math.nan
    if factor >= _COSTLY:
        return other
    if factor <= 1 / _COSTLY:
        return best
    return baseline if baseline in (best, other) else best
