"""What a demo store holds: which runs, how they went, and when. Pure and repeatable per seed.

::

    cast       how many of each kind               _cast
    sketch     one training, times from zero       _sketch, _sweep
    place      sketches on the calendar            _finished_lately, _running_now
    run        names, tags and points              _run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from mlflow_monitoring_exporter.core.values import Point, RunStatus
from mlflow_monitoring_exporter.sample.recipes import (
    CHURN,
    IMAGE,
    PRICE,
    RECIPES,
    RECOMMENDER,
    TUNING,
    Draft,
    Recipe,
)

MODEL = "churn-classifier"

_DAY = 86_400_000
#: Runs lie in the last days, more of them in the later ones.
_SPREAD = 5 * _DAY
#: Nothing ended in the last two minutes.
_SETTLED = 120_000
_MOST_TRIALS = 8


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run to write. ``name`` is unique in its scenario; ``parent`` is the name of an earlier run."""

    name: str
    experiment: str
    status: RunStatus
    start_ms: int
    end_ms: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[Point, ...]
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedVersion:
    """A version of a registered model, made by the run named ``run``, that gets ``alias``."""

    model: str
    run: str
    alias: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """``runs`` are in the order of their starts, parents before their children."""

    runs: tuple[PlannedRun, ...]
    versions: tuple[PlannedVersion, ...]

    @property
    def experiments(self) -> tuple[str, ...]:
        """The names of the experiments that have runs, in the order of :data:`RECIPES`."""
        used = {run.experiment for run in self.runs}
        return tuple(recipe.experiment for recipe in RECIPES if recipe.experiment in used)

    @property
    def points(self) -> int:
        return sum(len(run.points) for run in self.runs)


@dataclass(frozen=True, slots=True)
class _Role:
    recipe: Recipe
    status: RunStatus
    diverges: bool = False


@dataclass(frozen=True, slots=True)
class _Sketch:
    """A training whose step ``i`` is logged ``times[i]`` ms after the start, and that takes ``length`` ms."""

    role: _Role
    draft: Draft
    times: Sequence[int]
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    sketch: _Sketch
    start_ms: int
    parent: _Placed | None = None


#: The most telling runs first, so that a small scenario misses only the least telling.
_FIRST = (
    _Role(CHURN, RunStatus.FINISHED),
    _Role(IMAGE, RunStatus.FINISHED),
    _Role(PRICE, RunStatus.RUNNING),
    _Role(PRICE, RunStatus.FAILED, diverges=True),
    _Role(RECOMMENDER, RunStatus.KILLED),
)
_KINDS = {CHURN.experiment: 30, PRICE.experiment: 25, RECOMMENDER.experiment: 25, IMAGE.experiment: 20}
_STATUSES = {RunStatus.FINISHED: 80, RunStatus.FAILED: 9, RunStatus.KILLED: 6, RunStatus.RUNNING: 5}


def plan(runs: int, seed: int, now_ms: int) -> Scenario:
    """Exactly ``runs`` runs (at least one) of the days before ``now_ms``, the same for the same arguments.

    From eight runs on there is everything: five experiments, a failed run whose loss is NaN, a
    killed, a running and a nested one, and a champion. Fewer runs leave out nesting first, then
    the killed run, and so on.
    """
    if runs < 1:
        raise ValueError(f"a scenario has at least one run, not {runs}")
    rng = Random(seed)
    roles, sweeps = _cast(rng, runs)
    placed = [_placed(rng, _sketch(rng, role), now_ms) for role in roles]
    for trials in sweeps:
        placed += _sweep(rng, trials, now_ms)
    placed.sort(key=lambda one: (one.start_ms, one.parent is not None))
    names = {one: _name(one, number) for number, one in enumerate(placed, start=1)}
    written = tuple(_run(rng, one, names, now_ms) for one in placed)
    return _with_registry(written)


def _cast(rng: Random, runs: int) -> tuple[list[_Role], list[int]]:
    """The single runs, and the number of trials of each hyper-parameter search."""
    roles, sweeps = list(_FIRST[:runs]), [1] if runs >= len(_FIRST) + 2 else []
    left = runs - len(roles) - 2 * len(sweeps)
    while left:
        search = bool(sweeps) and rng.random() < 0.35
        if search and sweeps[-1] < _MOST_TRIALS:
            sweeps[-1] += 1
            left -= 1
        elif search and left >= 2:
            sweeps.append(1)
            left -= 2
        else:
            roles.append(_extra(rng))
            left -= 1
    return roles, sweeps


def _extra(rng: Random) -> _Role:
    (experiment,) = rng.choices(list(_KINDS), list(_KINDS.values()))
    (status,) = rng.choices(list(_STATUSES), list(_STATUSES.values()))
    recipe = next(recipe for recipe in RECIPES if recipe.experiment == experiment)
    return _Role(recipe, status, diverges=status is RunStatus.FAILED and rng.random() < 0.4)


