"""Where what lies of production, in a directory of the spool.

::

    <spool>/.production/
        counts/                  numbers of every process, and closed.json, of those that are gone (processes.py)
        features/<ms>-<id>.json  what a process saw of features in the window that ended then
        baselines/<name>.json    what features of a deployment are compared with
        window.json              up to when totals are in MLflow's runs, and which
        shown.json               features and drift as they were last
        journal/                 single predictions that are kept, and their truth, of every process (journal.py)
        truth.db, truth.json     both joined (truth.py), and what is shown of it
        leader.lock              held by the process that brings windows to runs
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow_monitoring_tracking.spool.layout import directory_name


@dataclass(frozen=True, slots=True)
class ProductionDirectory:
    """The paths of one spool's part for production."""

    path: Path

    @classmethod
    def of(cls, spool: Path) -> ProductionDirectory:
        """Of a spool; it need not exist. No run's directory begins with a dot."""
        return cls(spool / ".production")

    @property
    def counts(self) -> Path:
        return self.path / "counts"

    @property
    def features(self) -> Path:
        return self.path / "features"

    @property
    def window(self) -> Path:
        return self.path / "window.json"

    @property
    def shown(self) -> Path:
        return self.path / "shown.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def truth(self) -> Path:
        return self.path / "truth.db"

    @property
    def truth_shown(self) -> Path:
        return self.path / "truth.json"

    @property
    def leader(self) -> Path:
        return self.path / "leader.lock"

    def baseline(self, deployment: str) -> Path:
        return self.path / "baselines" / f"{directory_name(deployment)}.json"
