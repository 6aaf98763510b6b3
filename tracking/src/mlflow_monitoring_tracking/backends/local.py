"""The spool itself as a store, which ``tracking-spool show`` reads. Copies files to where they are wanted."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlflow_monitoring_tracking.backends.contract import Rejected, RunState, Unavailable, Upload
from mlflow_monitoring_tracking.backends.files_only import FilesOnly
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.spool.layout import directory_name
from mlflow_monitoring_tracking.spool.records import Opened

_PLOTS = frozenset({".png", ".svg", ".pdf", ".jpg", ".jpeg", ".html"})


class LocalBackend(FilesOnly):
    """Files go to ``models_dir`` and ``artifacts_dir``, below the run's key; all else stays in the spool."""

    name = "local"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self) -> str:
        """Say where files go."""
        copied = (("models", self._settings.models_dir), ("other files", self._settings.artifacts_dir))
        to = [f"; {what} are copied to {where}" for what, where in copied if where]
        return f"runs stay in the spool{''.join(to)}"

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """Copy the file, if its kind is wanted."""
        root = self._root(upload.path)
        if root is None:
            return
        target = root / directory_name(run.run_key) / upload.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.draft")
            shutil.copyfile(upload.file, draft)
            draft.replace(target)
        except FileNotFoundError as error:
            raise Rejected(f"{upload.file} is not there any more") from error
        except OSError as error:
            raise Unavailable(f"{target} cannot be written: {error.strerror}") from error

    def _root(self, path: str) -> Path | None:
        local = self._settings.local
        if path.startswith("models/"):
            wanted, root = local.save_models, self._settings.models_dir
        elif Path(path).suffix.lower() in _PLOTS:
            wanted, root = local.save_plots, self._settings.artifacts_dir
        else:
            wanted, root = local.save_data, self._settings.artifacts_dir
        return Path(root) if wanted and root else None
