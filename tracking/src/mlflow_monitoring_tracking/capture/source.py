"""The program that runs, and the commit that it is of. Names are MLflow's where MLflow has some."""

from __future__ import annotations

import functools
import getpass
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_SECRET = re.compile(r"(?i)(pass|secret|token|api[-_]?key|credential|auth)")
_URL_CREDENTIALS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@")
#: Seconds for one question to git.
_PATIENCE = 3


def program() -> dict[str, str]:
    """Who runs what, with the values of secrets masked."""
    found = {
        "mlflow.source.name": sys.argv[0] if sys.argv and sys.argv[0] else "python",
        "mlflow.source.type": "LOCAL",
        "tracking.command": " ".join(masked(sys.argv)),
        "tracking.python": sys.version.split()[0],
    }
    with suppress(OSError, KeyError):  # a container whose user has no name
        found["mlflow.user"] = getpass.getuser()
    return found


def masked(arguments: list[str]) -> list[str]:
    """Arguments without what follows ``--token``, stands behind ``password=`` or in an address before ``@``."""
    result: list[str] = []
    hide = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide and not argument.startswith("-"):
            result.append("***")
        elif equals and _SECRET.search(name):
            result.append(f"{name}=***")
        else:
            result.append(_URL_CREDENTIALS.sub(r"\1***@", argument))
        hide = argument.startswith("-") and not equals and bool(_SECRET.search(argument))
    return result


def commit(*, diff: bool) -> dict[str, str]:
    """Commit, branch, whether files differ from it, and the remote without credentials."""
    found = dict(_commit(os.fspath(Path.cwd())))
    if diff and "mlflow.source.git.commit" in found and (text := _git("diff", "HEAD")):
        found["tracking.git.diff"] = text
    return found


@functools.cache
def _commit(_directory: str) -> tuple[tuple[str, str], ...]:
    words = (_git("rev-parse", "HEAD", "--abbrev-ref", "HEAD") or "").split()
    if len(words) != 2:  # the commit and the branch
        return ()
    found = {"mlflow.source.git.commit": words[0]}
    if words[1] != "HEAD":
        found["mlflow.source.git.branch"] = words[1]
    if (changes := _git("status", "--porcelain", "--untracked-files=no")) is not None:
        found["mlflow.source.git.dirty"] = str(bool(changes)).lower()
    if remote := _git("remote", "get-url", "origin"):
        found["mlflow.source.git.repoURL"] = without_credentials(remote)
    return tuple(found.items())


def without_credentials(remote: str) -> str:
    """An address without user and password; ``git@host:path`` stays, since that is no secret."""
    parts = urlsplit(remote)
    if not parts.scheme or not parts.netloc:
        return remote
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            ["git", *words],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
