"""Two hundred keys in one call: one frame of the spool, and one request to MLflow."""

from __future__ import annotations

import math

from tracking import start_experiment

LAYERS = 100


def main() -> None:
    with start_experiment("my_experiment", "gradients") as exp:
        for step in range(50):
            norms = {f"layer_{layer}/grad_norm": math.exp(-step / 20) / (layer + 1) for layer in range(LAYERS)}
            rates = {f"layer_{layer}/update_ratio": 1e-3 / (step + 1) for layer in range(LAYERS)}
            exp.log_metrics({**norms, **rates}, step=step)


if __name__ == "__main__":
    main()
