"""A loop as a launcher starts it once for each rank: torchrun ranks.py, srun python ranks.py, mpirun python ranks.py

All ranks write into one run, and none waits for another one. Parameters, tags and the end are those of rank 0.
"""

from __future__ import annotations

import os

from tracking import start_experiment


def main() -> None:
    rank = int(os.environ.get("RANK", "0"))
    with start_experiment("my_experiment", "four_ranks") as exp:
        exp.log_params({"world_size": os.environ.get("WORLD_SIZE", "1"), "learning_rate": 0.01})
        for epoch in range(5):
            loss = 1 / (epoch + 1) + rank / 100  # in place of forward, backward, step
            exp.log_metric(f"rank_{rank}/loss", loss, step=epoch)
            if rank == 0:
                exp.log_metric("loss", loss, step=epoch)


if __name__ == "__main__":
    main()
