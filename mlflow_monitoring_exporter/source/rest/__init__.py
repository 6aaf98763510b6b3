"""MLflow through its REST API."""
