"""What a run is started by: container, scheduler, and those environment variables that the user names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

#: Variables of schedulers that identify a job, and hold no secret.
_SCHEDULERS = {
    "SLURM_JOB_ID": "scheduler.slurm.job_id",
    "SLURM_JOB_NAME": "scheduler.slurm.job_name",
    "SLURM_ARRAY_TASK_ID": "scheduler.slurm.array_task_id",
    "SLURM_RESTART_COUNT": "scheduler.slurm.restart_count",
    "PBS_JOBID": "scheduler.pbs.job_id",
    "LSB_JOBID": "scheduler.lsf.job_id",
    "TORCHELASTIC_RUN_ID": "scheduler.torchelastic.run_id",
    "KUBERNETES_SERVICE_HOST": "",
    "POD_NAME": "scheduler.kubernetes.pod",
    "POD_NAMESPACE": "scheduler.kubernetes.namespace",
    "GITHUB_RUN_ID": "scheduler.github.run_id",
    "CI_JOB_ID": "scheduler.gitlab.job_id",
}
_CONTAINER = re.compile(r"[0-9a-f]{64}")


def environment(variables: Sequence[str]) -> dict[str, str]:
    """Ids of the job and the container, and ``variables`` as ``env.<name>``."""
    found = {tag: os.environ[name] for name, tag in _SCHEDULERS.items() if tag and name in os.environ}
    if container := _container():
        found["container.id"] = container
    return found | {f"env.{name}": os.environ[name] for name in variables if name in os.environ}


def _container() -> str | None:
    for file in ("/proc/self/mountinfo", "/proc/self/cgroup"):
        try:
            text = Path(file).read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if ("/containers/" in line or "docker" in line or "kubepods" in line) and (id_ := _CONTAINER.search(line)):
                return id_[0][:12]
    return None
