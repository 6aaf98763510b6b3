"""What MLflow looks like in Prometheus: the names of families, ours and those of keys."""
