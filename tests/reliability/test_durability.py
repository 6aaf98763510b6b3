"""Kills say nothing about a power cut: what was committed must have been synced. strace counts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.parts.programs import need

PROGRAM = """
import sys
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox

database = Database("sqlite:///state.db")
outbox = Outbox(database)
queue = outbox.register(["sink"])["sink"]
context = RunContext("server", "1", "experiment", "a" * 32, "run")
for step in range(int(sys.argv[1])):
    with database.write() as tx:
        outbox.enqueue(tx, queue, [Sample(context, "loss", step, step, 0.5)], batch_size=500)
    outbox.acknowledge(outbox.head(queue))
"""


def syncs(commits: int, directory: Path) -> int:
    """How often a program that commits twice as often as this asks the disk to be sure."""
    directory.mkdir()
    trace = directory / "trace"
    command = [need("strace"), "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"}
    subprocess.run(
        [*command, sys.executable, "-c", PROGRAM, str(commits)], cwd=directory, env=environment, check=True, timeout=120
    )
    return len(re.findall(r"f(?:data)?sync\(", trace.read_text()))


def test_every_commit_is_synced_to_the_disk(tmp_path: Path) -> None:
    few, many = syncs(5, tmp_path / "few"), syncs(25, tmp_path / "many")
    # 20 more rounds: each queues in one transaction and acknowledges in another.
    assert many - few >= 40
