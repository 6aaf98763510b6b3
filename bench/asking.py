"""Questions about runs, by the tool and by MLflow's client. Each answers how many runs it found."""

from __future__ import annotations

from mlflow_monitoring_exporter.questions import Questions, Which, ask

_METRIC = "val/accuracy"


def best(uri: str) -> int:
    with ask(uri) as questions:
        return len(questions.best_runs(_METRIC, top_k=10).runs)


def newest(uri: str) -> int:
    with ask(uri) as questions:
        return len(questions.runs(limit=10))


def listed(uri: str) -> int:
    with ask(uri) as questions:
        return len(questions.experiments())


def by_day(uri: str) -> int:
    with ask(uri) as questions:
        return sum(period.runs for period in questions.history(_METRIC).periods)


def side_by_side(uri: str) -> int:
    with ask(uri) as questions:
        return _compared(questions)


def _compared(questions: Questions) -> int:
    """The runs that have whole curves are the oldest."""
    return len(questions.compare(which=Which(where="metrics.`train/loss` > 0"), metrics=[_METRIC], limit=50).runs)
