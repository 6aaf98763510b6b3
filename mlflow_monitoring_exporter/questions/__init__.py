"""Questions about the runs of MLflow, and their answers.

::

    from mlflow_monitoring_exporter.questions import ask

    with ask("http://mlflow:5000") as questions:
        for run in questions.best_runs("accuracy", top_k=3).runs:
            print(run.name, run.run_id)
        print(questions.compare(["best:accuracy", "champion@churn"]).recommendation.text)

What is computed is in :mod:`mlflow_monitoring_exporter.analysis`, which knows nothing of where runs come from.
"""

from mlflow_monitoring_exporter.questions.ask import Questions, ask
from mlflow_monitoring_exporter.questions.which import Which

__all__ = ["Questions", "Which", "ask"]
