"""The samples among the dead letters of a state."""

from __future__ import annotations

from mlflow_monitoring_exporter.core.values import Sample
from mlflow_monitoring_exporter.state.batch_codec import decode
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters


def dead_samples(letters: DeadLetters, number: int) -> list[Sample]:
    """What is in one of them; nothing when there is no such dead letter."""
    payload = letters.payload(number)
    return [] if payload is None else list(decode(payload.content))
