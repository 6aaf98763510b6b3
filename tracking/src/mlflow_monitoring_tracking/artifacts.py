"""Files of a run: saved, copied into the spool, and what is recorded of them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import pickle
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow_monitoring_tracking.spool.records import Artifact

#: MLflow's name of a flavour, and the packages whose classes it saves.
_FLAVORS = {
    "sklearn": ("sklearn",),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "catboost": ("catboost",),
    "pytorch": ("torch",),
    "keras": ("keras",),
    "statsmodels": ("statsmodels",),
    "transformers": ("transformers",),
}
_CHUNK = 2**20


@contextmanager
def scratch(run: Path) -> Iterator[Path]:
    """A directory for files that are being made; beside the spool, so that they can be moved into it."""
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=run, prefix=".draft-") as path:
        yield Path(path)


def records(path: Path, below: str | None, files: Path, *, copy: bool) -> Iterator[Artifact]:
    """What to record of a file, or of all files of a directory, in order of their names.

    ``copy`` puts a copy into ``files``, so that the original may change or go; else it is read where it is.

    :raises OSError: it cannot be read, or not be copied.
    """
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.is_file())
        root = path.parent
    else:
        found, root = [path], path.parent
    for file in found:
        target = str(PurePosixPath(below or "") / file.relative_to(root).as_posix())
        if copy:
            yield _copied(file, target, files)
        else:
            yield Artifact(str(file.absolute()), target, file.stat().st_size, None)


def _copied(file: Path, target: str, files: Path) -> Artifact:
    files.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"{secrets.token_hex(6)}-{re.sub(r'[^A-Za-z0-9._-]', '_', file.name)[-80:]}"
    digest = hashlib.sha256()
    size = 0
    try:
        with file.open("rb") as source, (files / name).open("xb") as copy:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
                size += len(chunk)
    except OSError:
        (files / name).unlink(missing_ok=True)  # half a copy would only fill the disk further
        raise
    return Artifact(name, target, size, digest.hexdigest())


def save_text(text: str, directory: Path, name: str) -> Path:
    """A text file."""
    path = directory / f"{_plain(name)}.txt"
    path.write_text(text, "utf-8", errors="surrogatepass")
    return path


def save_figure(figure: Any, directory: Path, name: str) -> Path:
    """A figure as a file: PNG of matplotlib and Pillow unless ``name`` has another ending, HTML of plotly.

    :raises TypeError: it is no figure that is known.
    """
    stem = _plain(name)
    if callable(getattr(figure, "write_html", None)):
        path = directory / (stem if Path(stem).suffix else f"{stem}.html")
        figure.write_html(str(path))
        return path
    path = directory / (stem if Path(stem).suffix else f"{stem}.png")
    for method in ("savefig", "save"):
        if callable(save := getattr(figure, method, None)):
            save(str(path))
            return path
    raise TypeError(f"a {type(figure).__qualname__} is no figure of matplotlib, plotly or Pillow")


def save_model(model: Any, directory: Path, name: str) -> Path:
    """A model as a directory: MLflow's, where its client and a flavour for it are there; else a pickle.

    :raises Exception: whatever pickling raises.
    """
    path = directory / _plain(name)
    packages = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    for flavor, of in _FLAVORS.items():
        if packages & set(of) and _saved_by_mlflow(model, flavor, path):
            return path
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    with (path / "model.pkl").open("wb") as file:
        pickle.dump(model, file)
    described = {"class": f"{type(model).__module__}.{type(model).__qualname__}", "packages": _versions(packages)}
    (path / "model.json").write_text(json.dumps(described), "utf-8")
    return path


def _saved_by_mlflow(model: Any, flavor: str, path: Path) -> bool:
    try:
        saver = importlib.import_module(f"mlflow.{flavor}")
        # Said, not inferred: MLflow would start a process that imports everything again.
        needed = [f"{package}=={version}" for package, version in _versions({_FLAVORS[flavor][0]}).items()]
        saver.save_model(model, str(path), pip_requirements=needed)
    except Exception:  # noqa: BLE001 - not installed, or a model that this flavour does not save
        return False
    return True


def _versions(packages: set[str]) -> dict[str, str]:
    names = importlib.metadata.packages_distributions()
    found = {}
    for package in packages - {"builtins"}:
        for distribution in names.get(package, ())[:1]:
            found[distribution] = importlib.metadata.version(distribution)
    return found


def _plain(name: str) -> str:
    """A file's name that stays in its directory."""
    plain = re.sub(r"[^\w.\- ]", "_", os.fspath(name)).strip(". ") or "unnamed"
    return plain[:120]
