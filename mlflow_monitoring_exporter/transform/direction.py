"""Is more better, or less?

By the operator's patterns first, then by the words of the key: ``val/loss`` gets better as it falls,
``train_f1_score`` as it rises, and of ``epoch`` nobody can say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache

from mlflow_monitoring_exporter.transform.select import Patterns

#: Words of keys, in lower case and without digits at their ends.
FALLING = frozenset(
    (
        *("loss", "nll", "error", "err", "mse", "rmse", "rmsle", "mae", "mape", "smape", "perplexity", "ppl"),
        *("latency", "wer", "cer", "logloss", "brier", "fid", "hinge", "divergence", "kl", "deviance"),
    )
)
RISING = frozenset(
    (
        *("accuracy", "acc", "f1", "auc", "auroc", "auprc", "ndcg", "precision", "recall", "map", "mrr", "r2"),
        *("iou", "dice", "bleu", "rouge", "meteor", "score", "reward", "hit", "hits", "mcc"),
        *("sensitivity", "specificity"),
    )
)

_CHUNK = re.compile(r"[A-Za-z0-9]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Za-z][a-z]*\d*")


class Direction(Enum):
    """Which values of a metric are better."""

    MIN = "min"
    MAX = "max"


class Directions:
    """The direction of each key; the first of ``patterns`` (pattern -> ``min`` or ``max``) that fits decides."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = [(Patterns([pattern]), Direction(word)) for pattern, word in patterns.items()]

    def of(self, key: str) -> Direction | None:
        """None where neither a pattern nor a word says anything."""
        for patterns, direction in self._patterns:
            if key in patterns:
                return direction
        return by_words(key)

    def improvement(self, key: str, value: float, before: float) -> float:
        """By how much ``value`` is better than ``before``; where nobody can say, by how much it is larger."""
        return before - value if self.of(key) is Direction.MIN else value - before


@lru_cache(maxsize=10_000)
def by_words(key: str) -> Direction | None:
    """The last word that says something decides: ``accuracy_loss`` is a loss."""
    for chunk in reversed(_CHUNK.findall(key)):
        for word in (chunk, *reversed(_WORD.findall(chunk))):  # mAP is one word, valLoss is two
            lower = word.lower()
            for form in (lower, lower.rstrip("0123456789")):
                if form in FALLING:
                    return Direction.MIN
                if form in RISING:
                    return Direction.MAX
    return None
