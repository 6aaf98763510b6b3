"""Files of a run that lie on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_monitoring_exporter.source.search import FILES


def files_of(uri: str) -> Sequence[tuple[str, int]] | None:
    """Path within the directory and bytes of the files below ``uri``; None where that is not on this machine."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in ("", "file") or (parts.scheme and parts.netloc not in ("", "localhost")):
        return None
    root = Path(unquote(parts.path) if parts.scheme else uri)
    return list(islice(_sizes(root), FILES)) if root.is_dir() else []


def _sizes(root: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(root.rglob("*")):
        try:
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix(), path.stat().st_size
        except OSError:  # deleted meanwhile
            continue
