"""What changed in MLflow: readers behind one protocol."""
