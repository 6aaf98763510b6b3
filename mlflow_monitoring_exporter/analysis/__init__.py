"""Answers about runs, from frozen values to frozen results. Where runs come from, only their readers know.

::

    compare_runs        which is best, whether by more than noise, at what price, and for whom
    choose_ranking      by which metric, and which way it gets better
    history_of          how runs went over time
    param_importance    what a metric depends on (extra ``analysis``)
    group_metrics       how differently groups of people are served
    standing_of         what the runs of an experiment say together, as gauges
    pareto_front        whom nobody is better than in everything
    lint                habits that make runs hard to compare, to repeat or to watch

:mod:`mlflow_monitoring_exporter.questions` asks an MLflow for the runs. A notebook shows results as tables.
"""

from mlflow_monitoring_exporter.analysis.compare import Comparison, compare_runs
from mlflow_monitoring_exporter.analysis.curves import Curve, curve_of
from mlflow_monitoring_exporter.analysis.fairness import GroupMetric, group_metrics
from mlflow_monitoring_exporter.analysis.importance import Importance, Method, param_importance
from mlflow_monitoring_exporter.analysis.lint import LintFinding, lint
from mlflow_monitoring_exporter.analysis.pareto import pareto_front
from mlflow_monitoring_exporter.analysis.periods import Every, History, history_of
from mlflow_monitoring_exporter.analysis.ranking import Ranking, choose_ranking
from mlflow_monitoring_exporter.analysis.standing import Standing, standing_of

__all__ = [
    "Comparison",
    "Curve",
    "Every",
    "GroupMetric",
    "History",
    "Importance",
    "LintFinding",
    "Method",
    "Ranking",
    "Standing",
    "choose_ranking",
    "compare_runs",
    "curve_of",
    "group_metrics",
    "history_of",
    "lint",
    "param_importance",
    "pareto_front",
    "standing_of",
]
