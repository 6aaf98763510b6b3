"""Durable truth: the mirror of MLflow, what was seen, the outbox and the dead letters."""