def _sketch(rng: Random, role: _Role, steps: tuple[int, int] = (32, 60)) -> _Sketch:
    whole = rng.randint(*steps)
    done = whole if role.status is RunStatus.FINISHED else rng.randint(20, whole - 1)
    draft = role.recipe.draw(rng, whole)
    if role.diverges:
        draft = draft.diverging(at=done - rng.randint(3, 8))
    pace = rng.randint(*role.recipe.step_ms)
    times = [pace * (step + 1) - rng.randrange(pace // 10) for step in range(done)]
    return _Sketch(role, draft, times, pace * done + rng.randint(500, 3_000))


def _sweep(rng: Random, trials: int, now_ms: int) -> list[_Placed]:
    """A search and its trials, one after the other. The parent logs the best so far as each trial ends."""
    sketches: list[_Sketch] = []
    ends: list[int] = []
    for number in range(trials):
        pruned = number > 0 and rng.random() < 0.12
        role = _Role(TUNING, RunStatus.KILLED if pruned else RunStatus.FINISHED)
        sketches.append(_sketch(rng, role, steps=(22, 32)))
        ends.append((ends[-1] if ends else 0) + 2_000 + sketches[-1].length)
    scores = [s.draft.curves[TUNING.headline][len(s.times) - 1] for s in sketches]
    draft = Draft(
        params={"model": "xgboost", "sampler": "tpe", "trials": str(trials)},
        curves={
            "best_accuracy": [max(scores[: at + 1]) for at in range(trials)],
            "trials_done": [float(at + 1) for at in range(trials)],
        },
        finals={},
    )
    whole = _Sketch(_Role(TUNING, RunStatus.FINISHED), draft, ends, ends[-1] + 1_000)
    parent = _placed(rng, whole, now_ms)
    starts = [parent.start_ms + end - sketch.length for end, sketch in zip(ends, sketches, strict=True)]
    return [parent, *(_Placed(s, start, parent) for s, start in zip(sketches, starts, strict=True))]


def _placed(rng: Random, sketch: _Sketch, now_ms: int) -> _Placed:
    """A running one logged its last step just now; any other ended somewhere in the last days."""
    if sketch.role.status is RunStatus.RUNNING:
        return _Placed(sketch, now_ms - sketch.times[-1] - rng.randrange(1_000, 60_000))
    return _Placed(sketch, now_ms - _SETTLED - int(rng.random() ** 1.6 * _SPREAD) - sketch.length)


def _name(one: _Placed, number: int) -> str:
    if one.sketch.role.recipe is TUNING:
        return f"{'sweep' if one.parent is None else 'trial'}-{number:03d}"
    return f"{one.sketch.draft.params['model']}-{number:03d}"


def _run(rng: Random, one: _Placed, names: Mapping[_Placed, str], now_ms: int) -> PlannedRun:
    role, draft, times = one.sketch.role, one.sketch.draft, one.sketch.times
    points = [
        Point(key, step, one.start_ms + at, value)
        for key, values in draft.curves.items()
        for step, (at, value) in enumerate(zip(times, values, strict=False))  # a cut-off run has fewer times
    ]
    if role.status is RunStatus.FINISHED:
        last, at = len(times) - 1, one.start_ms + times[-1]
        points += [Point(key, last, at, value) for key, value in draft.finals.items()]
    return PlannedRun(
        name=names[one],
        experiment=role.recipe.experiment,
        status=role.status,
        start_ms=one.start_ms,
        end_ms=one.start_ms + one.sketch.length if role.status.terminal else None,
        params=draft.params,
        tags=tags_of(rng, role.recipe, role.status, data_version=20 - (now_ms - one.start_ms) // _DAY),
        points=tuple(points),
        parent=names[one.parent] if one.parent is not None else None,
    )


def tags_of(rng: Random, recipe: Recipe, status: RunStatus, *, data_version: int) -> dict[str, str]:
    """The tags of a run; trials are for development only, and what did not finish is not in production."""
    weights = (60, 30, 10) if status is RunStatus.FINISHED else (75, 25, 0)
    if recipe is TUNING:
        weights = (1, 0, 0)
    (stage,) = rng.choices(("dev", "staging", "production"), weights)
    owner = rng.choice(recipe.owners)
    return {
        "project": recipe.project,
        "stage": stage,
        "data_version": f"v{data_version}",
        "owner": owner,
        "mlflow.user": owner,
        "mlflow.source.name": f"train_{recipe.experiment.replace('-', '_')}.py",
    }


def _with_registry(runs: tuple[PlannedRun, ...]) -> Scenario:
    """The best finished churn run is the champion and in production, the second best its challenger."""
    finished = [run for run in runs if run.experiment == CHURN.experiment and run.status is RunStatus.FINISHED]
    best = sorted(finished, key=lambda run: [p.value for p in run.points if p.key == CHURN.headline][-1])[-2:]
    champion = best[-1]
    promoted = replace(champion, tags={**champion.tags, "stage": "production"})
    return Scenario(
        runs=tuple(promoted if run is champion else run for run in runs),
        versions=tuple(
            PlannedVersion(MODEL, run.name, alias)
            for run, alias in zip(best, ("challenger", "champion")[-len(best) :], strict=True)
        ),
    )
