"""Small files that are replaced in one step, so that a reader sees the old one or the new one."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def replace_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Make ``path`` hold this value; with ``durable`` it is on the disk before the old one is gone.

    :raises OSError: it cannot be written, and is as it was.
    """
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(json.dumps(value))
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
