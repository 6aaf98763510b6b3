"""Which of several processes this one is, and what run they share: from the environment, without a collective.

Launchers say it: torchrun and accelerate (``RANK``), Slurm (``SLURM_PROCID``), Open MPI, MPICH and PMIx.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_RANKS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
)
#: What all ranks of one job share, and no other job has.
_JOBS = (
    ("TORCHELASTIC_RUN_ID",),
    ("SLURM_JOB_ID", "SLURM_STEP_ID"),
    ("SLURM_JOB_ID",),
    ("OMPI_MCA_ess_base_jobid",),
    ("PMIX_NAMESPACE",),
    ("PBS_JOBID",),
    ("LSB_JOBID",),
    ("JOB_COMPLETION_INDEX", "JOB_NAME"),
)
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Place:
    """This process's place in its job. ``rank`` is None outside of one; ``job`` is text that all ranks share.

    ``job_is_parent`` says that nothing names the job but the process that started its ranks, which may start others.
    """

    rank: int | None
    size: int | None
    job: str | None
    job_is_parent: bool = False

    @property
    def leads(self) -> bool:
        """Whether parameters, tags and the end of the run are this process's to say."""
        return not self.rank


def place(environ: Mapping[str, str] = os.environ) -> Place:
    """Where this process is."""
    rank = size = None
    for ours, of_all in _RANKS:
        if (rank := _number(environ.get(ours))) is not None:
            size = _number(environ.get(of_all))
            break
    if rank is not None and size == 1:
        rank = None  # one process that a launcher started is one process
    job = _job(environ, distributed=rank is not None)
    if job is None and rank is not None:
        return Place(rank, size, _parent(), job_is_parent=True)
    return Place(rank, size, job)


def _job(environ: Mapping[str, str], *, distributed: bool) -> str | None:
    for names in _JOBS:
        values = [environ.get(name, "") for name in names]
        if all(values) and values != ["none"]:  # torchrun's word for no id
            return "/".join(values)
    if distributed and all(name in environ for name in _ADDRESS):
        return "/".join(environ[name] for name in _ADDRESS)
    return None


def _parent() -> str:
    """The process that started all ranks of this machine, as nothing else says what they share."""
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        began = ""
    return f"{os.uname().nodename}/{parent}/{began}"


def run_key(job: str, *parts: str | None) -> str:
    """The key of a run of a job: the same for each rank, and when the job starts again."""
    text = "\0".join([job, *(part or "" for part in parts), *sys.argv])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def is_batch_job(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the same job id means the same work again: not in a session where somebody types."""
    return not (environ.get("SLURM_JOB_NAME") == "interactive" or os.isatty(0))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
