"""MLflow through its database."""
