"""A training on a node that reaches no server. Afterwards, where one can be reached: tracking-spool sync tracking"""

from __future__ import annotations

from tracking import ExperimentTracker


def main() -> None:
    tracker = ExperimentTracker({"mode": "offline", "tracking_dir": "tracking"})
    with tracker.start_run("my_experiment", "offline") as exp:
        for step in range(100):
            exp.log_metric("loss", 1 / (step + 1), step=step)


if __name__ == "__main__":
    main()
