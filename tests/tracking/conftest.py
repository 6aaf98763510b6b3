"""One MLflow for all tests of the tracking library, and programs that use the library."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.parts.mlflow_server import MlflowServer

_ROOT = Path(__file__).parents[2]
_OTHERS = ("MLFLOW", "TRACKING", "WANDB", "RANK", "WORLD_SIZE", "SLURM", "MASTER", "OMPI", "PMI")


@pytest.fixture(scope="module", autouse=True)
def _left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What killed programs leave in the folder for temporary files (W&B's client does) goes away with the tests'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("left-behind")))
        patch.setattr(tempfile, "tempdir", None)
        yield


@dataclass(frozen=True)
class Truth:
    """What MLflow holds, in its own tables."""

    server: MlflowServer

    def rows(self, question: str, *values: object) -> list[Any]:
        with sqlite3.connect(f"file:{self.server.database}?mode=ro", uri=True) as database:
            return database.execute(question, values).fetchall()

    def runs(self, run_key: str) -> list[tuple[str, str]]:
        """Id and status of each run with this key that is not deleted."""
        return self.rows(
            "select r.run_uuid, r.status from runs r join tags t on t.run_uuid = r.run_uuid"
            " where t.key = 'tracking.run_key' and t.value = ? and r.lifecycle_stage = 'active'",
            run_key,
        )

    def run(self, run_key: str) -> str:
        """The id of the only run with this key."""
        [(run_id, _)] = self.runs(run_key)
        return run_id

    def status(self, run_key: str) -> str:
        [(_, status)] = self.runs(run_key)
        return status

    def points(self, run_key: str, key: str | None = None) -> list[tuple[str, int, float]]:
        """Key, step and value of every row."""
        rows = self.rows(
            "select key, step, value from metrics where run_uuid = ? order by key, step", self.run(run_key)
        )
        return [row for row in rows if key in {None, row[0]}]

    def params(self, run_key: str) -> dict[str, str]:
        return dict(self.rows("select key, value from params where run_uuid = ?", self.run(run_key)))

    def tags(self, run_key: str) -> dict[str, str]:
        return dict(self.rows("select key, value from tags where run_uuid = ?", self.run(run_key)))


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    with MlflowServer(tmp_path_factory.mktemp("tracking-mlflow")) as server:
        yield Truth(server)


def environment(**more: str) -> dict[str, str]:
    """Nothing of the machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
    return {**kept, "PYTHONPATH": str(_ROOT / "tracking" / "src"), **more}


@dataclass
class Programs:
    """Starts programs in a directory, which get ``TRACKING_DIR`` and, if they are to send, MLflow's address."""

    here: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def spool(self) -> Path:
        return self.here / "tracking" / "spool"

    def start(self, program: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        path = self.here / f"program-{abs(hash(program)):x}.py"
        if not path.exists():  # one that starts may be reading it
            path.write_text(textwrap.dedent(program))
        return subprocess.Popen(
            [sys.executable, str(path), *arguments],
            cwd=self.here,
            env=environment(**{**self.env, **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, *arguments: str, env: Mapping[str, str] | None = None, code: int = 0) -> str:
        """Run it to its end; what it printed. Nothing of the library may write a traceback."""
        process = self.start(program, *arguments, env=env)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        assert code or "Traceback" not in err, err
        return out


@pytest.fixture
def offline(tmp_path: Path) -> Programs:
    """Programs that only write."""
    return Programs(tmp_path, {"TRACKING_MODE": "offline"})


@pytest.fixture
def online(tmp_path: Path, mlflow: Truth) -> Programs:
    """Programs that send to MLflow, and at their end wait longer for it than a busy machine may need."""
    patient = tmp_path / "patient.json"
    patient.write_text('{"spool": {"flush_timeout": 60}}')
    return Programs(tmp_path, {"MLFLOW_TRACKING_URI": mlflow.server.url, "TRACKING_CONFIG_PATH": str(patient)})
