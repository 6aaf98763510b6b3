"""Importance by Optuna's evaluators, from runs as if they were its trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna

from mlflow_monitoring_exporter.analysis.importance.settings import Kind, Setting


def evaluator(
    method: str, *, maximize: bool
) -> Callable[[Sequence[Setting], Sequence[float], Sequence[int]], tuple[Sequence[float], float | None]]:
    """What evaluates by ``fanova`` or ``ped-anova``; conditional parameters are filled where they are not."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def evaluate(
        settings: Sequence[Setting], values: Sequence[float], places: Sequence[int]
    ) -> tuple[Sequence[float], float | None]:
        spaces = {setting.key: _space(setting) for setting in settings}
        study = optuna.create_study(direction="maximize" if maximize else "minimize")
        trials = [
            optuna.trial.create_trial(
                params={setting.key: setting.codes[at] for setting in settings},
                distributions=spaces,
                value=values[at],
            )
            for at in places
        ]
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that PED-ANOVA is experimental
            means: Any = (
                optuna.importance.FanovaImportanceEvaluator(seed=0)
                if method == "fanova"
                else optuna.importance.PedAnovaImportanceEvaluator()
            )
            found = optuna.importance.get_param_importances(study, evaluator=means)
        return [float(found.get(setting.key, 0.0)) for setting in settings], None

    return evaluate


def _space(setting: Setting) -> Any:
    if setting.kind is Kind.CATEGORY:
        return optuna.distributions.CategoricalDistribution(sorted(set(setting.codes)))
    return optuna.distributions.FloatDistribution(min(setting.codes), max(setting.codes))
