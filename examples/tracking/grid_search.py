"""A search in one run: the parameters of each candidate behind a prefix, its score at its step."""

from __future__ import annotations

from itertools import product

from tracking import ExperimentTracker


def score(depth: int, rate: float) -> float:
    """In place of a training with cross-validation."""
    return 0.9 - abs(depth - 5) / 50 - abs(rate - 0.1)


def main() -> None:
    candidates = [{"max_depth": depth, "eta": rate} for depth, rate in product((3, 5, 7), (0.05, 0.1, 0.3))]
    tracker = ExperimentTracker()
    with tracker.start_run(
        "my_search", "grid_001", tags={"optimizer": "grid_search"}, description="nine of them"
    ) as exp:
        exp.log_param("cv_folds", 5)
        scores = []
        for step, candidate in enumerate(candidates):
            exp.log_params(candidate, prefix=f"step_{step}_")
            scores.append(score(int(candidate["max_depth"]), candidate["eta"]))
            exp.log_metric("cv_score", scores[-1], step=step)
        best = max(range(len(candidates)), key=scores.__getitem__)
        exp.log_metric("best_cv_score", scores[best])
        exp.set_tags({"best_step": str(best)})


if __name__ == "__main__":
    main()
