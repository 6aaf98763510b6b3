"""Total indices of Sobol, of a model that is fitted to runs, by the estimator of Jansen (1999).

The model is scikit-learn's gradient boosting. Parameters are drawn evenly from where runs were: between the smallest
and the largest number, on a logarithmic scale where it is one, and among the categories. A conditional parameter is
set to its filling where its condition does not hold, so that it moves nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from mlflow_monitoring_exporter.analysis.importance.settings import Kind, Setting

_Array = Any
#: Points at which the model is asked, and folds that tell how well it knows runs that it has not seen.
_POINTS, _FOLDS = 4096, 5
#: Numbers with fewer values are drawn from these alone.
_LEVELS = 5


def total_indices(
    settings: Sequence[Setting], values: Sequence[float], places: Sequence[int]
) -> tuple[Sequence[float], float | None]:
    """Of each setting; and the share of the variance that the model explains of runs that it has not seen."""
    random = np.random.default_rng(len(values))
    columns = [_columns(setting) for setting in settings]
    at = np.asarray(places)
    target = np.asarray(values)[at]
    # Ranks beyond the outer hundredths would let one exploded run hide everything else.
    low, high = np.quantile(target, [0.01, 0.99])
    target = np.clip(target, low, high) if high > low else target
    codes = np.asarray([setting.codes for setting in settings]).T[at]
    model = _model()
    features = _features(codes, columns)
    model.fit(features, target)
    explained = None
    if len(set(places)) == len(places):
        folds = KFold(min(_FOLDS, len(target)), shuffle=True, random_state=0)
        missed = target - cross_val_predict(_model(), features, target, cv=folds)
        spread = float(np.var(target))
        explained = max(0.0, 1 - float(np.var(missed)) / spread) if spread else 0.0
    one, other = (_drawn(settings, random) for _ in range(2))
    base = model.predict(_features(_held(one, settings), columns))
    variance = np.var(base)
    if not variance:
        return [0.0] * len(settings), explained
    found = []
    for place in range(len(settings)):
        moved = one.copy()
        moved[:, place] = other[:, place]
        change = base - model.predict(_features(_held(moved, settings), columns))
        found.append(float(np.mean(change**2) / (2 * variance)))
    return found, explained


def say_most(settings: Sequence[Setting], values: Sequence[float], most: int) -> list[Setting]:
    """The ``most`` settings that a forest of extremely randomised trees splits by most, in their order."""
    forest = ExtraTreesRegressor(n_estimators=100, max_features="sqrt", min_samples_leaf=2, random_state=0)
    forest.fit(np.asarray([setting.codes for setting in settings]).T, np.asarray(values))
    chosen = set(np.argsort(-forest.feature_importances_, kind="stable")[:most].tolist())
    parents = {s.condition.parent for at, s in enumerate(settings) if at in chosen and s.condition is not None}
    return [s for at, s in enumerate(settings) if at in chosen or s.key in parents]


def _model() -> Any:
    return GradientBoostingRegressor(
        n_estimators=150, learning_rate=0.12, max_depth=4, min_samples_leaf=3, subsample=0.7, random_state=0
    )


def _columns(setting: Setting) -> int:
    """How many features a setting becomes: one for each category, one for a number."""
    return len(setting.categories) + (setting.fill is not None) if setting.kind is Kind.CATEGORY else 1


def _features(codes: _Array, columns: Sequence[int]) -> _Array:
    parts = []
    for place, width in enumerate(columns):
        column = codes[:, place]
        parts.append(column[:, None] if width == 1 else (column[:, None] == np.arange(width)).astype(float))
    return np.hstack(parts)


def _drawn(settings: Sequence[Setting], random: Any) -> _Array:
    return np.column_stack([_drawn_of(setting, random) for setting in settings])


def _drawn_of(setting: Setting, random: Any) -> _Array:
    present = np.asarray([code for code in setting.codes if code != setting.fill or setting.condition])
    levels = np.unique(present)
    if setting.kind is Kind.CATEGORY or len(levels) < _LEVELS:
        drawn = random.choice(levels, _POINTS)
    else:
        drawn = random.uniform(levels[0], levels[-1], _POINTS)
    if setting.fill is not None and setting.condition is None:  # as many lack it as lack it among the runs
        lacking = 1 - len(present) / len(setting.codes)
        drawn = np.where(random.random(_POINTS) < lacking, setting.fill, drawn)
    return drawn


def _held(codes: _Array, settings: Sequence[Setting]) -> _Array:
    """The codes with conditional ones filled where their condition does not hold."""
    place = {setting.key: at for at, setting in enumerate(settings)}
    held = codes.copy()
    for at, setting in enumerate(settings):
        if setting.condition is not None:
            holds = np.isin(codes[:, place[setting.condition.parent]], sorted(setting.condition.codes))
            held[:, at] = np.where(holds, codes[:, at], setting.fill)
    return held
