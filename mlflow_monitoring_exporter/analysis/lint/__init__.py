"""Habits that make runs hard to compare, to repeat or to watch, each with the evidence and what to do."""

from mlflow_monitoring_exporter.analysis.lint.findings import LintFinding, RunFacts
from mlflow_monitoring_exporter.analysis.lint.rules import RULES, Rule, lint

__all__ = ["RULES", "LintFinding", "Rule", "RunFacts", "lint"]
