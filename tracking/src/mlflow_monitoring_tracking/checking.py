"""Check a configuration against what it names: the spool's file system, and every back end."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.spool.locks import LEASE
from mlflow_monitoring_tracking.template import TEMPLATE
from mlflow_monitoring_tracking.text import printable

if TYPE_CHECKING:
    from mlflow_monitoring_tracking.backends.contract import Backend

#: The configuration file where nobody names another one.
DEFAULT_PATH = "tracking_config.yaml"
#: Seconds that one request of a check may take.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of the spool or of one back end, in a few words."""

    name: str
    works: bool
    found: str


def check(settings: Settings) -> Iterator[Check]:
    """Try everything that a configuration names, one after the other; a back end for 10 s at most for each request."""
    from mlflow_monitoring_tracking.backends.available import backends  # not needed by who only trains

    yield _spool(settings.spool_dir)
    missing: dict[str, str] = {}
    quick = replace(settings, mlflow=replace(settings.mlflow, timeout=min(settings.mlflow.timeout, _PATIENCE)))
    made = backends(quick, missing.__setitem__)
    for name, is_wanted in _wanted(settings).items():
        if name in made:
            yield _back_end(name, made[name])
        elif is_wanted:
            yield Check(name, False, missing.get(name, "this release does not send to it"))
        elif name == "mlflow":
            yield Check(name, True, "not configured; set mlflow.tracking_uri, or the variable MLFLOW_TRACKING_URI")


def setup_tracking(
    path: str | os.PathLike[str] | None = None,
    tell: Callable[[str], object] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Write a configuration with comments, unless there is one, and say of every back end whether it works.

    ``path`` is by default what ``TRACKING_CONFIG_PATH`` names, else ``tracking_config.yaml``. ``tell`` gets the lines
    that are for people; by default they are printed. True where everything works.

    :raises ConfigurationError: the configuration that was there is wrong.
    :raises OSError: none can be written.
    """
    tell = tell or _print
    named = environ.get("TRACKING_CONFIG_PATH")
    file = Path(path or named or DEFAULT_PATH)
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(TEMPLATE)
    except FileExistsError:
        tell(f"{printable(file)} is there already and stays as it is")
    else:
        tell(f"wrote {printable(file)}")
    if named is None or Path(named).absolute() != file.absolute():
        tell(f"programs read it where TRACKING_CONFIG_PATH={printable(file.absolute())} is set")
    works = True
    for found in check(load(file, environ)):
        works &= found.works
        tell(f"{printable(found.name)}: {'' if found.works else 'does not work: '}{printable(found.found)}")
    return works


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _wanted(settings: Settings) -> dict[str, bool]:
    mlflow, database = settings.mlflow, settings.database
    return {
        "mlflow": mlflow.enabled is not False and bool(mlflow.tracking_uri),
        "wandb": settings.wandb.enabled,
        "database": database.enabled is not False and (bool(database.enabled) or bool(database.url)),
        "storage": settings.storage.type != "local",
        "local": settings.local.enabled,
    }


def _back_end(name: str, backend: Backend) -> Check:
    try:
        return Check(name, True, backend.check())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is asked for
        return Check(name, False, str(error) or type(error).__name__)
    finally:
        backend.close()


def _spool(spool: Path) -> Check:
    """Do there what a run does: write, bring it to the disk, lock."""
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=spool, prefix=".check-") as file:
            file.write(b"x")
            file.flush()
            os.fdatasync(file.fileno())
            locks = _locks_work(file.fileno())
        free = shutil.disk_usage(spool).free
    except OSError as error:
        return Check("spool", False, f"{spool} cannot be written: {error.strerror}")
    without = (
        "" if locks else f"; it has no locks, so processes count as dead after {LEASE:.0f} s without a sign of life"
    )
    return Check("spool", True, f"{spool} can be written, {free / 10**9:.1f} GB are free{without}")


def _locks_work(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
