"""What the points of a run tell."""

from __future__ import annotations

import re

from mlflow_monitoring_exporter.analysis.lint.findings import RunFacts

_DAY_MS = 86_400_000
#: Values of a metric that would be a curve if they had steps, and epochs that are few enough to be none.
_FEW = 3
_EPOCHS = re.compile(r"(?i)^(?:.*[./_ -])?(?:max_|num_|n_)?epochs$")
_TRAINING_LOSS = re.compile(r"(?i)(?=.*loss)(?!.*(?:val|test|eval|dev))")
#: An epoch that is longer than this is long to wait for a value, in ms.
_LONG_EPOCH_MS = 300_000
_SYSTEM = "system/"


def no_steps(facts: RunFacts) -> str | None:
    for key, curve in sorted(facts.curves.items()):
        if not key.startswith(_SYSTEM) and len(curve) >= _FEW and not any(curve.steps):
            return f"{key} has {len(curve)} values, all at step 0"
    return None


def steps_back(facts: RunFacts) -> str | None:
    for key, curve in sorted(facts.curves.items()):
        highest: int | None = None
        for _, step in sorted(zip(curve.times_ms, curve.steps, strict=True)):
            if highest is not None and step < highest:
                return f"{key} was logged at step {step} after step {highest}"
            highest = step if highest is None else max(highest, step)
    return None


def never_ended(facts: RunFacts) -> str | None:
    run = facts.run
    if run.status.terminal:
        return None
    times = [when for curve in facts.curves.values() for when in curve.times_ms]
    last = max([*times, *(point.timestamp_ms for point in run.latest), run.start_ms or 0])
    days = (facts.now_ms - last) / _DAY_MS
    return f"it is {run.status.value}, and logged nothing for {days:.0f} days" if last and days >= 1 else None


def once_per_epoch(facts: RunFacts) -> str | None:
    epochs = next((_count(value) for key, value in facts.run.params.items() if _EPOCHS.match(key)), 0)
    if epochs < _FEW:
        return None
    for key, curve in sorted(facts.curves.items()):
        if _TRAINING_LOSS.match(key) and _FEW <= len(curve) <= epochs + 1:
            each = (max(curve.times_ms) - min(curve.times_ms)) / (len(curve) - 1)
            if each > _LONG_EPOCH_MS:
                return f"{key} has {len(curve)} values for {epochs} epochs, {each / 60_000:.0f} minutes apart"
    return None


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
