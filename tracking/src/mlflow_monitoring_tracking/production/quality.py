"""How good predictions are, beside what they should have been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_confusion(counts: Mapping[tuple[str, str], int]) -> dict[str, float]:
    """Of (actual, predicted) pairs: accuracy, and the plain means over all classes of precision, recall and F1.

    A class that was never predicted has a precision of 0, as in scikit-learn with ``zero_division=0``.
    """
    whole = sum(counts.values())
    if not whole:
        return {}
    classes = sorted({label for pair in counts for label in pair})
    precisions, recalls, scores = [], [], []
    for label in classes:
        right = counts.get((label, label), 0)
        predicted = sum(number for (_, guess), number in counts.items() if guess == label)
        actual = sum(number for (truth, _), number in counts.items() if truth == label)
        precisions.append(right / predicted if predicted else 0.0)
        recalls.append(right / actual if actual else 0.0)
        scores.append(2 * right / (predicted + actual))
    return {
        "accuracy": sum(number for (truth, guess), number in counts.items() if truth == guess) / whole,
        "precision": sum(precisions) / len(classes),
        "recall": sum(recalls) / len(classes),
        "f1": sum(scores) / len(classes),
    }


def compared(prediction: Any, actual: Any) -> float | None:
    """By how much a predicted number is wrong; None where both are classes: text, truth, integers."""
    numbers = all(isinstance(value, (int, float)) for value in (prediction, actual))
    if numbers and any(isinstance(value, float) for value in (prediction, actual)):
        return float(prediction) - float(actual)
    return None
