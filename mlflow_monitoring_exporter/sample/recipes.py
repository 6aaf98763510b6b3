"""What kinds of model the demo trains, and how such a training looks. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from mlflow_monitoring_exporter.sample.curves import diverged, falling, rising, wobbling


@dataclass(frozen=True, slots=True)
class Draft:
    """A training without a time.

    ``curves`` have one value per step, all the same number of steps; ``finals`` are logged once,
    beside the last step of a run that finishes.
    """

    params: Mapping[str, str]
    curves: Mapping[str, Sequence[float]]
    finals: Mapping[str, float]

    def diverging(self, at: int) -> Draft:
        """The same training whose losses explode at step ``at`` and are NaN from ``at + 2`` on.

        Its learning rate is one that explains it.
        """
        curves = {key: diverged(values, at) if "loss" in key else values for key, values in self.curves.items()}
        return replace(self, curves=curves, params={**self.params, "learning_rate": "3"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """One experiment of the demo. A step takes between the two of ``step_ms``."""

    experiment: str
    project: str
    owners: Sequence[str]
    step_ms: tuple[int, int]
    headline: str
    draw: Callable[[Random, int], Draft]


def _churn(rng: Random, steps: int) -> Draft:
    rate = rng.choice((0.001, 0.003, 0.01, 0.03, 0.1))
    skill = _skill(rng, rate)
    accuracy = 0.74 + 0.2 * skill
    precision, recall = accuracy - rng.uniform(0.01, 0.06), accuracy - rng.uniform(0.03, 0.12)
    return Draft(
        params={
            "model": rng.choice(("logreg", "forest", "xgboost", "lightgbm")),
            "learning_rate": f"{rate:g}",
            "batch_size": str(rng.choice((128, 256, 512))),
            "max_depth": str(rng.randint(3, 9)),
        },
        curves={
            "train/loss": falling(rng, steps, start=0.69, floor=0.12 + 0.2 * (1 - skill), noise=0.02),
            "val/loss": falling(rng, steps, start=0.7, floor=0.2 + 0.2 * (1 - skill), noise=0.03, upturn=0.04),
            "accuracy": rising(rng, steps, start=0.55, ceiling=accuracy, noise=0.012),
        },
        finals={
            "precision": round(precision, 4),
            "recall": round(recall, 4),
            "f1": round(2 * precision * recall / (precision + recall), 4),
            "auc": round(min(0.995, accuracy + rng.uniform(0.02, 0.05)), 4),
        },
    )


def _price(rng: Random, steps: int) -> Draft:
    rate = rng.choice((0.003, 0.01, 0.03, 0.1, 0.3))
    skill = _skill(rng, rate)
    rmse = 24 + 22 * (1 - skill)
    return Draft(
        params={
            "model": rng.choice(("ridge", "catboost", "lightgbm", "mlp")),
            "learning_rate": f"{rate:g}",
            "n_estimators": str(rng.choice((200, 400, 800))),
            "subsample": f"{rng.choice((0.6, 0.8, 1.0)):g}",
        },
        curves={
            "train/loss": falling(rng, steps, start=3.2, floor=0.3 + 0.4 * (1 - skill), noise=0.03),
            "val/loss": falling(rng, steps, start=3.3, floor=0.45 + 0.4 * (1 - skill), noise=0.04, upturn=0.1),
            "rmse": falling(rng, steps, start=118, floor=rmse, noise=0.02),
            "mae": falling(rng, steps, start=86, floor=rmse * 0.7, noise=0.02),
            "r2": rising(rng, steps, start=0.05, ceiling=0.7 + 0.25 * skill, noise=0.02),
        },
        finals={"mape": round(rmse / 3.1, 3)},
    )


def _recommender(rng: Random, steps: int) -> Draft:
    rate = rng.choice((0.0005, 0.001, 0.005, 0.01))
    skill = _skill(rng, rate)
    return Draft(
        params={
            "model": rng.choice(("als", "two-tower", "sasrec")),
            "learning_rate": f"{rate:g}",
            "embedding_dim": str(rng.choice((32, 64, 128))),
            "negative_samples": str(rng.choice((4, 10, 50))),
        },
        curves={
            "train/loss": falling(rng, steps, start=0.693, floor=0.2 + 0.15 * (1 - skill), noise=0.02),
            "ndcg_at_10": rising(rng, steps, start=0.04, ceiling=0.2 + 0.22 * skill, noise=0.008),
            "val/hit_rate": rising(rng, steps, start=0.1, ceiling=0.4 + 0.3 * skill, noise=0.012),
        },
        finals={"coverage": round(rng.uniform(0.35, 0.75), 4)},
    )


def _image(rng: Random, steps: int) -> Draft:
    rate = rng.choice((0.0003, 0.001, 0.003, 0.01))
    skill = _skill(rng, rate)
    batch_size = rng.choice((64, 128, 256))
    return Draft(
        params={
            "model": rng.choice(("resnet50", "efficientnet", "vit-small")),
            "learning_rate": f"{rate:g}",
            "batch_size": str(batch_size),
            "epochs": str(steps),
            "augmentation": rng.choice(("none", "flip", "mixup")),
        },
        curves={
            "epoch": [float(epoch) for epoch in range(1, steps + 1)],
            "train/loss": falling(rng, steps, start=4.6, floor=0.25 + 0.5 * (1 - skill), noise=0.02),
            "val/loss": falling(rng, steps, start=4.6, floor=0.7 + 0.5 * (1 - skill), noise=0.03, upturn=0.15),
            "accuracy": rising(rng, steps, start=0.03, ceiling=0.62 + 0.26 * skill, noise=0.01),
            "top5_accuracy": rising(rng, steps, start=0.12, ceiling=0.86 + 0.11 * skill, noise=0.008),
            "system/cpu_utilization_percentage": wobbling(rng, steps, level=38, swing=6),
            "system/system_memory_usage_percentage": wobbling(rng, steps, level=56, swing=2),
            "system/disk_usage_percentage": rising(rng, steps, start=41, ceiling=47, noise=0.05, top=100),
            "system/network_receive_megabytes": rising(rng, steps, start=120, ceiling=5400, noise=2, top=1e6),
            "system/network_transmit_megabytes": rising(rng, steps, start=2, ceiling=60, noise=0.05, top=1e6),
            "system/gpu_0_utilization_percentage": wobbling(rng, steps, level=92, swing=5),
            "system/gpu_0_memory_usage_percentage": wobbling(rng, steps, level=30 + batch_size / 5, swing=1),
            "system/gpu_0_power_usage_watts": wobbling(rng, steps, level=265, swing=18, high=300),
        },
        finals={},
    )


def _trial(rng: Random, steps: int) -> Draft:
    """One attempt of the hyper-parameter search on the churn model."""
    rate = 10 ** rng.uniform(-3.5, -0.5)
    skill = _skill(rng, rate)
    return Draft(
        params={
            "model": "xgboost",
            "learning_rate": f"{rate:.3g}",
            "max_depth": str(rng.randint(3, 12)),
            "min_child_weight": str(rng.randint(1, 10)),
            "subsample": f"{rng.uniform(0.5, 1):.2f}",
        },
        curves={
            "train/loss": falling(rng, steps, start=0.69, floor=0.1 + 0.3 * (1 - skill), noise=0.02),
            "val/loss": falling(rng, steps, start=0.7, floor=0.2 + 0.3 * (1 - skill), noise=0.03),
            "accuracy": rising(rng, steps, start=0.55, ceiling=0.72 + 0.22 * skill, noise=0.012),
        },
        finals={},
    )


def _skill(rng: Random, rate: float) -> float:
    """How well a training goes, inside [0, 1]: best with a learning rate near 0.01, and partly luck."""
    return min(1.0, max(0.0, 0.88 - 0.22 * abs(math.log10(rate) + 2) + rng.gauss(0, 0.08)))


CHURN = Recipe("churn-classifier", "churn", ("ana", "bruno"), (4_000, 20_000), "accuracy", _churn)
PRICE = Recipe("house-price", "pricing", ("chen",), (6_000, 30_000), "rmse", _price)
RECOMMENDER = Recipe("recommender", "recommender", ("dara", "bruno"), (15_000, 60_000), "ndcg_at_10", _recommender)
IMAGE = Recipe("image-classifier", "vision", ("emeka", "freya"), (45_000, 150_000), "accuracy", _image)
TUNING = Recipe("churn-tuning", "churn", ("ana",), (2_000, 8_000), "accuracy", _trial)

RECIPES = (CHURN, PRICE, RECOMMENDER, IMAGE, TUNING)
