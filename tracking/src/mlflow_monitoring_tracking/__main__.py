"""``python -m mlflow_monitoring_tracking`` is ``tracking-spool``."""

from mlflow_monitoring_tracking.cli import main

if __name__ == "__main__":
    main()
